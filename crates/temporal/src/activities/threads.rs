//! Pipelines belong to one thread: those of a worker.

use std::{
    future::Future,
    sync::{Arc, Mutex, PoisonError},
};

use actix_rt::{Arbiter, ArbiterHandle};
use tokio::sync::oneshot;

/// Threads that have nothing to do.
#[derive(Clone)]
pub(super) struct Threads(Arc<Mutex<Vec<ArbiterHandle>>>);

/// A thread that has something to do; it is free again when this is dropped.
struct Taken {
    thread: ArbiterHandle,
    threads: Threads,
}

impl Threads {
    /// So many threads; made inside an actix `System`.
    pub(super) fn new(threads: usize) -> Self {
        Self(Arc::new(Mutex::new((0..threads).map(|_| Arbiter::new().handle()).collect())))
    }

    /// Runs something that stays on one thread. `None` if the thread has ended.
    pub(super) fn run<T: Send + 'static, W: AsyncFnOnce() -> T + Send + 'static>(
        &self,
        work: W,
    ) -> impl Future<Output = Option<T>> + Send + use<T, W> {
        let (done, result) = oneshot::channel();
        if let Some(taken) = self.take() {
            taken.thread.clone().spawn_fn(move || {
                actix_rt::spawn(async move {
                    let result = work().await;
                    // The thread is free before the answer is known, also if the work has panicked.
                    drop(taken);
                    drop(done.send(result));
                });
            });
        }
        async move { result.await.ok() }
    }

    fn take(&self) -> Option<Taken> {
        let thread = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop()?;
        Some(Taken { thread, threads: self.clone() })
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.threads.0.lock().unwrap_or_else(PoisonError::into_inner).push(self.thread.clone());
    }
}
