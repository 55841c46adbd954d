//! Starts runs on a cluster, and watches them.

use std::{
    fmt,
    future::IntoFuture,
    time::{Duration, SystemTime},
};

use actix_batch_pipeline::{Definition, SourceRange};
use futures_util::future::LocalBoxFuture;
use serde::Serialize;
use temporalio_client::{
    Client, WorkflowCancelOptions, WorkflowExecuteUpdateOptions, WorkflowFetchHistoryOptions, WorkflowGetResultOptions,
    WorkflowHandle, WorkflowQueryOptions, WorkflowSignalOptions, WorkflowStartOptions,
};
use tokio::time::sleep;
use tracing::warn;

use crate::{
    error::{ClusterError, is_away},
    server::Server,
    state::{FailedRange, Outcome, Progress, Settings, State, Totals},
    workflow::{Input, PipelineWorkflow},
};

/// The task queue of runners and workers that name no other one.
pub(crate) const QUEUE: &str = "actix-batch";

/// Starts runs on the cluster of one server.
#[derive(Clone)]
pub struct TemporalRunner {
    server: Server,
    client: Client,
    task_queue: String,
}

/// A run that is about to be started; made by [`TemporalRunner::start`].
#[must_use = "a run is started by `.run_as(name)` or `.await`"]
pub struct Start {
    runner: TemporalRunner,
    settings: Settings,
    /// Why the definition cannot be sent.
    unsendable: Option<String>,
    after: Option<SourceRange>,
}

/// A run on a cluster. It goes on without this handle.
pub struct RunHandle {
    runner: TemporalRunner,
    run: String,
}

/// What a run did.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// The run's name.
    pub run: String,
    /// What was copied.
    pub totals: Totals,
    /// Ranges that failed for good; a run goes on without as many as [`Start::max_failed_ranges`] allows.
    pub failed: Vec<FailedRange>,
    /// Whether it was stopped.
    pub stopped: bool,
    /// Where another run [goes on](Start::go_on_after). It passes ranges that have failed: to copy those, start a run of the same name, which
    /// copies only what is missing.
    pub copied_up_to: Option<SourceRange>,
}

impl TemporalRunner {
    /// Connects to a server: `http://127.0.0.1:7233`.
    ///
    /// # Errors
    ///
    /// [`ClusterError::Unreachable`].
    pub async fn connect(url: &str) -> Result<Self, ClusterError> {
        let server = Server::new(url);
        let client = server.connect().await?;
        Ok(Self { server, client, task_queue: QUEUE.to_owned() })
    }

    /// The task queue of the workers. Default: `actix-batch`.
    pub fn task_queue(mut self, queue: impl Into<String>) -> Self {
        self.task_queue = queue.into();
        self
    }

    /// Prepares a run of a definition.
    pub fn start<D: Definition>(&self, definition: &D) -> Start {
        let configuration = serde_json::to_value(definition);
        let unsendable = configuration.as_ref().err().map(ToString::to_string);
        let settings = Settings {
            definition: D::NAME.to_owned(),
            configuration: configuration.unwrap_or_default(),
            rows_per_range: 20_000,
            in_flight: 8,
            ranges_per_run: 500,
            max_failed_ranges: 0,
            max_rejected: None,
        };
        Start { runner: self.clone(), settings, unsendable, after: None }
    }

    /// The handle of a run that was started somewhere.
    pub fn run(&self, name: impl Into<String>) -> RunHandle {
        RunHandle { runner: self.clone(), run: name.into() }
    }
}

impl Start {
    /// About how many rows a range has. Default: 20,000. A range should take half a second or more.
    pub fn rows_per_range(mut self, rows: u64) -> Self {
        self.settings.rows_per_range = rows;
        self
    }

    /// How many ranges are copied at once, over all workers, from 1 to 1,000. Default: 8.
    pub fn in_flight(mut self, ranges: usize) -> Self {
        self.settings.in_flight = ranges;
        self
    }

