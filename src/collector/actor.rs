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
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context as TaskContext, Poll},
    time::Duration,
};

use actix::{Actor, ActorContext, ActorFuture, AsyncContext, Context, Recipient, SpawnHandle, Supervised};
use tokio::time::Instant;
use tracing::{debug, error, info, trace, warn};

use super::{
    Collector,
    batching::Batching,
    builder::CollectorBuilder,
    dead_letter_router::DeadLetterRouter,
    intake::{Buffers, Intake, View},
    messages::{Request, Shutdown, make_way},
    shared::Shared,
    shutdown::Ending,
};
use crate::{
    batch::{Batch, Deliveries, JobResults, Replies, Sealed, Tally, Trigger},
    config::NoWorkers,
    dispatch::{AttemptEnd, Dispatch, FlightId, History, Landed, Order, WorkerId},
    error::{Failures, JobError},
    flush::Timing,
    job::{Job, JobEvent, JobId, JobState},
    observe::{
        Dispatched, Ended, Flushed, Halved, Levels, Observer, Outcome, Recorder, Restarted, Retried, Settled,
        ShutdownReport, Tracker,
    },
    panics::{discard, drop_each},
    processor::{BatchProcessor, Load, Pause, Pool, Report, Reports, Scale},
};

/// The actor that gathers jobs, hands batches to its workers and settles every job.
///
/// Build it with [`Collector::builder`] and [`build`](CollectorBuilder::build), and start it as any actix actor: `actor.start()`,
/// `Supervisor::start(|_| actor)`, or in an arbiter. Its messages are [`SubmitJob`](crate::SubmitJob),
/// [`Flush`](crate::Flush), [`Pause`](crate::Pause), [`Resume`](crate::Resume), [`GetStats`](crate::GetStats) and
/// [`Shutdown`](crate::Shutdown). It ends by itself when it has neither handles nor addresses and everything is settled.
///
/// Dropped – with its arbiter, its `System`, or unstarted – it settles what it has: jobs that were with a worker as
/// [`JobError::Lost`](crate::JobError::Lost), all others as [`JobError::ShutDown`](crate::JobError::ShutDown).
pub struct CollectorActor<P: BatchProcessor> {
    shared: Arc<Shared<P::Job>>,
    dispatch: Dispatch<P::Job>,
    dead_letters: Option<DeadLetterRouter<P::Job>>,
    batching: Batching<P::Job>,
    pool: Pool<P>,
    inbox: Arc<Reports<P::Job>>,
    no_workers: NoWorkers,
    recorder: Recorder,
    tracker: Option<Tracker>,
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

    /// Timers cannot be set for the end of all days. After so long the actor looks, and sets its alarm again.
    const LONGEST_WAIT: Duration = Duration::from_secs(365 * 24 * 60 * 60);

