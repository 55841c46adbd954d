//! The workflow: it only carries out what the [state](crate::state) decides.
#![allow(missing_docs, missing_debug_implementations, reason = "the SDK makes a type of each method of a workflow")]

use std::{future::poll_fn, task::Poll, time::Duration};

use actix_batch_pipeline::SourceRange;
use futures_util::future::{FutureExt, LocalBoxFuture};
use serde::{Deserialize, Serialize};
use temporalio_common::{MemoValue, MemoValues, RetryPolicy};
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{
    ActivityOptions, ContinueAsNewOptions, SyncWorkflowContext, WorkflowContext, WorkflowContextView, WorkflowResult,
    workflows::select,
};

use crate::{
    activities::{Activities, Copied, CopyInput, PlanInput, Planned},
    error::chain,
    state::{Next, Outcome, Plan, Progress, State, check_in_flight},
};

/// A range that was given to a worker is given to another one when it has not been heard of for so long.
const HEARTBEAT: Duration = Duration::from_secs(2);
/// How long one range may take.
const ONE_RANGE: Duration = Duration::from_hours(1);
/// How often a range is tried.
const ATTEMPTS: u32 = 20;

/// Under this name the server keeps with each run how its source was cut.
pub(crate) const CUTS: &str = "actix-batch.cuts";

/// What a workflow begins with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input(pub(crate) State);

/// One workflow for all definitions: it plans ranges, has them copied, and continues as new before its history grows long.
///
/// It is named `actix-batch.pipeline`. Workers register it by themselves; it is public for tools that replay histories.
#[workflow]
#[derive(Debug)]
pub struct PipelineWorkflow {
    state: State,
    /// Counts signals and updates.
    told: u64,
}

/// What has ended.
enum Ended {
    Planned(Result<Planned, String>),
    Copied(u64, Result<Copied, String>),
}

type Task<'a> = LocalBoxFuture<'a, Ended>;

#[workflow_methods]
impl PipelineWorkflow {
    #[init]
    fn new(_ctx: &WorkflowContextView, Input(state): Input) -> Self {
        Self { state, told: 0 }
    }

    /// Runs until nothing is left.
    ///
    /// # Errors
    ///
    /// If it is cancelled, or continues as new.
    #[run(name = "actix-batch.pipeline")]
    pub async fn run(ctx: &mut WorkflowContext<Self>) -> WorkflowResult<Outcome> {
        let ctx = &*ctx;
        let mut tasks: Vec<Task<'_>> = Vec::new();
        loop {
            if ctx.continue_as_new_suggested() {
                ctx.state_mut(|workflow| workflow.state.end_this_run());
            }
            match ctx.state_mut(|workflow| workflow.state.next()) {
                Next::Plan(next) => {
                    if let Some(memo) = Self::memo(ctx) {
                        ctx.upsert_memo([(CUTS, Some(memo))])?;
                    }
                    tasks.push(plan(ctx, next).boxed_local());
                }
                Next::Copy(range) => tasks.push(copy(ctx, range).boxed_local()),
                Next::Continue => {
                    ctx.wait_condition(|_| ctx.all_handlers_finished()).await?;
                    let state = ctx.state(|workflow| workflow.state.carried_over());
                    // What was added to the memo is not in that of the next run by itself.
                    let memo = Self::memo(ctx).map(|cuts| {
                        let mut memo = MemoValues::new();
                        memo.insert(CUTS, cuts);
                        memo
                    });
                    let options = ContinueAsNewOptions::builder().maybe_memo(memo).build();
                    ctx.continue_as_new(Input(state), options)?;
                }
                Next::End(outcome) => return Ok(outcome),
                Next::Wait => Self::wait(ctx, &mut tasks).await?,
            }
        }
    }

    /// Begins nothing more until it is resumed.
    #[signal(name = "pause")]
    pub fn pause(&mut self, _ctx: &mut SyncWorkflowContext<Self>) {
        self.told += 1;
        self.state.pause();
    }

    /// Goes on.
    #[signal(name = "resume")]
    pub fn resume(&mut self, _ctx: &mut SyncWorkflowContext<Self>) {
        self.told += 1;
        self.state.resume();
    }

    /// Begins nothing more, and ends once what runs has ended.
    #[signal(name = "stop")]
    pub fn stop(&mut self, _ctx: &mut SyncWorkflowContext<Self>) {
        self.told += 1;
        self.state.stop();
    }

