//! What the tests of runs share.
#![allow(dead_code, reason = "each test file uses its part")]

use std::{
    fmt,
    ops::Range,
    sync::{Arc, Mutex},
};

use actix_batch::Batch;
use actix_batch_pipeline::{
    Output, Record, Stage,
    checkpoint::{RunId, Settled},
    sink::{IntoSink, Promises, Sink, SinkError, Written},
    source::{FromIter, from_iter},
};

/// Runs a test on paused time.
pub(crate) fn paused<F: AsyncFnOnce() -> T, T>(test: F) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    actix_rt::System::with_tokio_rt(move || runtime).block_on(test())
}

/// The numbers from 0 to before `count`.
pub(crate) fn numbers(count: u64) -> FromIter<impl Fn() -> Range<u64> + Send + Sync, Range<u64>> {
    from_iter("numbers", move || 0..count)
}

/// The error for a record, if it has one.
type Fail<T> = dyn Fn(&T) -> Option<SinkError> + Send + Sync;

/// A sink that keeps what it is given, and fails as it is told.
pub(crate) struct Shelf<T> {
    pub(crate) stored: Arc<Mutex<Vec<T>>>,
    pub(crate) fail: Arc<Fail<T>>,
}

impl<T> Clone for Shelf<T> {
    fn clone(&self) -> Self {
        Self { stored: Arc::clone(&self.stored), fail: Arc::clone(&self.fail) }
    }
}

impl<T> Default for Shelf<T> {
    fn default() -> Self {
        Self { stored: Arc::default(), fail: Arc::new(|_| None) }
    }
}

impl<T> fmt::Debug for Shelf<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shelf").finish_non_exhaustive()
    }
}

impl<T: Clone> Shelf<T> {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Refuses a record, or fails the batch that it is in, with the error for it.
    pub(crate) fn failing(fail: impl Fn(&T) -> Option<SinkError> + Send + Sync + 'static) -> Self {
        Self { stored: Arc::default(), fail: Arc::new(fail) }
    }

    pub(crate) fn stored(&self) -> Vec<T> {
        self.stored.lock().unwrap().clone()
    }
}

impl<T: Clone + Send + Sync + 'static> IntoSink<T> for Shelf<T> {
    type Sink = Self;

    fn describe(&self) -> String {
        "shelf".to_owned()
    }

    fn promises(&self) -> Promises {
        Promises::Keyed
    }

    fn sink(&self, _worker: usize, _run: &RunId, _settled: &Arc<Settled>) -> Self {
        self.clone()
    }
}

impl<T: Clone + Send + Sync + 'static> Sink<T> for Shelf<T> {
    async fn write(&mut self, batch: &Batch<Record<T>>) -> Result<Written, SinkError> {
        use actix_batch_pipeline::sink::SinkErrorKind;
        let mut written = Written::all();
        let mut good = Vec::new();
        for (position, record) in batch.iter().enumerate() {
            match (self.fail)(record) {
                Some(error) if error.kind() == SinkErrorKind::Record => written.refuse(position, error),
                Some(error) => return Err(error),
                None => good.push((**record).clone()),
            }
        }
        self.stored.lock().unwrap().extend(good);
        Ok(written)
    }
}

/// A stage that panics on a chunk as a whole.
pub(crate) struct Panicking;

impl Stage<u64> for Panicking {
    type Out = u64;

    fn name(&self) -> String {
        "panicking".to_owned()
    }

    async fn process(&self, _: Vec<Record<u64>>, _: &mut Output<u64>) {
        panic!("on a whole chunk");
    }
}