    /// After how many ranges the workflow continues as new, so that its history stays short, from 1 to 2,000. Default: 500.
    pub fn ranges_per_run(mut self, ranges: u64) -> Self {
        self.settings.ranges_per_run = ranges;
        self
    }

    /// How many ranges may fail for good before the run fails, from 0 to 100. Default: 0.
    pub fn max_failed_ranges(mut self, ranges: usize) -> Self {
        self.settings.max_failed_ranges = ranges;
        self
    }

    /// How many records may be rejected before the run fails. Default: any number.
    pub fn max_rejected(mut self, records: u64) -> Self {
        self.settings.max_rejected = Some(records);
        self
    }

    /// Begins behind this range: where a run that was stopped has ended, by its [`Report::copied_up_to`].
    pub fn go_on_after(mut self, range: Option<SourceRange>) -> Self {
        self.after = range;
        self
    }

    /// Starts it under this name; without one, `.await` gives it the definition's name and the time. What a run of this name has copied is not copied again, so a new data set needs a new name.
    ///
    /// # Errors
    ///
    /// [`ClusterError::Config`], and [`ClusterError::NotStarted`] if a run of this name goes on.
    pub async fn run_as(self, name: impl Into<String>) -> Result<RunHandle, ClusterError> {
        self.check()?;
        let run = name.into();
        let options = WorkflowStartOptions::new(&*self.runner.task_queue, &*run).build();
        let state = State::new(self.settings, self.after);
        let started = self.runner.client.start_workflow(PipelineWorkflow::run, Input(state), options).await;
        started.map_err(|error| ClusterError::NotStarted { run: run.clone(), error: crate::error::chain(&error) })?;
        Ok(self.runner.run(run))
    }

    fn check(&self) -> Result<(), ClusterError> {
        if let Some(error) = &self.unsendable {
            let (value, allowed) = (error.clone(), "data that is JSON".to_owned());
            return Err(ClusterError::Config { key: "definition", value, allowed });
        }
        let settings = &self.settings;
        within("rows_per_range", settings.rows_per_range, 1, u64::MAX)?;
        within("ranges_per_run", settings.ranges_per_run, 1, 2_000)?;
        within("in_flight", settings.in_flight as u64, 1, 1_000)?;
        within("max_failed_ranges", settings.max_failed_ranges as u64, 0, 100)
    }
}

fn within(key: &'static str, value: u64, least: u64, most: u64) -> Result<(), ClusterError> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    let allowed = if most == u64::MAX { format!("at least {least}") } else { format!("from {least} to {most}") };
    Err(ClusterError::Config { key, value: value.to_string(), allowed })
}

/// Starts it under a name of its own: the definition's, and the time.
impl IntoFuture for Start {
    type Output = Result<RunHandle, ClusterError>;
    type IntoFuture = LocalBoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        let time = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_millis());
        let name = format!("{}-{time}", self.settings.definition);
        Box::pin(self.run_as(name))
    }
}

impl RunHandle {
    /// The run's name.
    pub fn name(&self) -> &str {
        &self.run
    }

    fn workflow(&self) -> WorkflowHandle<Client, PipelineWorkflow> {
        self.runner.client.get_workflow_handle(&*self.run)
    }

