//! What workers do: plan ranges, and copy one.
//!
//! Pipelines belong to one thread, so each activity hands its pipeline to a thread of the worker's actix `System` and waits for it. Heartbeats
//! say that the worker is alive; what was written is told by the sink alone.

use std::{
    fmt,
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use actix_batch_pipeline::{Definitions, Ended, Pipeline, PipelineHandle, Report, RunError, SourceRange};
use serde_json::Value;
use temporalio_common::error::ApplicationFailure;
use temporalio_macros::activities;
use temporalio_sdk::activities::{ActivityContext, ActivityError};
use tokio::{
    sync::oneshot,
    time::{MissedTickBehavior, interval_at},
};
use tracing::info;

pub use self::messages::{Copied, CopyInput, PlanInput, Planned};
use self::threads::Threads;
#[cfg(feature = "metrics")]
use crate::metrics::Metrics;
use crate::{
    error::chain,
    state::{MOST_FIRST, first_rows},
};

mod messages;
mod threads;

/// How often a copy is heard of.
const HEARTBEAT: Duration = Duration::from_millis(400);

/// The activities of a worker. Clones share their threads.
#[derive(Clone)]
pub struct Activities {
    definitions: Arc<Definitions>,
    threads: Threads,
    #[cfg(feature = "metrics")]
    metrics: Option<Metrics>,
}

#[activities]
impl Activities {
    /// Plans the next ranges.
    #[activity(name = "actix-batch.plan")]
    pub async fn plan(self: Arc<Self>, ctx: ActivityContext, input: PlanInput) -> Result<Planned, ActivityError> {
        #[cfg(feature = "metrics")]
        let _slot = self.metrics.as_ref().map(Metrics::slot);
        let pipeline = self.pipeline(&input.definition, input.configuration)?;
        let PlanInput { after, rows_per_range, at_most, .. } = input;
        let planned = self.threads.run(async move || ranges(&pipeline, after, rows_per_range, at_most).await);
        let planned = alive(&ctx, planned, |_| {}).await.ok_or_else(lost)?;
        planned.map(Planned::new).map_err(|error| failure(&error))
    }

    /// Copies one range, from where the sink says that an earlier attempt has ended.
    #[activity(name = "actix-batch.copy")]
    pub async fn copy(self: Arc<Self>, ctx: ActivityContext, input: CopyInput) -> Result<Copied, ActivityError> {
        #[cfg(feature = "metrics")]
        let range = self.metrics.as_ref().map(|metrics| metrics.range(&input.definition, ctx.info().attempt));
        let copied = self.copy_range(&ctx, input).await;
        #[cfg(feature = "metrics")]
        if let Some(range) = range {
            range.ended(&copied);
        }
        copied
    }
}

impl Activities {
    /// With so many threads; made inside an actix `System`.
    pub(crate) fn new(definitions: Definitions, threads: usize) -> Self {
        Self {
            definitions: Arc::new(definitions),
            threads: Threads::new(threads),
            #[cfg(feature = "metrics")]
            metrics: None,
        }
    }

    #[cfg(feature = "metrics")]
    pub(crate) fn metrics(mut self, metrics: Option<Metrics>) -> Self {
        self.metrics = metrics;
        self
    }

    async fn copy_range(&self, ctx: &ActivityContext, input: CopyInput) -> Result<Copied, ActivityError> {
        let began = Instant::now();
        // The run has the workflow's name.
        let run_name = ctx.info().workflow_id.clone().unwrap_or_default();
        let pipeline = self.pipeline(&input.definition, input.configuration)?.of_range(&run_name, &input.range);
        let (stop, stopped) = oneshot::channel::<()>();
        let mut stop = Some(stop);
        let copied = self.threads.run(async move || run(pipeline, stopped).await);
        let copied = alive(ctx, copied, |is_cancelled| {
            if is_cancelled && let Some(stop) = stop.take() {
                // The pipeline has ended by itself.
                let _ = stop.send(());
            }
        });
        let report = copied.await.ok_or_else(lost)?.map_err(|error| failure(&error))?;
        if report.ended != Ended::Complete {
            return Err(ActivityError::cancelled());
        }
        let (range, attempt) = (input.range.number, ctx.info().attempt);
        info!(run = run_name, range, attempt, records = report.read, "range copied");
        Ok(Copied::new(&report, began.elapsed()))
    }

    fn pipeline(&self, definition: &str, configuration: Value) -> Result<Pipeline, ActivityError> {
        self.definitions.build(definition, configuration).map_err(|error| failure(&error))
    }
}

/// Waits for work, and tells the server meanwhile that it goes on; `on_tick` hears whether it was cancelled.
async fn alive<T>(
    ctx: &ActivityContext,
    work: impl Future<Output = Option<T>>,
    mut on_tick: impl FnMut(bool),
) -> Option<T> {
    let mut work = std::pin::pin!(work);
    // The server has just heard of it, and most ranges end before it would have to hear of them again.
    let mut ticks = interval_at((Instant::now() + HEARTBEAT).into(), HEARTBEAT);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            done = &mut work => return done,
            () = ctx.cancelled(), if !ctx.is_cancelled() => on_tick(true),
            _ = ticks.tick() => {
                on_tick(ctx.is_cancelled());
                // It says nothing but that the worker lives: where to go on is the sink's to know.
                let _ = ctx.record_heartbeat(()).await;
            }
        }
    }
}

/// The ranges behind `after`, or the first ones.
async fn ranges(
    pipeline: &Pipeline,
    after: Option<SourceRange>,
    rows: Option<u64>,
    at_most: usize,
) -> Result<Vec<SourceRange>, RunError> {
    let rows = match rows {
        Some(rows) => rows,
        // Of later ranges their number is said, and not their size.
        None if after.is_some() => MOST_FIRST,
        None => {
            let large = pipeline.ranges(None, MOST_FIRST, 1).await?;
            first_rows(large.first().map_or(0, |range| (range.behind + 1).saturating_mul(MOST_FIRST)))
        }
    };
    pipeline.ranges(after.as_ref(), rows, at_most).await
}

/// Runs a pipeline until it ends, or stops it.
async fn run(pipeline: Pipeline, stopped: oneshot::Receiver<()>) -> Result<Report, RunError> {
    let handle = pipeline.start()?;
    let addr = handle.addr().clone();
    let report = PipelineHandle::report(handle);
    let mut report = std::pin::pin!(report);
    tokio::select! {
        report = &mut report => report,
        // Stopped, or nobody is left who waits for it: another attempt must not find its lease taken.
        _ = stopped => {
            addr.do_send(actix_batch_pipeline::messages::Stop);
            report.await
        }
    }
}

fn failure(error: &RunError) -> ActivityError {
    let text = chain(error);
    let failure =
        if error.is_retryable() { ApplicationFailure::new(text) } else { ApplicationFailure::non_retryable(text) };
    ActivityError::application(failure)
}

fn lost() -> ActivityError {
    ActivityError::application(ApplicationFailure::new("the worker's thread has ended, or none is free"))
}

impl fmt::Debug for Activities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Activities").field("definitions", &self.definitions).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
