//! The runtimes that can host a contender.

use std::future::Future;

use tokio::{
    runtime::{Builder, Runtime},
    task::JoinHandle,
};

/// Where a contender is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Host {
    /// An actix `System`: one thread, where callers are spawned as actix-web spawns its handlers.
    System,
    /// tokio's current-thread runtime.
    CurrentThread,
    /// tokio's multi-thread runtime with two workers.
    TwoWorkers,
}

impl Host {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::System => "actix system",
            Self::CurrentThread => "current thread",
            Self::TwoWorkers => "two workers",
        }
    }

    /// Builds the runtime and runs `future` on it.
    pub(crate) fn run<F: Future>(self, future: F) -> F::Output {
        match self {
            Self::System => actix_rt::System::new().block_on(future),
            Self::CurrentThread => runtime(Builder::new_current_thread()).block_on(future),
            Self::TwoWorkers => runtime(two_workers()).block_on(future),
        }
    }

    /// Spawns on the runtime that this is called in.
    pub(crate) fn spawn(self, future: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
        match self {
            Self::System => actix_rt::spawn(future),
            Self::CurrentThread | Self::TwoWorkers => tokio::spawn(future),
        }
    }
}

fn two_workers() -> Builder {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(2);
    builder
}

fn runtime(mut builder: Builder) -> Runtime {
    builder.enable_all().build().expect("a runtime starts")
}