    pub(super) fn new(mut builder: CollectorBuilder<P>) -> Self {
        #[cfg(feature = "metrics")]
        if builder.metrics {
            builder.observers.push(Box::new(crate::observe::Metrics::new(&builder.config.name)));
        }
        // Whoever came first may have gone: others may ride on the job.
        builder.rules.skip_abandoned &= !builder.keying.shares();
        builder.flushing.ageing = builder.rules.ageing;
        let shared = Arc::new(Shared::new(&builder.config, builder.flushing, builder.keying, builder.observers));
        if let Some(limit) = &builder.rules.rate_limit {
            limit.subscribe(&shared.bell);
        }
        let tracker = builder.history.map(|history| Tracker::new(Arc::clone(&shared.name), history));
        let batching = Batching::new(Arc::clone(&shared.name), builder.batchers);
        let inbox = Arc::new(Reports::new(Arc::clone(&shared.bell)));
        let dead_letters = builder.dead_letters.map(|letters| DeadLetterRouter::new(Arc::clone(&shared.name), letters));
        let pool = Pool::new(Arc::clone(&shared.name), builder.config.workers, builder.factory, Arc::clone(&inbox));
        Self {
            shared,
            dispatch: Dispatch::new(builder.rules),
            dead_letters,
            batching,
            pool,
            inbox,
            no_workers: builder.config.no_workers,
            recorder: Recorder::default(),
            tracker,
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
        self.cut_off_if_due(now);
        let mut view = self.carry_out(now);
        if self.is_deserted(ctx) {
            self.begin_ending(now);
            view = self.carry_out(now);
        }
        self.scale(now);
        self.finish_ending(&view, now);
        self.tell_levels(&view);
        if self.ending.as_ref().is_some_and(Ending::is_done) && self.is_deserted(ctx) {
            return ctx.stop();
        }
        self.set_alarm(view.due, ctx);
    }

    /// As many workers as the load asks for.
    fn scale(&mut self, now: Instant) {
        let load = Load { waiting: self.dispatch.wants_workers(now), idle: self.dispatch.is_idle() };
        if self.pool.scale(load, now) == Some(Scale::Shrink)
            && let Some(worker) = self.dispatch.let_go()
        {
            self.pool.retire(worker);
        }
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
            let idle = self.dispatch.is_open(now);
            let view = self.shared.intake.look(now, alarm, idle, &mut sealed);
            let nothing_new = sealed.is_empty();
            for batch in sealed.drain(..) {
                self.left(batch, now);
            }
            self.sealed = sealed;
            // Settling frees room, and those who waited for it may fill a batch; a worker that is still free may want the
            // open one: look again.
            if !self.dispatch_all(now) && nothing_new && self.dispatch.is_open(now) == idle {
                return view;
            }
        }
    }

    /// A batch has left. Batchers may part it.
    fn left(&mut self, sealed: Sealed<P::Job>, now: Instant) {
        if self.batching.is_off() {
            return self.flushed(sealed, now);
        }
        let (parts, left_out) = self.batching.part(sealed);
        self.recorder.left_out += left_out as u64;
        for part in parts {
            self.flushed(part, now);
        }
    }

    fn flushed(&mut self, sealed: Sealed<P::Job>, now: Instant) {
        let (trigger, jobs) = (sealed.trigger, sealed.jobs.len());
        let oldest_wait = now.saturating_duration_since(sealed.opened_at);
        self.recorder.flushed(trigger, jobs);
        let ids = self.tracker.as_ref().map(|_| sealed.replies.ids());
        let batch = self.dispatch.batch_ready(sealed);
        if let (Some(tracker), Some(ids)) = (&mut self.tracker, ids) {
            tracker.flushed(batch, ids);
        }
        debug!(collector = &*self.shared.name, batch, jobs, trigger = trigger.as_str(), "flushed");
        self.tell(|observer, collector| observer.flushed(collector, &Flushed { batch, trigger, jobs, oldest_wait }));
    }

    /// Returns whether anything was settled.
    fn dispatch_all(&mut self, now: Instant) -> bool {
        let mut settled = false;
        while let Some(order) = self.dispatch.next(now) {
            settled |= matches!(order, Order::Settle { .. });
            self.execute(order, now);
        }
        settled
    }

