//! The settings of a pipeline, and its ends: run, start, check, preview.

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use actix_batch::CollectorBuilder;
use serde::Serialize;

use crate::{
    checkpoint::{FileStore, Store},
    error::RunError,
    guarantee::Guarantee,
    outlet::{One, Outlet},
    pipeline::Pipeline,
    progress::Report,
    record::Record,
    run::{Plan, Settings},
    schedule::Schedule,
    sink::{IntoSink, SinkProcessor},
    source::Source,
    stage::Chain,
};

/// A pipeline from a source to its sinks, with its settings. Made by [`Flow::write`](crate::Flow::write) and its like.
#[must_use = "a pipeline does nothing until it is run"]
pub struct PipelineBuilder<S: Source, T: Send + Sync + 'static, O> {
    source: S,
    stages: Arc<dyn Chain<S::Record, T>>,
    outlet: O,
    settings: Settings,
}

impl<S: Source, T: Send + Sync + 'static, K: IntoSink<T>> PipelineBuilder<S, T, One<T, K>> {
    /// Changes the settings of the sink's collector: the whole builder of `actix-batch`, with batch size, workers, retries, breaker,
    /// rate limit and time-outs.
    pub fn collector<F>(mut self, configure: F) -> Self
    where
        F: Fn(CollectorBuilder<SinkProcessor<T, K::Sink>>) -> CollectorBuilder<SinkProcessor<T, K::Sink>>
            + Send
            + Sync
            + 'static,
    {
        self.outlet = self.outlet.collector(configure);
        self
    }
}

