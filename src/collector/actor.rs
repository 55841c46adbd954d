//! The actor: looks at what happened, asks the pure parts what to do, and does it.
//!
//! Everything is done in one place, [`CollectorActor::pump`], and in one order: what workers report, what is asked, which
//! workers are due, what has left the open batch, what dispatch orders; then the alarm is set for whatever is due next. The
//! pump runs whenever the bell rings – from a submitter, a worker, a handle – and when the alarm goes off.
//!
//! The context has two futures at the most, the pump and the alarm: while a flood of messages makes the context yield, actix
//! polls one future per yield and swaps it with the last, so of three the middle one would starve.

use std::{
    fmt, mem,
    pin::Pin,
    sync::Arc,
    task::{Context as TaskContext, Poll},
};

use actix::{Actor, ActorContext, ActorFuture, AsyncContext, Context, SpawnHandle, Supervised};
use tokio::time::Instant;
use tracing::{debug, info, trace, warn};

use super::{
    Collector,
    builder::Builder,
    intake::{Buffers, Intake, View},
    messages::{Request, Shutdown, make_way},
    shared::Shared,
    shutdown::Ending,
};
use crate::{
    JobError,
    batch::{Batch, Deliveries, Replies, Tally, Verdict, contain},
    config::NoWorkers,
    dispatch::{Dispatch, FlightId, Order, Sealed, WorkerId},
    flush::Timing,
    job::Job,
    observe::{Levels, Recorder},
    processor::{BatchProcessor, Pool, Report, Reports},
};

/// The actor that gathers jobs, hands batches to its workers and settles every job.
///
/// Build it with [`Collector::builder`] and [`build`](Builder::build), and start it as any actix actor: `actor.start()`,
/// `Supervisor::start(|_| actor)`, or in an arbiter. Its messages are [`SubmitJob`](crate::SubmitJob),
/// [`Flush`](crate::Flush), [`Pause`](crate::Pause), [`Resume`](crate::Resume), [`GetStats`](crate::GetStats) and
/// [`Shutdown`](crate::Shutdown). It ends by itself when it has neither handles nor addresses and everything is settled.
///
/// Dropped – with its arbiter, its `System`, or unstarted – it settles what it has: jobs that were with a worker as
/// [`JobError::Lost`](crate::JobError::Lost), all others as [`JobError::ShutDown`](crate::JobError::ShutDown).
pub struct CollectorActor<P: BatchProcessor> {
    shared: Arc<Shared<P::Job>>,
    dispatch: Dispatch<P::Job>,
    pool: Pool<P>,
    home: Arc<Reports<P::Job>>,
    no_workers: NoWorkers,
    paused: bool,
    recorder: Recorder,
    alarm: Option<(Instant, SpawnHandle)>,
    ending: Option<Ending>,
    /// Messages since the context last yielded.
    messages: u32,
    // Buffers that are reused from look to look.
    reports: Vec<Report<P::Job>>,
    sealed: Vec<Sealed<P::Job>>,
    deliveries: Deliveries<P::Job>,
}

impl<P: BatchProcessor> CollectorActor<P> {
    /// After so many messages the context yields, batch or no batch.
    const MESSAGES_PER_TURN: u32 = 256;

