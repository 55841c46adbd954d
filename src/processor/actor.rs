//! One worker: an actor around one processor.

use std::{
    any::Any,
    fmt,
    future::{Future, poll_fn},
    panic::AssertUnwindSafe,
    pin::pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, Message, Supervised, WrapFuture};
use futures_util::FutureExt;
use tokio::{task::yield_now, time::timeout};
use tracing::{Instrument, Span, debug_span, warn};

use super::{Assignment, BatchProcessor, Factory, NextAssignment, Report, Reports, Unprepared};
use crate::{
    batch::{Batch, JobResults},
    dispatch::WorkerId,
    error::JobError,
    job::Job,
    panics::{contain, discard},
    reentry::processing,
};

/// One worker of the pool: runs your [`BatchProcessor`] under actix's `Supervisor`.
///
/// What to do after a failure is the collector's decision. A panic is caught, the batch is reported, the processor is dropped and
/// the actor stops, so that the supervisor gives it a fresh context.
pub struct ProcessorActor<P: BatchProcessor> {
    id: WorkerId,
    collector: Arc<str>,
    factory: Factory<P>,
    processor: Option<Box<P>>,
    inbox: Arc<Reports<P::Job>>,
    next: Arc<NextAssignment<P::Job>>,
}

/// Build a new processor and prepare it, within this time.
pub(super) struct Build(pub(super) Duration);

impl Message for Build {
    type Result = ();
}

/// Close the processor, within this time, drop it, and stop.
pub(super) struct Close(pub(super) Duration);

impl Message for Close {
    type Result = ();
}

impl<P: BatchProcessor> ProcessorActor<P> {
    pub(super) fn new(
        id: WorkerId,
        collector: Arc<str>,
        factory: Factory<P>,
        inbox: Arc<Reports<P::Job>>,
        next: Arc<NextAssignment<P::Job>>,
    ) -> Self {
        Self { id, collector, factory, processor: None, inbox, next }
    }

    fn begin(&mut self, mut assignment: Assignment<P::Job>, ctx: &mut Context<Self>) {
        // Without a processor the assignment is dropped here, and so returned to the collector.
        let Some(processor) = self.processor.take() else { return };
        if assignment.is_cancelled() {
            // The batch timed out while it waited for this thread. The worker is rebuilt, as any other that was told to stop.
            contain(|| drop(processor));
            assignment.stopped();
            return ctx.stop();
        }
        let Some(batch) = assignment.start() else { return };
        let span = self.batch_span(batch);
        batch.link(&span);
        let worked = work(processor, assignment, Arc::clone(&self.next), Arc::clone(&self.collector));
        ctx.wait(worked.instrument(span).into_actor(self).map(|worked, act, ctx| {
            let Some((processor, next)) = worked else { return ctx.stop() };
            act.processor = Some(processor);
            if let Some(next) = next {
                // Whatever else waits for this thread comes first: tasks, timers, and the end of its arbiter.
                ctx.wait(yield_now().into_actor(act).map(|(), act, ctx| act.begin(next, ctx)));
            }
        }));
    }

    fn batch_span(&self, batch: &Batch<P::Job>) -> Span {
        debug_span!(
            "batch",
            collector = &*self.collector,
            id = batch.id(),
            jobs = batch.len(),
            trigger = batch.trigger().as_str(),
            attempt = batch.attempt(),
            worker = self.id.seat,
        )
    }
}

impl<P: BatchProcessor> Actor for ProcessorActor<P> {
    type Context = Context<Self>;
}

impl<P: BatchProcessor> Supervised for ProcessorActor<P> {}

impl<P: BatchProcessor> Handler<Build> for ProcessorActor<P> {
    type Result = ();

    fn handle(&mut self, Build(limit): Build, ctx: &mut Context<Self>) {
        let built = build(Arc::clone(&self.factory), self.id.seat, limit).into_actor(self).map(|built, act, _| {
            let result = built.map(|processor| act.processor = Some(processor));
            act.inbox.push(Report::Prepared { worker: act.id, result });
        });
        ctx.wait(built);
    }
}

impl<P: BatchProcessor> Handler<Close> for ProcessorActor<P> {
    type Result = ();

    fn handle(&mut self, Close(limit): Close, ctx: &mut Context<Self>) {
        let closed = close(self.processor.take(), limit, Arc::clone(&self.collector), self.id.seat);
        ctx.wait(closed.into_actor(self).map(|(), act, ctx| {
            act.inbox.push(Report::Closed { worker: act.id });
            ctx.stop();
        }));
    }
}

