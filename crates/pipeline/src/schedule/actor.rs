//! A schedule as an actor: it is told by messages, from any thread.

use std::time::Duration;

use actix::{Actor, Addr, Context, Handler, Message, MessageResult, ResponseFuture};

use super::{Schedule, ScheduleReport, Scheduled};
use crate::{error::RunError, pipeline::Pipeline};

/// Runs a [`Schedule`]; made by [`Schedule::start`]. When it stops, so do its pipelines, cleanly.
#[derive(Debug)]
pub struct ScheduleActor(Schedule);

/// Adds a pipeline: see [`Schedule::add`].
#[derive(Debug)]
pub struct AddPipeline {
    /// The pipeline.
    pub pipeline: Pipeline,
    /// How often it runs.
    pub every: Duration,
}

/// Stops a pipeline cleanly, and takes it off the schedule. The answer comes when its run has ended; `None` if there is none of this name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemovePipeline(pub String);

/// Asks for the [`ScheduleReport`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GetReport;

/// Stops all pipelines cleanly, and takes them off the schedule. The answer comes when their runs have ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StopAll;

impl Message for AddPipeline {
    type Result = Result<(), RunError>;
}

impl Message for RemovePipeline {
    type Result = Option<Scheduled>;
}

impl Message for GetReport {
    type Result = ScheduleReport;
}

impl Message for StopAll {
    type Result = ScheduleReport;
}

impl Schedule {
    /// Starts it as an actor on this thread.
    pub fn start(self) -> Addr<ScheduleActor> {
        ScheduleActor(self).start()
    }
}

impl Actor for ScheduleActor {
    type Context = Context<Self>;

    fn stopped(&mut self, _: &mut Self::Context) {
        self.0.stop_soon();
    }
}

impl Handler<AddPipeline> for ScheduleActor {
    type Result = Result<(), RunError>;

    fn handle(&mut self, AddPipeline { pipeline, every }: AddPipeline, _: &mut Self::Context) -> Self::Result {
        self.0.add(pipeline, every)
    }
}

impl Handler<RemovePipeline> for ScheduleActor {
    type Result = ResponseFuture<Option<Scheduled>>;

    fn handle(&mut self, RemovePipeline(name): RemovePipeline, _: &mut Self::Context) -> Self::Result {
        let schedule = self.0.clone();
        Box::pin(async move { schedule.remove(&name).await })
    }
}

impl Handler<GetReport> for ScheduleActor {
    type Result = MessageResult<GetReport>;

    fn handle(&mut self, _: GetReport, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.0.report())
    }
}

impl Handler<StopAll> for ScheduleActor {
    type Result = ResponseFuture<ScheduleReport>;

    fn handle(&mut self, _: StopAll, _: &mut Self::Context) -> Self::Result {
        let schedule = self.0.clone();
        Box::pin(async move { schedule.stop().await })
    }
}
