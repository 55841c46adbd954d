//! What workers do: plan ranges, and copy one.
//!
//! Pipelines belong to one thread, so each activity hands its pipeline to a thread of the worker's actix `System` and waits for it. Heartbeats
//! say that the worker is alive; what was written is told by the sink alone.

use std::{
    fmt,
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use actix_batch_pipeline::{Definitions, Ended, Pipeline, PipelineHandle, RunError, SourceRange};
use actix_rt::ArbiterHandle;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use temporalio_common::error::ApplicationFailure;
use temporalio_macros::activities;
use temporalio_sdk::activities::{ActivityContext, ActivityError};
use tokio::{
    sync::oneshot,
    time::{MissedTickBehavior, interval},
};
use tracing::info;

use crate::{error::chain, state::Totals};

/// How often a copy is heard of.
const HEARTBEAT: Duration = Duration::from_millis(400);

/// What `actix-batch.plan` is asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanInput {
    pub(crate) definition: String,
    pub(crate) configuration: Value,
    pub(crate) after: Option<SourceRange>,
    pub(crate) rows_per_range: u64,
    pub(crate) at_most: usize,
}

/// What `actix-batch.plan` answers. The ranges come without what the source was, which is the same for all of them and may be long.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Planned {
    pub(crate) identity: Value,
    pub(crate) ranges: Vec<SourceRange>,
}

/// What `actix-batch.copy` is asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CopyInput {
    pub(crate) definition: String,
    pub(crate) configuration: Value,
    pub(crate) range: SourceRange,
}

/// The activities of a worker. Clones share their threads.
#[derive(Clone)]
pub struct Activities {
    definitions: Arc<Definitions>,
    threads: Threads,
}

#[activities]
impl Activities {
    /// Plans the next ranges.
    #[activity(name = "actix-batch.plan")]
    pub async fn plan(self: Arc<Self>, ctx: ActivityContext, input: PlanInput) -> Result<Planned, ActivityError> {
        let pipeline = self.pipeline(&input.definition, input.configuration)?;
        let planned = self
            .on_thread(async move || pipeline.ranges(input.after.as_ref(), input.rows_per_range, input.at_most).await);
        let planned = alive(&ctx, planned, |_| {}).await.ok_or_else(lost)?;
        planned.map(Planned::new).map_err(|error| failure(&error))
    }

    /// Copies one range, from where the sink says that an earlier attempt has ended.
    #[activity(name = "actix-batch.copy")]
    pub async fn copy(self: Arc<Self>, ctx: ActivityContext, input: CopyInput) -> Result<Totals, ActivityError> {
        // The run has the workflow's name.
        let run_name = ctx.info().workflow_id.clone().unwrap_or_default();
        let pipeline = self.pipeline(&input.definition, input.configuration)?.of_range(&run_name, &input.range);
        let (stop, stopped) = oneshot::channel::<()>();
        let mut stop = Some(stop);
        let copied = self.on_thread(async move || run(pipeline, stopped).await);
        let copied = alive(&ctx, copied, |is_cancelled| {
            if is_cancelled && let Some(stop) = stop.take() {
                // The pipeline has ended by itself.
                let _ = stop.send(());
            }
        });
        let report = copied.await.ok_or_else(lost)?.map_err(|error| failure(&error))?;
        info!(
            run = run_name,
            range = input.range.number,
            attempt = ctx.info().attempt,
            records = report.read,
            "range copied"
        );
        if report.ended != Ended::Complete {
            return Err(ActivityError::cancelled());
        }
        Ok(Totals {
            ranges: 1,
            records: report.resumed_after + report.read,
            written: report.written,
            filtered: report.filtered,
            rejected: report.rejected,
        })
    }
}

impl Planned {
    fn new(mut ranges: Vec<SourceRange>) -> Self {
        let mut identity = Value::Null;
        for range in &mut ranges {
            identity = range.identity.take();
        }
        Self { identity, ranges }
    }
}

impl Activities {
    /// With so many threads; made inside an actix `System`.
    pub(crate) fn new(definitions: Definitions, threads: usize) -> Self {
        let threads = (0..threads).map(|_| actix_rt::Arbiter::new().handle()).collect();
        Self { definitions: Arc::new(definitions), threads: Threads(Arc::new(Mutex::new(threads))) }
    }

    fn pipeline(&self, definition: &str, configuration: Value) -> Result<Pipeline, ActivityError> {
        self.definitions.build(definition, configuration).map_err(|error| failure(&error))
    }

