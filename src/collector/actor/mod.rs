//! The actor: looks at what happened, asks the pure parts what to do, and does it.
//!
//! All of it happens in [`CollectorActor::pump`], in one order: workers' reports, requests, workers that are due, batches that
//! left the intake, dispatch's orders; then the next batch is prefetched, and the alarm set for whatever is due next. The pump runs
//! when the bell rings – for a submitter, a worker, a handle – and when the alarm goes off.
//!
//! The context has two futures at the most, the pump and the alarm. While a flood of messages makes the context yield, actix
//! polls one future for each yield and swaps it with the last, so of three the middle one would starve.

use std::{
    fmt,
    future::Future,
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context as TaskContext, Poll},
    time::Duration,
};

use actix::{
    Actor, ActorContext, ActorFuture, AsyncContext, Context, SpawnHandle, Supervised, dev::OneshotSender,
    fut::wrap_future,
};
use tokio::time::Instant;
use tracing::debug;

use super::{
    Collector,
    batching::Batching,
    builder::CollectorBuilder,
    dead_letter_router::DeadLetterRouter,
    intake::{Intake, View},
    shared::Shared,
};
use crate::{
    batch::{Deliveries, Sealed},
    config::NoWorkers,
    dispatch::Dispatch,
    error::JobError,
    job::Job,
    observe::{Dispatched, Event, Flushed, Journal, Levels},
    processor::{BatchProcessor, Load, Pool, Report, Reports, Scale},
};

mod execute;
mod followers;
mod prefetch;
mod reports;
mod requests;
mod settle;
mod shutdown;

use prefetch::Prefetched;
use shutdown::ShutdownProgress;

/// The actor that gathers jobs, hands batches to its workers and settles every job.
///
/// Build it with [`Collector::builder`] and [`build`](CollectorBuilder::build), and start it as any actix actor:
/// `actor.start()`, `Supervisor::start(|_| actor)`, or in an arbiter. Its messages are [`SubmitJob`](crate::SubmitJob),
/// [`Flush`](crate::Flush), [`Pause`](crate::Pause), [`Resume`](crate::Resume), [`GetStats`](crate::GetStats) and
/// [`Shutdown`](crate::Shutdown). It ends by itself when it has neither handles nor addresses and everything is settled.
///
/// When it is dropped – with its arbiter, its `System`, or without having been started – it settles its jobs: those that were
/// with a worker as [`JobError::Lost`](crate::JobError::Lost), all others as [`JobError::ShutDown`](crate::JobError::ShutDown).
pub struct CollectorActor<P: BatchProcessor> {
    shared: Arc<Shared<P::Job>>,
    dispatch: Dispatch<P::Job>,
    /// What is prefetched for the worker between two turns.
    prefetched: Option<Prefetched<P::Job>>,
    /// What the worker has begun by itself, until its report of the batch before has been read.
    begun: Option<Dispatched>,
    dead_letters: Option<DeadLetterRouter<P::Job>>,
    batching: Batching<P::Job>,
    pool: Pool<P>,
    inbox: Arc<Reports<P::Job>>,
    no_workers: NoWorkers,
    journal: Journal,
    alarm: Option<(Instant, SpawnHandle)>,
    shutdown: Option<ShutdownProgress>,
    /// Who waits for all jobs before this number.
    barriers: Vec<(u64, OneshotSender<()>)>,
    /// Messages since the context last yielded.
    messages: u32,
    /// How many of dispatch's orders this turn may still carry out.
    orders_left: u32,
    // Buffers that are used again at each look.
    reports: Vec<Report<P::Job>>,
    sealed: Vec<Sealed<P::Job>>,
    deliveries: Deliveries<P::Job>,
}

impl<P: BatchProcessor> CollectorActor<P> {
    /// After this many messages the context yields, whether a batch left or not.
    const MESSAGES_PER_TURN: u32 = 256;

    /// After this many of dispatch's orders a turn ends, though callers may refill what is settled faster than it is settled.
    const ORDERS_PER_TURN: u32 = 256;

    /// Timers cannot be set for the far future. After this long the actor looks, and sets its alarm again.
    const LONGEST_WAIT: Duration = Duration::from_secs(365 * 24 * 60 * 60);