    #[update_validator(set_in_flight)]
    #[expect(clippy::unused_self, clippy::trivially_copy_pass_by_ref, reason = "the SDK asks for this shape")]
    fn check_in_flight(
        &self,
        _ctx: &WorkflowContextView,
        ranges: &usize,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        check_in_flight(*ranges).map_err(Into::into)
    }

    /// How many ranges may be copied at once. Returns how many could before.
    #[update(name = "set_in_flight")]
    pub fn set_in_flight(&mut self, _ctx: &mut SyncWorkflowContext<Self>, ranges: usize) -> usize {
        self.told += 1;
        let before = self.state.settings().in_flight;
        self.state.set_in_flight(ranges);
        before
    }

    /// How far it is.
    #[query(name = "progress")]
    pub fn progress(&self, _ctx: &WorkflowContextView) -> Progress {
        self.state.progress()
    }
}

impl PipelineWorkflow {
    /// How the source was cut, for another run of this name.
    fn memo(ctx: &WorkflowContext<Self>) -> Option<MemoValue> {
        ctx.state(|workflow| workflow.state.cuts().cloned()).map(MemoValue::new)
    }

    /// Waits until a task has ended or a signal has come.
    async fn wait(ctx: &WorkflowContext<Self>, tasks: &mut Vec<Task<'_>>) -> WorkflowResult<()> {
        let told = ctx.state(|workflow| workflow.told);
        let mut ended = first(tasks).boxed_local().fuse();
        select! {
            ended = ended => ctx.state_mut(|workflow| workflow.state.ended(ended)),
            told = ctx.wait_condition(|workflow| workflow.told != told) => told?,
        }
        Ok(())
    }
}

impl State {
    fn ended(&mut self, ended: Ended) {
        match ended {
            Ended::Planned(Ok(Planned { identity, ranges })) => self.planned(identity, ranges),
            Ended::Planned(Err(error)) => self.planning_failed(&error),
            Ended::Copied(number, Ok(copied)) => self.copied(number, copied.totals(), copied.millis),
            Ended::Copied(number, Err(error)) => self.copying_failed(number, &error),
        }
    }
}

/// The first task to end, asked in their order: whatever order they were woken in, a replay finds the same.
async fn first(tasks: &mut Vec<Task<'_>>) -> Ended {
    poll_fn(|cx| {
        for at in 0..tasks.len() {
            if let Poll::Ready(ended) = tasks[at].poll_unpin(cx) {
                drop(tasks.remove(at));
                return Poll::Ready(ended);
            }
        }
        Poll::Pending
    })
    .await
}

async fn plan(ctx: &WorkflowContext<PipelineWorkflow>, plan: Plan) -> Ended {
    let settings = ctx.state(|workflow| workflow.state.settings().clone());
    let input = PlanInput {
        definition: settings.definition,
        configuration: settings.configuration,
        after: plan.after,
        rows_per_range: plan.rows_per_range,
        at_most: plan.at_most,
    };
    let planned = ctx.execute_activity(Activities::plan, input, options("plan".to_owned())).await;
    Ended::Planned(planned.map_err(|error| chain(&error)))
}

async fn copy(ctx: &WorkflowContext<PipelineWorkflow>, range: SourceRange) -> Ended {
    let settings = ctx.state(|workflow| workflow.state.settings().clone());
    let number = range.number;
    // Only a plan needs to know how many ranges follow.
    let range = SourceRange { behind: 0, ..range };
    let input = CopyInput { definition: settings.definition, configuration: settings.configuration, range };
    let copied = ctx.execute_activity(Activities::copy, input, options(format!("range {number}"))).await;
    Ended::Copied(number, copied.map_err(|error| chain(&error)))
}

fn options(summary: String) -> ActivityOptions {
    let retry = RetryPolicy::builder()
        .initial_interval(Duration::from_millis(200))
        .backoff_coefficient(2.0)
        .maximum_interval(Duration::from_secs(10))
        .maximum_attempts(ATTEMPTS)
        .build();
    ActivityOptions::with_start_to_close_timeout(ONE_RANGE)
        .heartbeat_timeout(HEARTBEAT)
        .retry_policy(retry)
        .summary(summary)
        .build()
}
