//! A run as an actor: it can be paused, stopped, throttled and watched.

use std::{fmt, sync::Arc, time::Duration};

use actix::{Actor, ActorFutureExt, Addr, AsyncContext, Context, Handler, MailboxError, WrapFuture};
use tokio::sync::oneshot;

use crate::{
    error::RunError,
    messages::{GetProgress, Pause, ProgressChanged, Resume, SetInFlight, Stop, Subscribe},
    pipeline::{Pipeline, run},
    progress::{Counters, Progress, Report},
    run::Control,
};

/// How often subscribers get the progress.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// The actor of one run. It ends with the run.
pub struct PipelineActor {
    pipeline: Pipeline,
    control: Control,
    counters: Arc<Counters>,
    subscribers: Vec<actix::Recipient<ProgressChanged>>,
    report: Option<oneshot::Sender<Result<Report, RunError>>>,
}

/// The handle of a run that was started.
pub struct PipelineHandle {
    addr: Addr<PipelineActor>,
    counters: Arc<Counters>,
    control: Control,
    report: oneshot::Receiver<Result<Report, RunError>>,
}

impl Actor for PipelineActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let (plan, control, counters) = (self.pipeline.plan(), self.control.clone(), Arc::clone(&self.counters));
        ctx.spawn(run(plan, control, counters).into_actor(self).map(|report, actor, ctx| {
            actor.tell();
            // The handle may have been dropped.
            if let Some(waiting) = actor.report.take() {
                drop(waiting.send(report));
            }
            actix::ActorContext::stop(ctx);
        }));
        ctx.run_interval(TELL_EVERY, |actor, _| actor.tell());
    }
}

impl PipelineActor {
    fn progress(&self) -> Progress {
        self.counters.progress(self.control.commands().now().paused)
    }

    fn tell(&mut self) {
        if self.subscribers.is_empty() {
            return;
        }
        let progress = self.progress();
        self.subscribers.retain(actix::Recipient::connected);
        self.subscribers.iter().for_each(|subscriber| subscriber.do_send(ProgressChanged(progress.clone())));
    }
}

impl Pipeline {
    /// Starts the run as an actor on this thread.
    ///
    /// # Errors
    ///
    /// [`RunError::Config`] and [`RunError::Duplicates`].
    pub fn start(self) -> Result<PipelineHandle, RunError> {
        PipelineHandle::start(self)
    }
}

impl PipelineHandle {
    pub(crate) fn start(pipeline: Pipeline) -> Result<Self, RunError> {
        pipeline.check()?;
        let (send, report) = oneshot::channel();
        let (control, counters) = (Control::default(), Arc::new(Counters::new(pipeline.name())));
        let actor = PipelineActor {
            pipeline,
            control: control.clone(),
            counters: Arc::clone(&counters),
            subscribers: Vec::new(),
            report: Some(send),
        };
        Ok(Self { addr: actor.start(), counters, control, report })
    }

    /// The actor's address, for messages.
    pub fn addr(&self) -> &Addr<PipelineActor> {
        &self.addr
    }

    /// How far the run is, also once it has ended.
    pub fn progress(&self) -> Progress {
        self.counters.progress(self.control.commands().now().paused)
    }

    /// Pauses: see [`Pause`].
    ///
    /// # Errors
    ///
    /// If the run has ended.
    pub async fn pause(&self) -> Result<(), MailboxError> {
        self.addr.send(Pause).await
    }

    /// Goes on: see [`Resume`].
    ///
    /// # Errors
    ///
    /// If the run has ended.
    pub async fn resume(&self) -> Result<(), MailboxError> {
        self.addr.send(Resume).await
    }

    /// Stops cleanly: see [`Stop`].
    ///
    /// # Errors
    ///
    /// If the run has ended.
    pub async fn stop(&self) -> Result<(), MailboxError> {
        self.addr.send(Stop).await
    }

    /// Bounds the batches in flight: see [`SetInFlight`].
    ///
    /// # Errors
    ///
    /// If the run has ended.
    pub async fn set_in_flight(&self, batches: usize) -> Result<(), MailboxError> {
        self.addr.send(SetInFlight(batches)).await
    }

    /// Waits for the end of the run.
    ///
    /// # Errors
    ///
    /// [`RunError`].
    pub async fn report(self) -> Result<Report, RunError> {
        self.report.await.unwrap_or_else(|_| Err(RunError::Lost("the actor of the run has ended".to_owned())))
    }
}

impl Handler<Pause> for PipelineActor {
    type Result = ();

    fn handle(&mut self, _: Pause, _: &mut Self::Context) {
        self.control.update(|command| command.paused = true);
    }
}

impl Handler<Resume> for PipelineActor {
    type Result = ();

    fn handle(&mut self, _: Resume, _: &mut Self::Context) {
        self.control.update(|command| command.paused = false);
    }
}

impl Handler<Stop> for PipelineActor {
    type Result = ();

    fn handle(&mut self, _: Stop, _: &mut Self::Context) {
        self.control.update(|command| command.stopping = true);
    }
}

impl Handler<SetInFlight> for PipelineActor {
    type Result = ();

    fn handle(&mut self, SetInFlight(batches): SetInFlight, _: &mut Self::Context) {
        self.control.update(|command| command.in_flight = Some(batches));
    }
}

impl Handler<GetProgress> for PipelineActor {
    type Result = actix::MessageResult<GetProgress>;

    fn handle(&mut self, _: GetProgress, _: &mut Self::Context) -> Self::Result {
        actix::MessageResult(self.progress())
    }
}

impl Handler<Subscribe> for PipelineActor {
    type Result = ();

    fn handle(&mut self, Subscribe(subscriber): Subscribe, _: &mut Self::Context) {
        self.subscribers.push(subscriber);
    }
}

impl fmt::Debug for PipelineActor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PipelineActor").field("pipeline", &self.pipeline).finish_non_exhaustive()
    }
}

impl fmt::Debug for PipelineHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PipelineHandle").field("progress", &self.progress()).finish_non_exhaustive()
    }
}