    fn refused(&self, error: &(dyn std::error::Error + 'static)) -> ClusterError {
        ClusterError::refused(&self.run, error)
    }

    /// Begins no more ranges until it is resumed; those that run are finished.
    ///
    /// # Errors
    ///
    /// If the server refuses it: the run has ended, for instance.
    pub async fn pause(&self) -> Result<(), ClusterError> {
        let sent = self.workflow().signal(PipelineWorkflow::pause, (), WorkflowSignalOptions::default()).await;
        sent.map_err(|error| self.refused(&error))
    }

    /// Goes on.
    ///
    /// # Errors
    ///
    /// As [`pause`](Self::pause).
    pub async fn resume(&self) -> Result<(), ClusterError> {
        let sent = self.workflow().signal(PipelineWorkflow::resume, (), WorkflowSignalOptions::default()).await;
        sent.map_err(|error| self.refused(&error))
    }

    /// Finishes the ranges that run, and ends. The report says where another run goes on.
    ///
    /// # Errors
    ///
    /// As [`pause`](Self::pause).
    pub async fn stop(&self) -> Result<(), ClusterError> {
        let sent = self.workflow().signal(PipelineWorkflow::stop, (), WorkflowSignalOptions::default()).await;
        sent.map_err(|error| self.refused(&error))
    }

    /// Ends at once: ranges that run are stopped when their workers are next heard of.
    ///
    /// # Errors
    ///
    /// As [`pause`](Self::pause).
    pub async fn cancel(&self) -> Result<(), ClusterError> {
        self.workflow().cancel(WorkflowCancelOptions::default()).await.map_err(|error| self.refused(&error))
    }

    /// How many ranges are copied at once, from 1 to 1,000. Returns how many were before.
    ///
    /// # Errors
    ///
    /// If the number is refused, or the run has ended.
    pub async fn set_in_flight(&self, ranges: usize) -> Result<usize, ClusterError> {
        let options = WorkflowExecuteUpdateOptions::default();
        let updated = self.workflow().execute_update(PipelineWorkflow::set_in_flight, ranges, options).await;
        updated.map_err(|error| self.refused(&error))
    }

    /// How far it is.
    ///
    /// # Errors
    ///
    /// If no worker answers, or the run is not known.
    pub async fn progress(&self) -> Result<Progress, ClusterError> {
        let options = WorkflowQueryOptions::default();
        let progress = self.workflow().query(PipelineWorkflow::progress, (), options).await;
        progress.map_err(|error| self.refused(&error))
    }

    /// The history of the workflow as JSON, for tests that replay it: see [`PipelineWorkflow`]. Of a run that has continued as new, the last part.
    ///
    /// # Errors
    ///
    /// If the run is not known.
    pub async fn history(&self) -> Result<Vec<u8>, ClusterError> {
        let history = self.workflow().fetch_history(WorkflowFetchHistoryOptions::default());
        history.to_json().await.map_err(|error| self.refused(&error))
    }

    /// Waits for the end, also over an outage of the server.
    ///
    /// # Errors
    ///
    /// [`ClusterError::Failed`] and [`ClusterError::Ended`].
    pub async fn report(&self) -> Result<Report, ClusterError> {
        let mut runner = self.runner.clone();
        loop {
            let workflow: WorkflowHandle<Client, PipelineWorkflow> = runner.client.get_workflow_handle(&*self.run);
            match workflow.get_result(WorkflowGetResultOptions::default()).await {
                Ok(outcome) => return self.reported(outcome),
                Err(error) if is_away(&error) => {
                    warn!(run = self.run, "asking again: {}", crate::error::chain(&error));
                    sleep(Duration::from_millis(500)).await;
                    runner.client = runner.server.connect_at_last().await?;
                }
                Err(error) => return Err(ClusterError::of_result(&self.run, &error)),
            }
        }
    }

    fn reported(&self, outcome: Outcome) -> Result<Report, ClusterError> {
        let Outcome { totals, failed, stopped, error, copied_up_to } = outcome;
        match error {
            Some(error) => Err(ClusterError::Failed { run: self.run.clone(), error }),
            None => Ok(Report { run: self.run.clone(), totals, failed, stopped, copied_up_to }),
        }
    }
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { totals, running, left, failed, .. } = self;
        write!(
            f,
            "{} ranges with {} records copied, {running} running, {left} left, {failed} failed",
            totals.ranges, totals.records
        )?;
        if self.stopping {
            f.write_str(", stopping")
        } else if self.paused {
            f.write_str(", paused")
        } else {
            Ok(())
        }
    }
}

impl fmt::Debug for TemporalRunner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TemporalRunner").field("server", &self.server).finish_non_exhaustive()
    }
}

impl fmt::Debug for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Start").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl fmt::Debug for RunHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunHandle").field("run", &self.run).finish_non_exhaustive()
    }
}
