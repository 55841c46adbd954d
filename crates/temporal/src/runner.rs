//! Starts runs on a cluster, and watches them.

use std::{fmt, future::IntoFuture, time::SystemTime};

use actix_batch_pipeline::{Definition, SourceRange};
use futures_util::future::LocalBoxFuture;
use temporalio_client::{Client, WorkflowStartOptions};

use crate::{
    error::ClusterError,
    run::RunHandle,
    server::{Server, TemporalServer},
    state::{Settings, State},
    workflow::{Input, PipelineWorkflow},
};

/// The task queue of runners and workers that name no other one.
pub(crate) const QUEUE: &str = "actix-batch";

/// Starts runs on the cluster of one server.
#[derive(Clone)]
pub struct TemporalRunner {
    pub(crate) server: Server,
    pub(crate) client: Client,
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

impl TemporalRunner {
    /// Connects to a server: its URL, such as `http://127.0.0.1:7233`, or a [`TemporalServer`] with a namespace, TLS, an API key.
    ///
    /// # Errors
    ///
    /// [`ClusterError::Config`], [`ClusterError::Unreachable`], and [`ClusterError::NotAllowed`].
    pub async fn connect(server: impl Into<TemporalServer>) -> Result<Self, ClusterError> {
        let server = Server::Known(server.into());
        let client = server.connect().await?;
        Ok(Self { server, client, task_queue: QUEUE.to_owned() })
    }

    /// With a client of the SDK, which says the namespace, too.
    pub fn with_client(client: &Client) -> Self {
        Self { server: Server::Connected(client.clone()), client: client.clone(), task_queue: QUEUE.to_owned() }
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
            rows_per_range: None,
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
    /// About how many rows a range has, at least 1. By default that is measured: the first ranges have a hundredth of the source, from 200
    /// to 20,000 rows, and what they took gives the size of the next ones, so that a range takes about 5 s, or less if little is left, but half a second; never more than 1,000,000 rows.
    ///
    /// Another run of the same name needs ranges of the same size. What was measured is kept by the server as long as it keeps the run that
    /// did (the retention of its namespace); a name that is used again after that needs this number.
    pub fn rows_per_range(mut self, rows: u64) -> Self {
        self.settings.rows_per_range = Some(rows);
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

    /// Begins behind this range: where a run that was stopped has ended, by its [`Report::copied_up_to`](crate::Report::copied_up_to).
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
        let mut state = State::new(self.settings, self.after);
        if state.cuts().is_some() {
            // Boxed: it is large, and callers keep it in their own future.
            state = state.cut_as(Box::pin(self.runner.run(&*run).cuts()).await?);
        }
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
        within("rows_per_range", settings.rows_per_range.unwrap_or(1), 1, u64::MAX)?;
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