    fn execute(&mut self, order: Order<P::Job>, now: Instant) {
        let collector = &*self.shared.name;
        match order {
            Order::Send { worker, flight, batch, waited_since } => {
                let waited = now.saturating_duration_since(waited_since);
                self.recorder.dispatched(waited);
                let sent = Dispatched {
                    batch: batch.id(),
                    trigger: batch.trigger(),
                    jobs: batch.len(),
                    attempt: batch.attempt(),
                    worker: worker.seat,
                    waited,
                };
                self.pool.assign(worker, flight, batch);
                self.track(|tracker| tracker.sent(sent.batch));
                self.tell(|observer, collector| observer.dispatched(collector, &sent));
            }
            Order::Settle { replies, verdict, jobs, past } => {
                let (count, attempts) = (replies.len(), past.attempts);
                debug!(collector, jobs = count, attempts, error = ?Shown(verdict.whole_failure()), "settled");
                self.settle(replies, verdict, jobs, past, now);
            }
            Order::Cancel { worker, flight } => {
                warn!(collector, worker = worker.seat, "the worker is told to stop");
                self.pool.cancel(worker, flight);
            }
            Order::GiveUp { worker } => {
                error!(collector, worker = worker.seat, "the worker does not stop: it is given up, with its thread");
                self.dispatch.worker_unable(worker);
                let away = self.pool.give_up(worker, now);
                self.restarted(worker, away, now);
            }
            Order::TimedOut { batch, jobs, attempt, waited, took } => {
                self.recorder.processed(took);
                let outcome = Outcome { batch, jobs, attempt, ended: Ended::TimedOut, waited, took };
                self.tell(|observer, collector| observer.outcome(collector, &outcome));
            }
            Order::Retrying { from, batch, jobs, attempt, at } => {
                self.recorder.flushed(Trigger::Retry, jobs);
                let delay = at.saturating_duration_since(now);
                debug!(collector, batch, jobs, attempt, ?delay, "to be tried again");
                self.track(|tracker| tracker.retrying(from, batch, attempt));
                let retried = Retried { batch, jobs, attempt, delay };
                self.tell(|observer, collector| observer.retry(collector, &retried));
            }
            Order::Again { batch } => self.track(|tracker| tracker.again(batch)),
            Order::Split { batch, into, jobs, attempt } => {
                self.recorder.flushed(Trigger::Split, jobs[0]);
                self.recorder.flushed(Trigger::Split, jobs[1]);
                debug!(collector, batch, ?into, ?jobs, "split");
                self.track(|tracker| tracker.split(batch, into, jobs[0], attempt));
                self.tell(|observer, collector| observer.split(collector, &Halved { batch, into, jobs }));
            }
            Order::Breaker(state) => {
                warn!(collector, state = state.as_str(), "circuit breaker");
                self.tell(|observer, collector| observer.breaker(collector, state));
            }
        }
    }