impl<S: Source, T: Send + Sync + 'static, O: Outlet<T>> PipelineBuilder<S, T, O> {
    pub(crate) fn new(name: String, source: S, stages: Arc<dyn Chain<S::Record, T>>, outlet: O) -> Self {
        Self { source, stages, outlet, settings: Settings::new(name) }
    }

    /// Where the checkpoint is kept, for sinks that do not keep it beside their data. Default: nowhere, so that each run begins at the
    /// beginning.
    pub fn checkpoint(self, path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        self.checkpoint_store(move || Box::new(FileStore::at(&path)))
    }

    /// As [`checkpoint`](Self::checkpoint), in a store of your own. Each run makes one, and takes its lease.
    pub fn checkpoint_store(mut self, make: impl Fn() -> Box<dyn Store> + Send + Sync + 'static) -> Self {
        self.settings.store = Some(Arc::new(make));
        self
    }

    /// How often the checkpoint is saved. Default: 1 s. Saving a file takes about 12 ms; copying goes on meanwhile.
    pub fn checkpoint_every(mut self, time: Duration) -> Self {
        self.settings.checkpoint_every = time;
        self
    }

    /// The file for rejected records, one line of JSON each. Default: they are counted, and the first 20 are logged.
    pub fn dead_letters(mut self, path: impl Into<PathBuf>) -> Self {
        self.settings.dead_letters = Some(path.into());
        self
    }

    /// How many records may be rejected before the run fails. Default: any number.
    pub fn max_rejected(mut self, records: u64) -> Self {
        self.settings.max_rejected = Some(records);
        self
    }

    /// How many ranges of the source are read at once, each on a thread of its own. Default: 1, on the pipeline's thread.
    pub fn readers(mut self, readers: usize) -> Self {
        self.settings.readers = readers;
        self
    }

    /// How many records are read and staged at once, from 1 to 1,000,000. Default: 250.
    pub fn chunk(mut self, records: usize) -> Self {
        self.settings.chunk = records;
        self
    }

    /// How many records of each reader may be on their way to the sink, from 1 to 10,000,000. Default: 8,000.
    pub fn look_ahead(mut self, records: usize) -> Self {
        self.settings.look_ahead = records;
        self
    }

    /// Stops after this many records, cleanly: the next run goes on. Default: never.
    pub fn max_records(mut self, records: u64) -> Self {
        self.settings.max_records = Some(records);
        self
    }

    /// Stops once this many batches have been written, cleanly: the next run goes on. What is in flight by then, a chunk at most, is
    /// finished. Default: never.
    pub fn max_batches(mut self, batches: u64) -> Self {
        self.settings.max_batches = Some(batches);
        self
    }

    /// Accepts that records may be written twice after a failure, if the sink has neither transactions nor keys. Default: such a
    /// pipeline is refused.
    pub fn accept_duplicates(mut self, accept: bool) -> Self {
        self.settings.accept_duplicates = accept;
        self
    }

    /// Forgets the checkpoint and begins at the beginning. What earlier runs have written stays. Default: `false`.
    pub fn fresh(mut self, fresh: bool) -> Self {
        self.settings.fresh = fresh;
        self
    }

    /// Begins after this cursor, as JSON, whatever the checkpoint says; the checkpoint is forgotten.
    pub fn start_at<C: Serialize>(mut self, cursor: &C) -> Self {
        self.settings.start_at = serde_json::to_value(cursor).ok();
        self
    }

    /// Shows the progress on standard error: a bar on a terminal (feature `progress-bar`), a line every 5 s otherwise. Default: `false`.
    pub fn show_progress(mut self, show: bool) -> Self {
        self.settings.show_progress = show;
        self
    }

    /// Stops cleanly on Ctrl-C, so that the next run goes on; a second Ctrl-C ends the process at once. Default: `false`.
    pub fn stop_on_ctrl_c(mut self, stop: bool) -> Self {
        self.settings.stop_on_ctrl_c = stop;
        self
    }

    /// Counts and measures the run through the `metrics` facade, every second: `actix_batch_pipeline_records_total` by outcome,
    /// `_open_records`, `_checkpoint_age_seconds` and `_runs_total`, with the label `pipeline`. The sink's collector has metrics of its own
    /// (`CollectorBuilder::metrics`). Default: `false`.
    #[cfg(feature = "metrics")]
    pub fn metrics(mut self, metrics: bool) -> Self {
        self.settings.metrics = metrics;
        self
    }

    /// Checks the settings, and says how often a record takes effect.
    ///
    /// # Errors
    ///
    /// [`RunError::Config`] and [`RunError::Duplicates`].
    pub fn check(self) -> Result<Guarantee, RunError> {
        self.build().check()
    }

    /// Runs to the end and reports.
    ///
    /// # Errors
    ///
    /// [`RunError`]. What has settled is in the checkpoint, so the next run goes on there.
    pub async fn run(self) -> Result<Report, RunError> {
        self.build().run().await
    }

    /// Starts the run as an actor on this thread.
    ///
    /// # Errors
    ///
    /// [`RunError::Config`] and [`RunError::Duplicates`].
    pub fn start(self) -> Result<crate::actor::PipelineHandle, RunError> {
        self.build().start()
    }

    /// Runs now, and again each time that so much time has passed, from where the run before has ended. See [`Schedule`], which can run
    /// several pipelines.
    ///
    /// # Errors
    ///
    /// As [`Schedule::add`].
    pub fn every(self, time: Duration) -> Result<Schedule, RunError> {
        let schedule = Schedule::new();
        schedule.add(self.build(), time)?;
        Ok(schedule)
    }

    /// Reads and stages up to this many records, and writes and saves nothing. The report says what would have been written.
    ///
    /// # Errors
    ///
    /// If the source cannot be read, or a stage's records do not add up.
    pub async fn dry_run(self, records: u64) -> Result<Report, RunError> {
        self.build().dry_run(records).await
    }

    /// The first records as they would be written, at most this many. Nothing is written or saved.
    ///
    /// # Errors
    ///
    /// If the source cannot be read, or a stage's records do not add up.
    pub async fn preview(self, records: usize) -> Result<Vec<Record<T>>, RunError> {
        self.plan().preview(records).await
    }

    /// The pipeline without its types: what a [`Definition`](crate::Definition) builds.
    pub fn build(self) -> Pipeline {
        Pipeline::new(self.settings.name.clone(), self.plan())
    }

    fn plan(self) -> Plan<S, T> {
        let Self { source, stages, outlet, settings } = self;
        Plan { source: Arc::new(source), stages, outlet: Arc::new(outlet), settings }
    }
}

impl<S: Source, T: Send + Sync + 'static, O: Outlet<T>> fmt::Debug for PipelineBuilder<S, T, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PipelineBuilder")
            .field("source", &self.source.describe())
            .field("stages", &self.stages.names())
            .field("sinks", &self.outlet.describe())
            .finish_non_exhaustive()
    }
}
