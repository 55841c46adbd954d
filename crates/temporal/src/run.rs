//! A run on a cluster: what it can be told, and what it says.

use std::{fmt, time::Duration};

use actix_batch_pipeline::SourceRange;
use serde::Serialize;
use temporalio_client::{
    Client, WorkflowCancelOptions, WorkflowDescribeOptions, WorkflowExecuteUpdateOptions, WorkflowFetchHistoryOptions,
    WorkflowGetResultOptions, WorkflowHandle, WorkflowQueryOptions, WorkflowSignalOptions,
    errors::WorkflowInteractionError,
};
use tokio::time::sleep;
use tracing::warn;

use crate::{
    error::{ClusterError, is_away},
    runner::TemporalRunner,
    state::{Cuts, FailedRange, Outcome, Progress, Totals},
    workflow::{CUTS, PipelineWorkflow},
};

/// A run on a cluster. It goes on without this handle.
pub struct RunHandle {
    pub(crate) runner: TemporalRunner,
    pub(crate) run: String,
}

/// What a run did.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// The run's name.
    pub run: String,
    /// What was copied.
    pub totals: Totals,
    /// Ranges that failed for good; a run goes on without as many as [`Start::max_failed_ranges`](crate::Start::max_failed_ranges) allows.
    pub failed: Vec<FailedRange>,
    /// Whether it was stopped.
    pub stopped: bool,
    /// Where another run [goes on](crate::Start::go_on_after). It passes ranges that have failed: to copy those, start a run of the same name, which
    /// copies only what is missing.
    pub copied_up_to: Option<SourceRange>,
}

impl RunHandle {
    /// The run's name.
    pub fn name(&self) -> &str {
        &self.run
    }

    fn workflow(&self) -> WorkflowHandle<Client, PipelineWorkflow> {
        self.runner.client.get_workflow_handle(&*self.run)
    }

    /// How the last run of this name has cut its source.
    pub(crate) async fn cuts(&self) -> Result<Cuts, ClusterError> {
        let described = match self.workflow().describe(WorkflowDescribeOptions::default()).await {
            Ok(described) => described,
            Err(WorkflowInteractionError::NotFound(_)) => return Ok(Cuts::default()),
            Err(error) => return Err(self.refused(&error)),
        };
        let cuts = described.memo().get(CUTS).map_err(|error| self.refused(&error))?;
        Ok(cuts.unwrap_or_default())
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
                    runner.client = runner.server.connect_with_retry().await?;
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

impl fmt::Debug for RunHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunHandle").field("run", &self.run).finish_non_exhaustive()
    }
}