    fn read_reports(&mut self, now: Instant) {
        let mut reports = mem::take(&mut self.reports);
        self.inbox.take(&mut reports);
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
                self.landed(flight, AttemptEnd::Panicked, batch, now);
            }
            Report::Cancelled { worker, flight, batch } => {
                self.dispatch.worker_unable(worker);
                self.restart(worker, "told to stop", now);
                self.landed(flight, AttemptEnd::Cancelled, batch, now);
            }
            Report::Dropped { flight, batch } => {
                warn!(
                    collector = &*self.shared.name,
                    batch = batch.id(),
                    jobs = batch.len(),
                    "worker stopped mid-batch"
                );
                self.landed(flight, AttemptEnd::Lost, batch, now);
            }
            Report::Returned { flight, batch } => {
                let id = batch.id();
                self.dispatch.returned(flight, batch);
                self.track(|tracker| tracker.given_back(id));
            }
            Report::Gone { worker } => {
                self.dispatch.worker_unable(worker);
                let away = self.pool.gone(worker, now);
                self.restarted(worker, away, now);
            }
        }
    }

    fn restart(&mut self, worker: WorkerId, why: &str, now: Instant) {
        let away = self.pool.failed(worker, why, now);
        self.restarted(worker, away, now);
    }

    /// A worker that was known is away.
    fn restarted(&mut self, worker: WorkerId, away: Option<Pause>, now: Instant) {
        let Some(Pause { until, resting }) = away else { return };
        self.recorder.restarts += 1;
        let restarted = Restarted { worker: worker.seat, back_in: until.saturating_duration_since(now) };
        self.tell(|observer, collector| observer.restart(collector, &restarted));
        if resting {
            self.tell(|observer, collector| observer.resting(collector, &restarted));
        }
    }

    fn done(
        &mut self,
        worker: WorkerId,
        flight: FlightId,
        batch: Batch<P::Job>,
        verdict: JobResults<P::Job>,
        now: Instant,
    ) {
        if self.pool.succeeded(worker) {
            self.dispatch.worker_free(worker);
        }
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
        self.recorder.stray(stray);
        self.landed(flight, AttemptEnd::Answered(verdict), batch, now);
    }

    /// A flight has ended, unless it had ended before.
    fn landed(&mut self, flight: FlightId, fate: AttemptEnd<P::Job>, batch: Batch<P::Job>, now: Instant) {
        let (jobs, answered) =
            (batch.len(), matches!(&fate, AttemptEnd::Answered(verdict) if verdict.whole_failure().is_none()));
        let (id, attempt, ended) = (batch.id(), batch.attempt(), ended(&fate));
        let is_answer = matches!(fate, AttemptEnd::Answered(_));
        let landed = self.dispatch.landed(flight, fate, batch, now);
        self.recorder.late += u64::from(is_answer && landed.as_ref().is_none_or(|landed| landed.overdue));
        let Some(Landed { waited, took, overdue }) = landed else { return };
        if !overdue {
            self.recorder.processed(took);
            let outcome = Outcome { batch: id, jobs, attempt, ended, waited, took };
            self.tell(|observer, collector| observer.outcome(collector, &outcome));
        }
        if answered {
            self.shared.intake.answered(&Timing { jobs, waited, took });
        }
    }

    /// The jobs end here: what may be of use again is kept, what failed goes to the dead letters, everybody gets a reply.
    fn settle(
        &mut self,
        replies: Replies<P::Job>,
        verdict: JobResults<P::Job>,
        jobs: Vec<P::Job>,
        past: History,
        now: Instant,
    ) {
        let keep = self.shared.intake.keeps() && verdict.whole_failure().is_none();
        let verdict = if keep { self.keep(verdict, &jobs, past) } else { verdict };
        match &mut self.dead_letters {
            None => self.reply(replies, verdict, jobs, past),
            Some(dead_letters) => {
                let (verdict, jobs) = dead_letters.sort_out(verdict, jobs, past, now);
                self.reply(replies, verdict, jobs, past);
            }
        }
    }

    /// Before the replies: whoever has his finds the result kept.
    #[cold]
    fn keep(&self, verdict: JobResults<P::Job>, jobs: &[P::Job], past: History) -> JobResults<P::Job> {
        let results: Vec<_> = verdict.collect();
        self.shared.intake.keep(jobs, &results, past.accepted_at);
        JobResults::results(results)
    }

    /// Settles, gives the room to others, and wakes the callers: what they submit next finds that room.
    fn reply(&mut self, replies: Replies<P::Job>, verdict: JobResults<P::Job>, mut jobs: Vec<P::Job>, past: History) {
        let mut settled = replies.len();
        let Tally { succeeded, failed, forgotten } = self.recorder.tally;
        let ids = self.shared.intake.follows_jobs().then(|| replies.ids());
        let verdict = if self.shared.intake.shares() {
            let (verdict, riders) = self.share(&replies, verdict, past);
            settled += riders;
            verdict
        } else {
            verdict
        };
        self.fill(replies, verdict, past);
        let forgotten = self.recorder.tally.forgotten - forgotten;
        if forgotten > 0 && self.dead_letters.is_none() {
            warn!(collector = &*self.shared.name, jobs = forgotten, "failed, and nobody waited for the reply");
        }
        drop_each(&mut jobs);
        let buffers = Buffers { jobs, requesters: self.deliveries.take_spare() };
        self.shared.intake.settled(settled, ids.as_ref(), buffers);
        self.deliveries.deliver();
        self.tell_settled(succeeded, &failed);
    }

    /// Fills in the replies. Whom to wake is left in `deliveries`.
    #[inline]
    fn fill(&mut self, replies: Replies<P::Job>, verdict: JobResults<P::Job>, past: History) {
        if self.tracker.is_some() {
            return self.fill_tracked(replies, verdict, past);
        }
        replies.settle(verdict, &mut self.recorder.tally, &mut self.deliveries);
    }

    /// The same, while somebody wants to know how each job ends.
    #[cold]
    fn fill_tracked(&mut self, replies: Replies<P::Job>, verdict: JobResults<P::Job>, past: History) {
        let (ids, mut ends) = (replies.ids(), Vec::with_capacity(replies.len()));
        let verdict = verdict.inspect(|reply| ends.push(JobState::of_reply(reply)));
        replies.settle(verdict, &mut self.recorder.tally, &mut self.deliveries);
        self.track(|tracker| tracker.settled(past.batch, past.attempts, &ids, &ends));
    }

    /// Those who ride on these jobs get copies of their replies. Returns how many they are.
    #[cold]
    fn share(
        &mut self,
        replies: &Replies<P::Job>,
        verdict: JobResults<P::Job>,
        past: History,
    ) -> (JobResults<P::Job>, usize) {
        let results: Vec<_> = verdict.collect();
        let riders = self.shared.intake.share(&replies.ids(), &results);
        let mut count = 0;
        for (replies, copies) in riders {
            count += replies.len();
            self.fill(replies, JobResults::results(copies), past);
        }
        (JobResults::results(results), count)
    }

    #[inline]
    fn track(&mut self, follow: impl FnOnce(&mut Tracker)) {
        if let Some(tracker) = &mut self.tracker {
            follow(tracker);
        }
    }

    fn job_state(&self, job: JobId) -> Option<JobState> {
        let tracker = self.tracker.as_ref()?;
        self.shared.intake.find(job).or_else(|| tracker.state(job))
    }

    fn subscribe(&mut self, recipient: Recipient<JobEvent>) {
        let name = &self.shared.name;
        self.tracker.get_or_insert_with(|| Tracker::new(Arc::clone(name), 0)).subscribe(recipient);
    }

    #[inline]
    fn tell(&self, hook: impl Fn(&dyn Observer, &str)) {
        self.shared.observers.tell(hook);
    }

    #[inline]
    fn tell_settled(&self, succeeded: u64, failed: &Failures) {
        self.tell(|observer, collector| {
            let tally = &self.recorder.tally;
            let (succeeded, failed) = (tally.succeeded - succeeded, tally.failed.since(failed));
            observer.settled(collector, &Settled { succeeded, failed });
        });
    }

    fn tell_levels(&self, view: &View) {
        if self.shared.observers.listen() {
            let levels = self.levels(view);
            self.tell(|observer, collector| observer.levels(collector, &levels));
        }
    }

    fn answer_requests(&mut self, now: Instant) {
        for request in self.shared.requests() {
            trace!(collector = &*self.shared.name, ?request, "asked");
            match request {
                Request::Flush(sender) => answer(sender, self.shared.intake.flush()),
                Request::Pause(sender) => {
                    self.dispatch.pause(true);
                    answer(sender, ());
                }
                Request::Resume(sender) => {
                    self.dispatch.pause(false);
                    answer(sender, ());
                }
                Request::SetMaxInFlight(batches, sender) => {
                    self.dispatch.limit_in_flight(batches);
                    answer(sender, ());
                }
                Request::GetJobState(job, sender) => {
                    self.carry_out(now);
                    answer(sender, self.job_state(job));
                }
                Request::Subscribe(recipient, sender) => {
                    self.subscribe(recipient);
                    answer(sender, ());
                }
                Request::GetStats(sender) => {
                    let view = self.carry_out(now);
                    self.recorder.lost_events = self.tracker.as_ref().map_or(0, |tracker| tracker.lost);
                    self.recorder.lost_dead_letters =
                        self.dead_letters.as_ref().map_or(0, |dead_letters| dead_letters.lost_dead_letters);
                    let stats = self.recorder.snapshot(&self.shared.name, self.levels(&view));
                    answer(sender, stats);
                }
                Request::Shutdown(shutdown, sender) => self.shut_down(shutdown, sender, now),
            }
        }
    }

    fn levels(&self, view: &View) -> Levels {
        Levels {
            accepted: view.accepted,
            rejected: view.rejected.total(),
            rejections: view.rejected,
            coalesced: view.coalesced,
            replayed: view.replayed,
            cache_hits: view.cache_hits,
            pending: view.pending,
            waiting: view.waiting,
            ready: self.dispatch.ready(),
            in_flight: self.dispatch.in_flight(),
            paused: self.dispatch.is_paused(),
            breaker: self.dispatch.breaker(),
            workers: self.pool.stats(),
        }
    }

    fn shut_down(
        &mut self,
        shutdown: Shutdown,
        sender: Option<actix::dev::OneshotSender<ShutdownReport>>,
        now: Instant,
    ) {
        if shutdown == Shutdown::now() {
            // What is to be cut off in a moment is not sent downstream before.
            self.dispatch.pause(true);
        }
        self.begin_ending(now);
        if let Some(ending) = &mut self.ending {
            ending.join(shutdown, sender, now);
        }
        self.cut_off_if_due(now);
    }

    /// Refuse, hand back the line, flush; what is outstanding is then awaited. Done once.
    fn begin_ending(&mut self, now: Instant) {
        if self.ending.is_some() {
            return;
        }
        self.shared.intake.close();
        let view = self.carry_out(now);
        info!(collector = &*self.shared.name, outstanding = view.pending, "shutting down");
        self.ending = Some(Ending::new(now, view.pending));
        self.dispatch.drain();
    }

    /// All that the intake still has goes to dispatch, to be settled there.
    fn take_rest(&mut self, now: Instant) {
        self.shared.intake.give_up_sequences();
        self.shared.intake.look(now, None, false, &mut self.sealed);
        for sealed in mem::take(&mut self.sealed) {
            self.dispatch.batch_ready(sealed);
        }
    }

    /// The limit has come: what is left is settled, whatever its worker does.
    fn cut_off_if_due(&mut self, now: Instant) {
        if self.ending.as_ref().and_then(Ending::due).is_none_or(|limit| limit > now) {
            return;
        }
        self.take_rest(now);
        self.dispatch.abort(&JobError::ShutDown, &JobError::ShutDown, now);
    }

    fn finish_ending(&mut self, view: &View, now: Instant) {
        let Some(ending) = &mut self.ending else { return };
        if ending.is_done() || view.pending > 0 {
            return;
        }
        let report = ending.done(self.recorder.tally.failed.shut_down, now);
        info!(collector = &*self.shared.name, completed = report.completed, shut_down = report.shut_down, "drained");
        self.shared.reported(report.clone());
        self.tell(|observer, collector| observer.drained(collector, &report));
    }

    /// Sees to it that the actor looks again when the next thing is due. An alarm that is set for earlier stays.
    fn set_alarm(&mut self, open_batch: Option<Instant>, ctx: &mut Context<Self>) {
        let limit = self.ending.as_ref().and_then(Ending::due);
        let Some(due) = [open_batch, self.pool.due(), self.dispatch.due(), limit].into_iter().flatten().min() else {
            return;
        };
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

/// A user's error, for the log: a panic of its `Debug` ends here, and not with the actor.
struct Shown<E>(E);

impl<E: fmt::Debug> fmt::Debug for Shown<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match catch_unwind(AssertUnwindSafe(|| format!("{:?}", self.0))) {
            Ok(text) => f.write_str(&text),
            Err(panic) => {
                discard(panic);
                f.write_str("(its Debug panicked)")
            }
        }
    }
}

