//! How a collector is set up and started.

use std::{fmt, sync::Arc, sync::mpsc, thread, time::Duration};

use actix::{Actor, Supervisor};
use actix_rt::{Arbiter, System};

use super::{Collector, CollectorActor};
use crate::{
    ConfigError, StartError,
    config::{CollectorConfig, NoWorkers, Strategy, Workers},
    processor::{BatchProcessor, Factory},
};

/// Sets up a collector; made by [`Collector::builder`].
///
/// Nothing is checked before [`build`](Self::build) or a `start`: these refuse what cannot be.
#[must_use = "a builder does nothing until it is built or started"]
pub struct Builder<P: BatchProcessor> {
    pub(super) config: CollectorConfig,
    pub(super) factory: Factory<P>,
}

impl<P: BatchProcessor> Builder<P> {
    pub(super) fn new(factory: impl Fn() -> P + Send + Sync + 'static) -> Self {
        Self { config: CollectorConfig::default(), factory: Arc::new(factory) }
    }

    /// Replaces all settings at once, for instance by those of a file or of [`CollectorConfig::from_env`].
    pub fn config(mut self, config: CollectorConfig) -> Self {
        self.config = config;
        self
    }

    /// Labels every span, log line, event and statistic. Default: `"collector"`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.config.name = name.into();
        self
    }

    /// Which flush policy decides when a batch leaves. Default: [`Strategy::SizeOrInterval`].
    pub fn strategy(mut self, strategy: Strategy) -> Self {
        self.config.strategy = strategy;
        self
    }

    /// Jobs per batch at the most, from 1 to `max_pending`. Default: 100.
    pub fn max_size(mut self, jobs: usize) -> Self {
        self.config.max_size = jobs;
        self
    }

    /// How long a batch's first job waits for others; later jobs never push it back. The timer ticks in milliseconds.
    /// Default: 5 ms.
    pub fn interval(mut self, interval: Duration) -> Self {
        self.config.interval = interval;
        self
    }

    /// Jobs accepted and not yet settled – buffered, ready and in flight – at the most. Default: 10,000.
    pub fn max_pending(mut self, jobs: usize) -> Self {
        self.config.max_pending = jobs;
        self
    }

    /// How many workers, and where they run. Default: [`Workers::local(2)`](Workers::local).
    pub fn workers(mut self, workers: Workers) -> Self {
        self.config.workers = workers;
        self
    }

    /// What becomes of jobs while every worker rests. Default: [`NoWorkers::Wait`].
    pub fn no_workers(mut self, no_workers: NoWorkers) -> Self {
        self.config.no_workers = no_workers;
        self
    }

    /// The actor, not yet started: for your own `Supervisor` or `Arbiter`. Take a handle with [`CollectorActor::handle`].
    ///
    /// # Errors
    ///
    /// [`ConfigError`] for a setting that cannot be.
    pub fn build(self) -> Result<CollectorActor<P>, ConfigError> {
        self.config.check()?;
        Ok(CollectorActor::new(self))
    }

    /// Starts the collector on this thread's arbiter, under actix's `Supervisor`.
    ///
    /// It ends when the last handle and address are dropped and everything is settled.
    ///
    /// # Errors
    ///
    /// [`StartError::Config`] for a setting that cannot be; [`StartError::NoSystem`] where no actix `System` runs.
    pub fn start(self) -> Result<Collector<P::Job>, StartError> {
        let actor = self.build()?;
        let arbiter = Arbiter::try_current().filter(|arbiter| System::is_registered() && arbiter.alive());
        let arbiter = arbiter.ok_or(StartError::NoSystem)?;
        let handle = actor.handle();
        Supervisor::start_in_arbiter(&arbiter, move |_| actor);
        Ok(handle)
    }

    /// Starts the collector on a thread and `System` of its own, for programs under `#[tokio::main]` or without a runtime.
    ///
    /// The thread ends with the collector: when the last handle and address are dropped and everything is settled. A process
    /// that exits earlier takes it along, so await [`Collector::shutdown`] first.
    ///
    /// # Errors
    ///
    /// [`StartError::Config`] for a setting that cannot be; [`StartError::Thread`] where no thread could be started.
    pub fn start_on_thread(self) -> Result<Collector<P::Job>, StartError> {
        let actor = self.build()?;
        let handle = actor.handle();
        let (up, is_up) = mpsc::channel();
        thread::Builder::new().name(actor.shared().name.to_string()).spawn(move || {
            let system = System::new();
            let ended = actor.shared().ended();
            system.block_on(async move {
                actor.start();
                let _ = up.send(());
                ended.await;
                System::current().stop();
            });
        })?;
        // An error means that the thread could not bring up its `System`; the actor was dropped, and the intake is closed.
        is_up.recv().map_err(|_| StartError::Thread(std::io::Error::other("its `System` did not start")))?;
        Ok(handle)
    }
}

impl<P: BatchProcessor> fmt::Debug for Builder<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("config", &self.config).finish_non_exhaustive()
    }
}
