//! How a collector is set up: the settings that every collector has here, the others in a file for each kind.

use std::{fmt, sync::Arc, time::Duration};

use super::{
    CollectorActor,
    intake::{Flushing, Keying},
};
use crate::{
    batcher::Batchers,
    config::{CollectorConfig, NoWorkers, Workers},
    dead_letters::DeadLetters,
    dispatch::Rules,
    error::ConfigError,
    job::Job,
    observe::Observer,
    processor::{BatchProcessor, Factory, Limits},
};

mod batching;
mod failure;
mod keys;
mod observing;

/// Sets up a collector; made by [`Collector::builder`](crate::Collector::builder).
///
/// The settings are checked by [`build`](Self::build), [`start`](Self::start) and [`start_on_thread`](Self::start_on_thread).
#[must_use = "a builder does nothing until it is built or started"]
pub struct CollectorBuilder<P: BatchProcessor> {
    pub(super) config: CollectorConfig,
    pub(super) factory: Factory<P>,
    pub(super) rules: Rules<ErrorOf<P>>,
    pub(super) limits: Limits,
    pub(super) dead_letters: Option<Box<dyn DeadLetters<P::Job>>>,
    pub(super) flushing: Flushing<P::Job>,
    pub(super) keying: Keying<P::Job>,
    pub(super) batchers: Batchers<P::Job>,
    pub(super) observers: Vec<Box<dyn Observer>>,
    pub(super) history: Option<usize>,
    #[cfg(feature = "metrics")]
    pub(super) metrics: bool,
    #[cfg(feature = "record")]
    pub(super) record: Option<std::path::PathBuf>,
}

type ErrorOf<P> = <<P as BatchProcessor>::Job as Job>::Error;
type OutputOf<P> = <<P as BatchProcessor>::Job as Job>::Output;

impl<P: BatchProcessor> CollectorBuilder<P> {
    pub(super) fn new(factory: impl Fn(usize) -> P + Send + Sync + 'static) -> Self {
        let flushing = Flushing { policy: None, weigher: None, ageing: Duration::ZERO };
        let rules = Rules { blame: P::blame, ..Rules::default() };
        Self {
            config: CollectorConfig::default(),
            factory: Arc::new(factory),
            rules,
            limits: Limits::default(),
            flushing,
            keying: Keying::default(),
            batchers: Batchers::new(),
            dead_letters: None,
            observers: Vec::new(),
            history: None,
            #[cfg(feature = "metrics")]
            metrics: false,
            #[cfg(feature = "record")]
            record: None,
        }
    }

    /// Replaces all settings at once, for instance with those of a file or of [`CollectorConfig::from_env`].
    pub fn config(mut self, config: CollectorConfig) -> Self {
        self.config = config;
        self
    }

    /// Labels every span, log line, event and statistic. Default: `"collector"`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.config.name = name.into();
        self
    }

    /// The largest number of jobs that are accepted and not yet settled: buffered, ready, in flight or backing off. Default: 10,000.
    pub fn max_pending(mut self, jobs: usize) -> Self {
        self.config.max_pending = jobs;
        self
    }

    /// The largest weight of all pending jobs, in the units of [`weigh`](Self::weigh), which it needs: bytes, for instance. Jobs wait,
    /// or are refused, while there is no room for their weight, and no lighter job overtakes them. A job that is heavier than the bound is
    /// accepted when no other job is pending. From 1. Default: no bound but `max_pending`.
    ///
    /// ```
    /// use actix_batch::prelude::*;
    /// # struct Put(Vec<u8>);
    /// # impl Job for Put { type Output = (); type Error = String; }
    /// # struct Puts;
    /// # impl BatchProcessor for Puts {
    /// #     type Job = Put;
    /// #     async fn process(&mut self, _: &Batch<Put>) -> Result<Outcomes<Put>, String> { Ok(Outcomes::all(())) }
    /// # }
    /// # actix_rt::System::new().block_on(async {
    /// // Never more than 64 MB in memory.
    /// let puts = Collector::builder(|| Puts).weigh(|put| put.0.len() as u64).max_pending_weight(64_000_000).start().unwrap();
    /// puts.submit(Put(vec![0; 1_000])).await.unwrap();
    /// # });
    /// ```
    pub fn max_pending_weight(mut self, weight: u64) -> Self {
        self.config.max_pending_weight = Some(weight);
        self
    }

    /// How many workers, and where they run. Default: [`Workers::local(2)`](Workers::local).
    pub fn workers(mut self, workers: Workers) -> Self {
        self.config.workers = workers;
        self
    }

    /// What happens to jobs while no worker is able to work. Default: [`NoWorkers::Wait`].
    pub fn no_workers(mut self, no_workers: NoWorkers) -> Self {
        self.config.no_workers = no_workers;
        self
    }

    /// The actor, not yet started: for your own `Supervisor` or `Arbiter`. Take a handle with [`CollectorActor::handle`].
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names a setting that is refused, its value, and what is allowed.
    #[cfg_attr(not(feature = "record"), allow(unused_mut, reason = "a trace is one more observer"))]
    pub fn build(mut self) -> Result<CollectorActor<P>, ConfigError> {
        self.config.validate()?;
        self.rules.validate()?;
        self.limits.validate()?;
        self.flushing.validate(&self.config)?;
        self.keying.validate(&self.config)?;
        // Last, so that refused settings leave an earlier trace as it was.
        #[cfg(feature = "record")]
        self.begin_trace()?;
        Ok(CollectorActor::new(self))
    }
}

impl<P: BatchProcessor> fmt::Debug for CollectorBuilder<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CollectorBuilder").field("config", &self.config).finish_non_exhaustive()
    }
}