fn answer<T>(sender: Option<actix::dev::OneshotSender<T>>, answer: T) {
    if let Some(sender) = sender {
        let _ = sender.send(answer);
    }
}

/// How the attempt ended.
fn ended<J: Job>(fate: &AttemptEnd<J>) -> Ended {
    match fate {
        AttemptEnd::Answered(JobResults::TooLarge(_)) => Ended::TooLarge,
        AttemptEnd::Answered(verdict) if verdict.whole_failure().is_some() => Ended::Failed,
        AttemptEnd::Answered(_) => Ended::Answered,
        AttemptEnd::Panicked => Ended::Panicked,
        AttemptEnd::Cancelled => Ended::TimedOut,
        AttemptEnd::Lost => Ended::Lost,
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
        self.shared.intake.close();
        self.take_rest(Instant::now());
        self.dispatch.abort(&JobError::ShutDown, &JobError::Lost, Instant::now());
        while let Some(order) = self.dispatch.take_order() {
            if let Order::Settle { replies, verdict, jobs, past } = order {
                self.settle(replies, verdict, jobs, past, Instant::now());
            }
        }
        let view = self.shared.intake.look(Instant::now(), None, false, &mut self.sealed);
        self.tell_levels(&view);
        self.shared.end();
    }
}

impl<P: BatchProcessor> fmt::Debug for CollectorActor<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CollectorActor").field("name", &self.shared.name).finish_non_exhaustive()
    }
}