    pub(super) fn new(mut builder: CollectorBuilder<P>) -> Self {
        #[cfg(feature = "metrics")]
        if builder.metrics {
            builder.observers.push(Box::new(crate::observe::Metrics::new(&builder.config.name)));
        }
        // The first caller may have gone while followers wait for the same job.
        builder.rules.followed = builder.keying.shares();
        builder.rules.skip_abandoned &= !builder.rules.followed;
        builder.flushing.ageing = builder.rules.ageing;
        let workers = builder.config.workers;
        let keeps_rejected = builder.dead_letters.is_some();
        let shared = Shared::new(&builder.config, builder.flushing, builder.keying, builder.observers, keeps_rejected);
        let shared = Arc::new(shared);
        if let Some(limit) = &builder.rules.rate_limit {
            limit.subscribe(&shared.bell);
        }
        let name = || Arc::clone(&shared.name);
        let inbox = Arc::new(Reports::new(Arc::clone(&shared.bell)));
        Self {
            dispatch: Dispatch::new(builder.rules),
            prefetched: None,
            begun: None,
            dead_letters: builder.dead_letters.map(|letters| DeadLetterRouter::new(name(), letters)),
            batching: Batching::new(name(), builder.batchers),
            pool: Pool::new(name(), workers, builder.factory, Arc::clone(&inbox), builder.limits),
            journal: Journal::new(name(), shared.observers.clone(), builder.history),
            shared,
            inbox,
            no_workers: builder.config.no_workers,
            alarm: None,
            shutdown: None,
            barriers: Vec::new(),
            messages: 0,
            orders_left: 0,
            reports: Vec::new(),
            sealed: Vec::new(),
            deliveries: Deliveries::default(),
        }
    }

    /// A handle. While one exists, the actor lives.
    pub fn handle(&self) -> Collector<P::Job> {
        Collector::new(Arc::clone(&self.shared))
    }

    pub(super) fn shared(&self) -> &Arc<Shared<P::Job>> {
        &self.shared
    }

    pub(super) fn intake(&self) -> &Arc<Intake<P::Job>> {
        &self.shared.intake
    }

    /// A message has come through the mailbox, which actix empties before anything else. Every so often the rest gets a turn.
    pub(super) fn count_message(&mut self, ctx: &mut Context<Self>) {
        self.messages += 1;
        if self.messages >= Self::MESSAGES_PER_TURN {
            self.messages = 0;
            let view = self.turn(false, Instant::now());
            self.set_alarm(view.due, ctx);
            yield_once(ctx);
        }
    }

    fn pump(&mut self, ctx: &mut Context<Self>) {
        let is_deserted = self.is_deserted(ctx);
        let view = self.turn(is_deserted, Instant::now());
        if self.is_shut_down() && self.is_deserted(ctx) {
            return ctx.stop();
        }
        self.set_alarm(view.due, ctx);
    }

    /// Does what is due now, up to [`ORDERS_PER_TURN`](Self::ORDERS_PER_TURN). If there is more to do, the actor rings its own
    /// bell: before it goes on, it reads reports, requests and the time again, and everything else on its thread gets a turn.
    fn turn(&mut self, is_deserted: bool, now: Instant) -> View {
        self.shared.bell.answer();
        self.orders_left = Self::ORDERS_PER_TURN;
        self.take_back(now);
        self.read_reports(now);
        if is_deserted {
            self.begin_shutdown(now);
        }
        self.answer_requests(now);
        self.pool.rebuild(now);
        self.replace_stuck_workers(now);
        self.dispatch.refuse(self.why_no_worker_is_able());
        self.cut_off_if_due(now);
        let mut view = self.send_batches(now);
        if self.shared.intake.must_reclaim_room(&view) {
            self.dispatch.sweep_abandoned();
            view = self.send_batches(now);
        }
        if self.shared.intake.shares() {
            self.serve_followers(now);
            view = self.send_batches(now);
        }
        if view.rejected_sends {
            self.route_rejected_sends(now);
        }
        self.scale(now);
        if !self.barriers.is_empty() {
            self.pass_barriers();
        }
        self.finish_shutdown(&view, now);
        self.tell_levels(&view);
        if self.orders_left == 0 {
            self.shared.bell.ring();
        } else {
            self.prefetch(now);
        }
        view
    }

    /// Takes the batches that left the intake and carries out dispatch's orders, until there is nothing more to do or the turn is
    /// over.
    fn send_batches(&mut self, now: Instant) -> View {
        loop {
            let alarm = self.alarm.map(|(at, _)| at);
            let mut sealed = mem::take(&mut self.sealed);
            let worker_waits = self.dispatch.is_open(now);
            let view = self.shared.intake.look(now, alarm, worker_waits, &mut sealed);
            let nothing_new = sealed.is_empty();
            for batch in sealed.drain(..) {
                self.on_flush(batch, now);
            }
            self.sealed = sealed;
            // Settling makes room, and the jobs that waited for it may fill a batch; a worker that is still free may want the
            // open one. Then look again.
            let settled = self.execute_orders(now);
            let nothing_changed = !settled && nothing_new && self.dispatch.is_open(now) == worker_waits;
            if nothing_changed || self.orders_left == 0 {
                return view;
            }
        }
    }

    /// A batch left the intake. Batchers may rearrange it.
    fn on_flush(&mut self, sealed: Sealed<P::Job>, now: Instant) {
        if self.batching.is_off() {
            return self.queue(sealed, now);
        }
        let (parts, left_out) = self.batching.rearrange(sealed);
        if left_out > 0 {
            self.journal.record(Event::LeftOut { jobs: left_out });
        }
        for part in parts {
            self.queue(part, now);
        }
    }