    pub(super) fn new(builder: Builder<P>) -> Self {
        let shared = Arc::new(Shared::new(&builder.config, builder.flushing));
        let home = Arc::new(Reports::new(Arc::clone(&shared.bell)));
        let pool = Pool::new(Arc::clone(&shared.name), builder.config.workers, builder.factory, Arc::clone(&home));
        Self {
            shared,
            dispatch: Dispatch::default(),
            pool,
            home,
            no_workers: builder.config.no_workers,
            paused: false,
            recorder: Recorder::default(),
            alarm: None,
            ending: None,
            messages: 0,
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

    /// A message has come by the mailbox, which actix empties before anything else: every so often the others get a turn.
    pub(super) fn count_message(&mut self, ctx: &mut Context<Self>) {
        self.messages += 1;
        if self.messages >= Self::MESSAGES_PER_TURN {
            self.messages = 0;
            self.pump(ctx);
            make_way(ctx);
        }
    }

    fn pump(&mut self, ctx: &mut Context<Self>) {
        self.shared.bell.answer();
        let now = Instant::now();
        self.read_reports(now);
        self.answer_requests(now);
        self.pool.rebuild(now);
        self.dispatch.refuse(self.no_workers == NoWorkers::Fail && self.pool.all_rest());
        let mut view = self.carry_out(now);
        if self.is_deserted(ctx) {
            self.begin_ending(now);
            view = self.carry_out(now);
        }
        if self.ending.as_ref().and_then(Ending::due).is_some_and(|limit| limit <= now) {
            self.cut_off();
            view = self.carry_out(now);
        }
        self.finish_ending(&view, now);
        if self.ending.as_ref().is_some_and(Ending::is_done) && self.is_deserted(ctx) {
            return ctx.stop();
        }
        self.set_alarm(view.due, ctx);
    }

    /// Nobody is left who could submit.
    fn is_deserted(&self, ctx: &Context<Self>) -> bool {
        !self.shared.has_handles() && !ctx.connected()
    }

    /// Takes what has left the open batch and does what dispatch orders, until both have nothing more.
    fn carry_out(&mut self, now: Instant) -> View {
        loop {
            let alarm = self.alarm.map(|(at, _)| at);
            let mut sealed = mem::take(&mut self.sealed);
            let idle = self.dispatch.is_idle();
            let view = self.shared.intake.look(now, alarm, idle, &mut sealed);
            let nothing_new = sealed.is_empty();
            for batch in sealed.drain(..) {
                self.flushed(batch);
            }
            self.sealed = sealed;
            // Settling frees room, and those who waited for it may fill a batch; a worker that is still free may want the
            // open one: look again.
            if !self.dispatch_all(now) && nothing_new && self.dispatch.is_idle() == idle {
                return view;
            }
        }
    }

    fn flushed(&mut self, sealed: Sealed<P::Job>) {
        let (trigger, jobs) = (sealed.trigger, sealed.jobs.len());
        self.recorder.flushed(trigger, jobs);
        let batch = self.dispatch.batch_ready(sealed);
        debug!(collector = &*self.shared.name, batch, jobs, trigger = trigger.as_str(), "flushed");
    }

    /// Returns whether anything was settled.
    fn dispatch_all(&mut self, now: Instant) -> bool {
        let mut settled = false;
        while let Some(order) = self.dispatch.next(now) {
            match order {
                Order::Send { worker, flight, batch, waited_since } => {
                    self.recorder.dispatched(now.saturating_duration_since(waited_since));
                    self.pool.assign(worker, flight, batch);
                }
                Order::Settle { replies, error, jobs } => {
                    settled = true;
                    self.fail(replies, &error, jobs);
                }
            }
        }
        settled
    }

    fn read_reports(&mut self, now: Instant) {
        let mut reports = mem::take(&mut self.reports);
        self.home.take(&mut reports);
        for report in reports.drain(..) {
            self.read_report(report, now);
        }
        self.reports = reports;
    }

    fn read_report(&mut self, report: Report<P::Job>, now: Instant) {
        match report {
            Report::Prepared { worker, result } => {
                if self.pool.prepared(worker, result, now) {
                    self.dispatch.worker_free(worker);
                }
            }
            Report::Done { worker, flight, batch, verdict } => self.done(worker, flight, batch, verdict, now),
            Report::Panicked { worker, flight, batch, message } => {
                warn!(
                    collector = &*self.shared.name,
                    batch = batch.id(),
                    jobs = batch.len(),
                    message,
                    "processor panicked"
                );
                self.restart(worker, &message, now);
                self.settle(flight, Verdict::whole(JobError::Panicked, batch.len()), batch, now);
            }
            Report::Dropped { flight, batch } => {
                warn!(
                    collector = &*self.shared.name,
                    batch = batch.id(),
                    jobs = batch.len(),
                    "worker stopped mid-batch"
                );
                self.settle(flight, Verdict::whole(JobError::Lost, batch.len()), batch, now);
            }
            Report::Returned { flight, batch } => {
                if let Some(late) = self.dispatch.returned(flight, batch) {
                    contain(|| drop(late));
                }
            }
            Report::Gone { worker } => {
                self.dispatch.worker_unable(worker);
                if self.pool.gone(worker, now) {
                    self.recorder.restarts += 1;
                }
            }
        }
    }

    fn restart(&mut self, worker: WorkerId, why: &str, now: Instant) {
        if self.pool.failed(worker, why, now) {
            self.recorder.restarts += 1;
        }
    }

    fn done(
        &mut self,
        worker: WorkerId,
        flight: FlightId,
        batch: Batch<P::Job>,
        verdict: Verdict<P::Job>,
        now: Instant,
    ) {
        self.pool.succeeded(worker);
        self.dispatch.worker_free(worker);
        let stray = verdict.stray();
        if stray.unknown + stray.second > 0 {
            warn!(
                collector = &*self.shared.name,
                batch = batch.id(),
                unknown = stray.unknown,
                second = stray.second,
                "results without a job: their key is unknown, or another result has it",
            );
        }
        self.settle(flight, verdict, batch, now);
    }

    /// A flight has ended: every job of it gets its reply, unless it has one already.
    fn settle(&mut self, flight: FlightId, verdict: Verdict<P::Job>, batch: Batch<P::Job>, now: Instant) {
        let Some(flight) = self.dispatch.landed(flight) else {
            self.recorder.late += 1;
            contain(|| drop((verdict, batch)));
            return;
        };
        let took = now.saturating_duration_since(flight.sent_at);
        if !verdict.is_whole_failure() {
            let waited = flight.sent_at.saturating_duration_since(flight.opened_at);
            self.shared.intake.answered(&Timing { jobs: batch.len(), waited, took });
        }
        self.recorder.processed(took, verdict.stray());
        let (id, failed) = (batch.id(), verdict.is_whole_failure());
        debug!(collector = &*self.shared.name, batch = id, jobs = batch.len(), failed, ?took, "settled");
        self.reply(flight.replies, verdict, batch.into_jobs());
    }

    fn fail(&mut self, replies: Replies<P::Job>, error: &JobError<<P::Job as Job>::Error>, jobs: Vec<P::Job>) {
        debug!(collector = &*self.shared.name, jobs = replies.len(), %error, "settled unprocessed");
        let verdict = Verdict::whole(error.clone(), replies.len());
        self.reply(replies, verdict, jobs);
    }

    /// Settles, gives the room to others, and wakes the callers: what they submit next finds that room.
    fn reply(&mut self, replies: Replies<P::Job>, verdict: Verdict<P::Job>, mut jobs: Vec<P::Job>) {
        let settled = replies.len();
        replies.settle(verdict, &mut self.recorder.tally, &mut self.deliveries);
        contain(|| jobs.clear());
        self.shared.intake.settled(settled, Buffers { jobs, requesters: self.deliveries.take_spare() });
        self.deliveries.deliver();
    }

    fn answer_requests(&mut self, now: Instant) {
        for request in self.shared.requests() {
            trace!(collector = &*self.shared.name, ?request, "asked");
            match request {
                Request::Flush(sender) => answer(sender, self.shared.intake.flush()),
                Request::Pause(sender) => {
                    self.pause(true);
                    answer(sender, ());
                }
                Request::Resume(sender) => {
                    self.pause(false);
                    answer(sender, ());
                }
                Request::GetStats(sender) => {
                    let view = self.carry_out(now);
                    let stats = self.recorder.snapshot(&self.shared.name, self.levels(&view));
                    answer(sender, stats);
                }
                Request::Shutdown(shutdown, sender) => self.shut_down(shutdown, sender, now),
            }
        }
    }

    fn pause(&mut self, paused: bool) {
        // A shutdown overrides a pause, also one that comes after it.
        self.paused = paused && self.ending.is_none();
        self.dispatch.pause(self.paused);
    }

    fn levels(&self, view: &View) -> Levels {
        Levels {
            accepted: view.accepted,
            rejected: view.rejected,
            pending: view.pending,
            waiting: view.waiting,
            ready: self.dispatch.ready(),
            in_flight: self.dispatch.in_flight(),
            paused: self.paused,
            workers: self.pool.stats(),
        }
    }

    fn shut_down(
        &mut self,
        shutdown: Shutdown,
        sender: Option<actix::dev::OneshotSender<super::ShutdownReport>>,
        now: Instant,
    ) {
        self.begin_ending(now);
        if let Some(ending) = &mut self.ending {
            ending.join(shutdown, sender, now);
        }
    }

    /// Refuse, hand back the line, flush; what is outstanding is then awaited. Done once.
    fn begin_ending(&mut self, now: Instant) {
        if self.ending.is_some() {
            return;
        }
        for (job, replies) in self.shared.intake.close() {
            refuse_in_line(job, replies, &mut self.deliveries);
        }
        let view = self.carry_out(now);
        info!(collector = &*self.shared.name, outstanding = view.pending, "shutting down");
        self.ending = Some(Ending::new(now, view.pending));
        self.pause(false);
    }

    /// The limit has come: what is left is settled, whatever its worker does.
    fn cut_off(&mut self) {
        let aborted = self.dispatch.abort();
        let in_flight = aborted.in_flight.into_iter().map(|replies| (replies, Vec::new()));
        for (replies, jobs) in aborted.ready.into_iter().chain(in_flight) {
            if let Some(ending) = &mut self.ending {
                ending.cut_off(replies.len());
            }
            self.fail(replies, &JobError::ShutDown, jobs);
        }
    }

    fn finish_ending(&mut self, view: &View, now: Instant) {
        let Some(ending) = &mut self.ending else { return };
        if ending.is_done() || view.pending > 0 {
            return;
        }
        let report = ending.done(now);
        info!(collector = &*self.shared.name, completed = report.completed, shut_down = report.shut_down, "drained");
        self.shared.reported(report);
    }

    /// Sees to it that the actor looks again when the next thing is due. An alarm that is set for earlier stays.
    fn set_alarm(&mut self, open_batch: Option<Instant>, ctx: &mut Context<Self>) {
        let limit = self.ending.as_ref().and_then(Ending::due);
        let Some(due) = [open_batch, self.pool.due(), limit].into_iter().flatten().min() else { return };
        if let Some((at, handle)) = self.alarm {
            if at <= due {
                return;
            }
            ctx.cancel_future(handle);
        }
        let handle = ctx.run_later(due.saturating_duration_since(Instant::now()), |actor, ctx| {
            actor.alarm = None;
            actor.pump(ctx);
        });
        self.alarm = Some((due, handle));
    }
}

fn answer<T>(sender: Option<actix::dev::OneshotSender<T>>, answer: T) {
    if let Some(sender) = sender {
        let _ = sender.send(answer);
    }
}

/// A submitter that waited in line was never accepted: it is told, but not counted as failed.
fn refuse_in_line<J: Job>(job: Option<J>, replies: Replies<J>, deliveries: &mut Deliveries<J>) {
    replies.fail(&JobError::ShutDown, &mut Tally::default(), deliveries);
    contain(|| drop(job));
    deliveries.deliver();
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

impl<P: BatchProcessor> Actor for CollectorActor<P> {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        // The mailbox bounds nothing, `max_pending` does; without a capacity actix need not park and unpark each sender.
        ctx.set_mailbox_capacity(0);
        self.shared.open_door(ctx.address().recipient().downgrade());
        self.alarm = None;
        self.pool.start(Instant::now());
        debug!(collector = &*self.shared.name, "started");
        ctx.spawn(Pump);
    }
}

impl<P: BatchProcessor> Supervised for CollectorActor<P> {}

// Nothing in it is pinned; actix asks, and the user's types need not be `Unpin` for it.
impl<P: BatchProcessor> Unpin for CollectorActor<P> {}

impl<P: BatchProcessor> Drop for CollectorActor<P> {
    fn drop(&mut self) {
        let line = self.shared.intake.close();
        for (job, replies) in line {
            refuse_in_line(job, replies, &mut self.deliveries);
        }
        self.shared.intake.look(Instant::now(), None, false, &mut self.sealed);
        for sealed in mem::take(&mut self.sealed) {
            self.dispatch.batch_ready(sealed);
        }
        let aborted = self.dispatch.abort();
        for (replies, jobs) in aborted.ready {
            self.fail(replies, &JobError::ShutDown, jobs);
        }
        for replies in aborted.in_flight {
            self.fail(replies, &JobError::Lost, Vec::new());
        }
        self.shared.end();
    }
}

impl<P: BatchProcessor> fmt::Debug for CollectorActor<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CollectorActor").field("name", &self.shared.name).finish_non_exhaustive()
    }
}