impl<P: BatchProcessor> Handler<Assignment<P::Job>> for ProcessorActor<P> {
    type Result = ();

    fn handle(&mut self, assignment: Assignment<P::Job>, ctx: &mut Context<Self>) {
        self.begin(assignment, ctx);
    }
}

impl<P: BatchProcessor> Drop for ProcessorActor<P> {
    fn drop(&mut self) {
        contain(|| drop(self.processor.take()));
        self.inbox.push(Report::Gone { worker: self.id });
    }
}

impl<P: BatchProcessor> fmt::Debug for ProcessorActor<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessorActor")
            .field("collector", &self.collector)
            .field("worker", &self.id.seat)
            .finish_non_exhaustive()
    }
}

/// A prepared processor, or why it could not be prepared.
async fn build<P: BatchProcessor>(
    factory: Factory<P>,
    seat: usize,
    limit: Duration,
) -> Result<Box<P>, Unprepared<<P::Job as Job>::Error>> {
    let prepared = AssertUnwindSafe(async move {
        let mut processor = Box::new(factory(seat));
        match timeout(limit, processor.prepare()).await {
            Ok(Ok(())) => Ok(processor),
            Ok(Err(error)) if P::is_fatal(&error) => Err(Unprepared::Fatal(Arc::new(error))),
            Ok(Err(error)) => Err(Unprepared::ForNow(error.to_string())),
            Err(_) => Err(Unprepared::ForNow(format!("`prepare` took longer than {limit:?}"))),
        }
    });
    prepared.catch_unwind().await.unwrap_or_else(|panic| {
        let why = format!("panicked: {}", message(&*panic));
        discard(panic);
        Err(Unprepared::ForNow(why))
    })
}

/// Closes a processor and drops it.
async fn close<P: BatchProcessor>(processor: Option<Box<P>>, limit: Duration, collector: Arc<str>, seat: usize) {
    let Some(mut processor) = processor else { return };
    match timeout(limit, AssertUnwindSafe(processor.close()).catch_unwind()).await {
        Ok(Ok(())) => {}
        Ok(Err(panic)) => {
            warn!(collector = &*collector, worker = seat, message = message(&*panic), "closing a processor panicked");
            discard(panic);
        }
        Err(_) => warn!(collector = &*collector, worker = seat, ?limit, "closing a processor took too long"),
    }
    contain(|| drop(processor));
}

/// Runs one batch. Gives the processor back unless it panicked, and what it goes on with.
async fn work<P: BatchProcessor>(
    mut processor: Box<P>,
    mut assignment: Assignment<P::Job>,
    next: Arc<NextAssignment<P::Job>>,
    collector: Arc<str>,
) -> Option<(Box<P>, Option<Assignment<P::Job>>)> {
    let cancelled = assignment.cancelled();
    let batch = assignment.start()?;
    let jobs = batch.len();
    let results = AssertUnwindSafe(processing(collector, async {
        match processor.process(batch).await {
            Ok(outcomes) => outcomes.results(jobs),
            Err(error) => JobResults::whole(JobError::Failed(Arc::new(error)), jobs),
        }
    }));
    let ended = until(cancelled, results.catch_unwind()).await;
    match ended {
        Some(Ok(results)) => {
            // What a failure means for the next batch is for the collector to decide.
            if !results.all_succeeded() {
                assignment.done(results, false);
                return Some((processor, None));
            }
            let next = next.take(|goes_on| assignment.done(results, goes_on));
            return Some((processor, next));
        }
        Some(Err(panic)) => {
            assignment.panicked(message(&*panic).to_owned());
            discard(panic);
        }
        None => assignment.stopped(),
    }
    contain(|| drop(processor));
    None
}

/// The result of `work`, or `None` if `stop` comes first: then `work` is dropped, and a panic of its drop is contained.
async fn until<T>(stop: impl Future<Output = ()>, work: impl Future<Output = T>) -> Option<T> {
    let (mut stop, mut work) = (pin!(stop), Box::pin(work));
    let ended = poll_fn(|cx| match work.as_mut().poll(cx) {
        Poll::Ready(ended) => Poll::Ready(Some(ended)),
        Poll::Pending => stop.as_mut().poll(cx).map(|()| None),
    });
    let ended = ended.await;
    contain(|| drop(work));
    ended
}

/// The message of a panic.
fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("(no message)")
}