    /// Gives a batch to dispatch.
    fn queue(&mut self, sealed: Sealed<P::Job>, now: Instant) {
        let (trigger, jobs) = (sealed.trigger, sealed.jobs.len());
        let oldest_wait = now.saturating_duration_since(sealed.opened_at);
        let ids = self.journal.is_tracking().then(|| sealed.replies.ids());
        let batch = self.dispatch.batch_ready(sealed);
        let flushed = Flushed { batch, trigger, jobs, oldest_wait };
        self.journal.record(Event::Flushed { flushed, jobs: ids });
    }

    /// Starts or retires workers, as the load asks for.
    fn scale(&mut self, now: Instant) {
        let load = Load { waiting: self.dispatch.wants_workers(now), idle: self.dispatch.is_idle() };
        if self.pool.scale(load, now) == Some(Scale::Shrink)
            && let Some(worker) = self.dispatch.take_free_worker()
        {
            self.pool.retire(worker, now);
        }
    }

    /// Why batches fail instead of waiting for a worker, if they do.
    fn why_no_worker_is_able(&self) -> Option<JobError<<P::Job as Job>::Error>> {
        match self.pool.fatal() {
            Some(error) => Some(JobError::PrepareFailed(Arc::clone(error))),
            None if self.no_workers == NoWorkers::Fail && self.pool.all_unable() => Some(JobError::NoWorkers),
            None => None,
        }
    }

    /// No handle and no address is left, and no message either, so no job can come any more. While the context waits – for a yield –
    /// its mailbox may still hold messages; otherwise actix has emptied it before this runs.
    fn is_deserted(&self, ctx: &Context<Self>) -> bool {
        !ctx.waiting() && !self.shared.has_handles() && !ctx.connected()
    }

    fn tell_levels(&mut self, view: &View) {
        if self.journal.is_observed() {
            let levels = self.levels(view);
            self.journal.record(Event::Looked(&levels));
        }
    }

    fn levels(&self, view: &View) -> Levels {
        Levels {
            intake: view.counts,
            ready: self.dispatch.ready(),
            in_flight: self.dispatch.in_flight(),
            paused: self.dispatch.is_paused(),
            breaker: self.dispatch.breaker(),
            workers: self.pool.stats(),
        }
    }

    /// Makes sure that the actor looks again when the next thing is due. An alarm that is set for earlier stays.
    fn set_alarm(&mut self, open_batch: Option<Instant>, ctx: &mut Context<Self>) {
        let due = [open_batch, self.pool.due(), self.dispatch.due(), self.cut_off_at()];
        let Some(due) = due.into_iter().flatten().min() else { return };
        if let Some((at, handle)) = self.alarm {
            if at <= due {
                return;
            }
            ctx.cancel_future(handle);
        }
        let wait = due.saturating_duration_since(Instant::now()).min(Self::LONGEST_WAIT);
        let handle = ctx.run_later(wait, |actor, ctx| {
            actor.alarm = None;
            actor.pump(ctx);
        });
        self.alarm = Some((due, handle));
    }
}

/// The future that answers the bell. It never ends by itself.
struct Pump;

impl<P: BatchProcessor> ActorFuture<CollectorActor<P>> for Pump {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        actor: &mut CollectorActor<P>,
        ctx: &mut Context<CollectorActor<P>>,
        cx: &mut TaskContext<'_>,
    ) -> Poll<()> {
        actor.shared.bell.listen(cx.waker());
        actor.pump(ctx);
        Poll::Pending
    }
}

/// Lets everything else on this arbiter run before the next message. Otherwise actix would drain the mailbox first, and starve
/// timers, completions and local workers.
pub(super) fn yield_once<A: Actor<Context = Context<A>>>(ctx: &mut Context<A>) {
    ctx.wait(wrap_future::<_, A>(Yield(false)));
}

struct Yield(bool);

impl Future for Yield {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<()> {
        if self.0 {
            return Poll::Ready(());
        }
        self.0 = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<P: BatchProcessor> Actor for CollectorActor<P> {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        // `try_send` is refused beyond it; `send` and `do_send` always queue.
        ctx.set_mailbox_capacity(self.shared.max_pending);
        self.shared.intake.clock.start();
        self.shared.publish_address(&ctx.address());
        self.alarm = None;
        self.pool.start(Instant::now());
        debug!(collector = &*self.shared.name, "started");
        ctx.spawn(Pump);
    }
}

impl<P: BatchProcessor> Supervised for CollectorActor<P> {}

// Nothing in it is pinned. actix asks for it, and users' types need not be `Unpin`.
impl<P: BatchProcessor> Unpin for CollectorActor<P> {}

impl<P: BatchProcessor> Drop for CollectorActor<P> {
    fn drop(&mut self) {
        self.settle_everything();
        self.shared.end();
    }
}

impl<P: BatchProcessor> fmt::Debug for CollectorActor<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CollectorActor").field("name", &self.shared.name).finish_non_exhaustive()
    }
}