    /// Runs something that stays on one thread. `None` if the thread has ended.
    fn on_thread<T: Send + 'static, W: AsyncFnOnce() -> T + Send + 'static>(
        &self,
        work: W,
    ) -> impl Future<Output = Option<T>> + Send + use<T, W> {
        let (done, result) = oneshot::channel();
        if let Some(taken) = self.threads.take() {
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
}

/// Threads that have nothing to do.
#[derive(Clone)]
struct Threads(Arc<Mutex<Vec<ArbiterHandle>>>);

/// A thread that has something to do; it is free again when this is dropped.
struct Taken {
    thread: ArbiterHandle,
    threads: Threads,
}

impl Threads {
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

/// Waits for work, and tells the server meanwhile that it goes on; `on_tick` hears whether it was cancelled.
async fn alive<T>(
    ctx: &ActivityContext,
    work: impl Future<Output = Option<T>>,
    mut on_tick: impl FnMut(bool),
) -> Option<T> {
    let mut work = std::pin::pin!(work);
    let mut ticks = interval(HEARTBEAT);
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

/// Runs a pipeline until it ends, or stops it.
async fn run(pipeline: Pipeline, stopped: oneshot::Receiver<()>) -> Result<actix_batch_pipeline::Report, RunError> {
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
mod tests {
    use std::{
        fs,
        path::PathBuf,
        sync::atomic::{AtomicUsize, Ordering},
    };

    use actix_batch_pipeline::prelude::*;
    use serde_json::json;
    use temporalio_sdk::testing::ActivityEnvironment;

    use super::{Activities, Arc, CopyInput, Definitions, Deserialize, PlanInput, Planned, Serialize, SourceRange};
    use crate::state::Totals;

    #[derive(Serialize, Deserialize)]
    struct Row {
        id: u64,
    }

    /// Copies rows into a table without a key, and panics at one of them.
    #[derive(Serialize, Deserialize)]
    struct Copy {
        folder: PathBuf,
    }

    impl Definition for Copy {
        const NAME: &'static str = "copy";

        fn build(&self) -> Result<Pipeline, RunError> {
            let table = "CREATE TABLE IF NOT EXISTS rows (id INTEGER)";
            let sink = Sqlite::append(self.folder.join("rows.sqlite"), "rows").create_table(table);
            let rows = Csv::<Row>::file(self.folder.join("rows.csv"));
            Ok(Pipeline::named("copy").read(rows).filter(|row| row.id % 2 == 0).write(sink).build())
        }
    }

    fn plan(folder: &std::path::Path) -> PlanInput {
        PlanInput {
            definition: "copy".into(),
            configuration: json!({ "folder": folder }),
            after: None,
            rows_per_range: 100,
            at_most: 50,
        }
    }

    #[actix_rt::test]
    async fn ranges_that_are_planned_are_copied_once_and_heartbeats_carry_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let rows: Vec<_> = (0..1_000).map(|id| format!("{id}\n")).collect();
        fs::write(folder.path().join("rows.csv"), format!("id\n{}", rows.concat())).unwrap();
        let beats = Arc::new(AtomicUsize::new(0));
        let heard = Arc::clone(&beats);
        let environment = ActivityEnvironment::builder()
            .register_activities(Activities::new(Definitions::new().register::<Copy>(), 2))
            .on_heartbeat(move |details| {
                assert!(details.is::<()>(), "a heartbeat says nothing but that the worker lives");
                heard.fetch_add(1, Ordering::Relaxed);
            })
            .build();
        let input = plan(folder.path());
        let Planned { identity, ranges } = environment.run(Activities::plan, input.clone()).await.unwrap();
        assert!((8..=12).contains(&ranges.len()), "{} ranges", ranges.len());
        // The second attempt of each finds that the sink holds everything.
        for attempt in 0..2 {
            let mut all = Totals::default();
            for range in ranges.clone() {
                let range = SourceRange { identity: identity.clone(), ..range };
                let input = CopyInput { definition: "copy".into(), configuration: input.configuration.clone(), range };
                let copied = environment.run(Activities::copy, input).await.unwrap();
                all.records += copied.records;
                all.written += copied.written;
            }
            assert_eq!((all.records, all.written), (1_000, if attempt == 0 { 500 } else { 0 }));
        }
        assert!(beats.load(Ordering::Relaxed) > 0);
    }

    #[actix_rt::test]
    async fn what_cannot_get_better_is_not_tried_again() {
        let folder = tempfile::tempdir().unwrap();
        let activities = Activities::new(Definitions::new().register::<Copy>(), 1);
        let environment = ActivityEnvironment::builder().register_activities(activities).build();
        for (input, what) in [
            (plan(folder.path()), "rows.csv does not exist"),
            (PlanInput { definition: "move".into(), ..plan(folder.path()) }, "registered are: copy"),
            (PlanInput { configuration: json!(7), ..plan(folder.path()) }, "the definition `copy` cannot be used"),
        ] {
            let error = environment.run(Activities::plan, input).await.unwrap_err();
            let text = format!("{error:?}");
            assert!(text.contains(what) && text.contains("non_retryable: true"), "{text}");
        }
    }
}
