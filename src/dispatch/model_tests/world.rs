//! The model: jobs, workers, time – and dispatch, whose orders are held against it.

use std::{sync::Arc, task::Context, time::Duration};

use futures_util::task::noop_waker_ref;
use tokio::{
    runtime::Runtime,
    time::{Instant, advance},
};

use super::{
    AGEING, HOPELESS, MS, Numbered,
    breaker::{PlainBreaker, PlainFamily},
    settings::{Answer, RetrySettings, Settings, Step},
    told::Told,
};
use crate::{
    Outcomes, Priority,
    batch::{Batch, Blocks, Deliveries, JobResults, Metadata, Replies, Sealed, SlotRef, Tally, Trigger},
    dispatch::{AttemptEnd, BreakerState, Dispatch, FlightId, GRACE, History, Order, Prefetch, RateLimit, WorkerId},
    error::JobError,
};

/// One job, and where the model has it.
struct Known {
    slot: SlotRef<Numbered>,
    accepted_at: Instant,
    deadline: Option<Instant>,
    priority: Priority,
    place: Place,
    /// The place before it was sent.
    waited: Place,
    abandoned: bool,
    seen: bool,
    /// Times it was begun.
    sends: u32,
    /// Halvings after a failure, and those because it was too large.
    splits: u32,
    shrinks: u32,
    /// The failed batch that it is a part of, as the breaker sees it.
    family: Option<usize>,
}

impl Known {
    fn is_late(&self, now: Instant) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= now)
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Place {
    /// In a ready batch, or backing off. `last`: what it is told if it is not sent again.
    Waiting {
        attempt: u32,
        not_before: Instant,
        last: Option<Told>,
    },
    With(FlightId),
    /// This is what its caller is to be told.
    Judged(Told),
    Done,
}

/// A batch at a worker.
struct Held {
    flight: FlightId,
    worker: WorkerId,
    batch: Batch<Numbered>,
    sent_at: Instant,
    beat_at: Instant,
    probe: Option<u32>,
    cancelled: Option<Instant>,
    /// Its jobs were settled without it.
    ended: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Worker {
    Free,
    Busy,
    Away,
}

pub(super) struct World<'a> {
    clock: &'a Runtime,
    settings: Settings,
    dispatch: Dispatch<Numbered>,
    blocks: Blocks<Numbered>,
    jobs: Vec<Known>,
    workers: Vec<(WorkerId, Worker)>,
    held: Vec<Held>,
    /// The batch that is prefetched for the worker between two steps.
    prefetched: Option<Prefetch<Numbered>>,
    breaker: Option<PlainBreaker>,
    families: Vec<PlainFamily>,
    departures: Vec<(Instant, usize)>,
    tally: Tally,
    /// Of each priority.
    last_new: [Option<usize>; Priority::ALL.len()],
    paused: bool,
    refusing: bool,
    aborted: bool,
}

impl<'a> World<'a> {
    pub(super) fn new(clock: &'a Runtime, settings: Settings) -> Self {
        let mut dispatch = Dispatch::new(settings.rules());
        let workers: Vec<_> =
            (0..settings.workers).map(|seat| (WorkerId { seat, generation: 0 }, Worker::Free)).collect();
        for (worker, _) in &workers {
            dispatch.worker_free(*worker);
        }
        Self {
            clock,
            breaker: settings.breaker.clone().map(PlainBreaker::new),
            families: Vec::new(),
            settings,
            dispatch,
            blocks: Blocks::default(),
            jobs: Vec::new(),
            workers,
            held: Vec::new(),
            prefetched: None,
            departures: Vec::new(),
            tally: Tally::default(),
            last_new: [None; Priority::ALL.len()],
            paused: false,
            refusing: false,
            aborted: false,
        }
    }

    /// Before anything else happens, dispatch has the prefetched batch back, or the worker has begun it.
    pub(super) fn step(&mut self, step: Step) {
        if let Step::GoOn(millis) = step {
            self.go_on(MS * millis);
        } else {
            self.take_back();
            self.take(step);
        }
        self.pump();
        let [(worker, state)] = *self.workers else { return };
        // The pool says no while the worker is away.
        if self.settings.prefetches && state != Worker::Away {
            self.prefetched = self.dispatch.prefetch(worker, Instant::now());
        }
        if self.prefetched.is_some() {
            assert!(state == Worker::Busy && self.settings.max_in_flight.is_none_or(|limit| limit > 1));
        }
    }

    fn take_back(&mut self) {
        if let Some(prefetch) = self.prefetched.take() {
            self.dispatch.put_back(prefetch.batch);
        }
    }

    /// The worker has answered well, after a time in which nothing was due, and has begun the prefetched batch. One that a caller has left it
    /// does not begin.
    fn go_on(&mut self, after: Duration) {
        let wanted = |prefetch: &Prefetch<_>| !prefetch.batch.iter().any(|job: &Numbered| self.jobs[job.0].abandoned);
        if !self.prefetched.as_ref().is_some_and(wanted) {
            return self.take_back();
        }
        let Some(Prefetch { flight, batch, .. }) = self.prefetched.take() else { return };
        let worker = self.workers[0].0;
        let quiet = self.dispatch.due().map_or(after, |due| due.saturating_duration_since(Instant::now() + MS));
        self.wait(after.min(quiet));
        let now = Instant::now();
        self.dispatch.begun(now);
        self.begun(worker, flight, batch, now);
        let before = self.held.iter().position(|held| held.worker == worker).expect("what it has answered");
        let before = self.held.remove(before);
        self.land(before, &Answer::Ok);
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Batch { jobs, priority, within } => self.submit(jobs, priority, within),
            Step::Wait(millis) => self.wait(MS * millis),
            Step::Jump => self.jump(),
            Step::Answer(at, answer) => self.answer(at, &answer),
            Step::GoOn(_) => {}
            Step::Beat(at) => self.beat(at),
            Step::Back(at) => self.come_back(at),
            Step::Abandon(at) => self.abandon(at),
            Step::Pause(paused) => {
                self.paused = paused;
                self.dispatch.pause(paused);
            }
            Step::Refuse(refusing) => {
                self.refusing = refusing;
                self.dispatch.refuse(refusing.then_some(JobError::NoWorkers));
            }
            Step::LimitInFlight(batches) => {
                self.settings.max_in_flight = Some(batches);
                self.dispatch.limit_in_flight(batches);
            }
        }
    }

    fn submit(&mut self, jobs: usize, priority: Priority, within: Option<u32>) {
        let (now, first, mut replies) = (Instant::now(), self.jobs.len(), Replies::default());
        for job in 0..jobs {
            let (block, at) = self.blocks.take_slot();
            replies.push_slot(block, at);
            let deadline = within.filter(|_| job % 2 == 0).map(|millis| now + MS * millis);
            if deadline.is_some() {
                let mut metadata = Box::<Metadata>::default();
                metadata.deadline = deadline;
                replies.push_metadata(block.id(at), metadata);
            }
            let place = Place::Waiting { attempt: 1, not_before: now, last: None };
            self.jobs.push(Known {
                slot: SlotRef::new(Arc::clone(block), at),
                accepted_at: now,
                deadline,
                priority,
                place,
                waited: place,
                abandoned: false,
                seen: false,
                sends: 0,
                splits: 0,
                shrinks: 0,
                family: None,
            });
        }
        let jobs = (first..first + jobs).map(Numbered).collect();
        self.dispatch.batch_ready(Sealed { jobs, replies, trigger: Trigger::Size, opened_at: now, priority });
    }

    fn wait(&self, time: Duration) {
        self.clock.block_on(advance(time));
    }

    fn jump(&self) {
        if let Some(due) = self.dispatch.due() {
            self.wait(due.saturating_duration_since(Instant::now()));
        }
    }

    fn beat(&mut self, at: usize) {
        let count = self.held.len().max(1);
        if let Some(held) = self.held.get_mut(at % count) {
            held.batch.heartbeat();
            held.beat_at = Instant::now();
        }
    }

    fn abandon(&mut self, at: usize) {
        let count = self.jobs.len().max(1);
        if let Some(job) = self.jobs.get_mut(at % count).filter(|job| job.place != Place::Done && !job.abandoned) {
            job.slot.abandon();
            job.abandoned = true;
        }
    }

    fn come_back(&mut self, at: usize) {
        let count = self.workers.len();
        let (id, worker) = &mut self.workers[at % count];
        if *worker == Worker::Away {
            *worker = Worker::Free;
            self.dispatch.worker_free(*id);
        }
    }

    // What workers say.

    fn answer(&mut self, at: usize, answer: &Answer) {
        if self.held.is_empty() {
            return;
        }
        let held = self.held.remove(at % self.held.len());
        if let Answer::Returned = answer {
            return self.give_back(held);
        }
        let becomes = match answer {
            Answer::Panic | Answer::Lost => Worker::Away,
            Answer::Obey if held.cancelled.is_some() => Worker::Away,
            _ => Worker::Free,
        };
        self.set_worker(held.worker, becomes);
        self.land(held, answer);
    }

    fn land(&mut self, held: Held, answer: &Answer) {
        let (told, fate) = (told(&held, answer), fate(&held, answer));
        if !held.ended {
            self.judge(&held, answer, &told);
        }
        let landed = self.dispatch.landed(held.flight, fate, held.batch, Instant::now());
        assert_eq!(landed.is_none(), held.ended, "a flight that has ended finds nothing, any other ends");
    }

    /// A worker that was not given up is free, or away.
    fn set_worker(&mut self, id: WorkerId, becomes: Worker) {
        let Some((_, worker)) = self.workers.iter_mut().find(|(known, _)| *known == id) else { return };
        *worker = becomes;
        if becomes == Worker::Free {
            self.dispatch.worker_free(id);
        } else {
            self.dispatch.worker_unable(id);
        }
    }

    fn give_back(&mut self, held: Held) {
        self.set_worker(held.worker, Worker::Away);
        if !held.ended {
            for job in &held.batch {
                let job = &mut self.jobs[job.0];
                job.sends -= 1;
                job.place = job.waited;
            }
            if let Some(breaker) = &mut self.breaker {
                breaker.unsent(held.probe);
            }
        }
        self.dispatch.returned(held.flight, held.batch);
    }

    /// What is to become of each job.
    fn judge(&mut self, held: &Held, answer: &Answer, told: &[Told]) {
        let (now, in_time) = (Instant::now(), held.cancelled.is_none());
        let each = in_time && matches!(answer, Answer::Ok | Answer::Obey | Answer::Each(_));
        let too_large = in_time && matches!(answer, Answer::TooLarge);
        if in_time {
            let failure = (!each && !too_large).then(|| told[0]);
            self.tell_breaker(&held.batch, failure, held.sent_at, held.probe, now);
        }
        let is_closed = self.breaker.as_ref().is_none_or(|breaker| breaker.state != BreakerState::Open);
        let (many, attempt) = (held.batch.len() > 1, held.batch.attempt());
        for (job, told) in held.batch.iter().zip(told) {
            let again = self.again(job.0, attempt, *told, now);
            let halved = |last| Place::Waiting { attempt: attempt + 1, not_before: now, last };
            let splits = !each && self.settings.split && many && told.may_be_poison() && is_closed;
            let known = &mut self.jobs[job.0];
            known.place = match again {
                _ if too_large && many => {
                    known.shrinks += 1;
                    Place::Waiting { attempt, not_before: now, last: None }
                }
                // It may be retried, as the jitter has it, and is split if not.
                Again::Perhaps(_) if splits => halved(Some(*told)),
                Again::Surely(place) | Again::Perhaps(place) => place,
                Again::No if splits => {
                    known.splits += 1;
                    halved(None)
                }
                Again::No => Place::Judged(*told),
            };
        }
    }

    fn again(&self, job: usize, attempt: u32, told: Told, now: Instant) -> Again {
        let Some(retry) = self.settings.retry.as_ref().filter(|retry| told.is_worth(retry)) else { return Again::No };
        let (soonest, latest) = retry.delays(attempt);
        let limit = retry.give_up_after().map(|limit| self.jobs[job].accepted_at + limit);
        let place = Place::Waiting { attempt: attempt + 1, not_before: now + soonest, last: Some(told) };
        if attempt >= retry.attempts || limit.is_some_and(|limit| now + soonest > limit) {
            Again::No
        } else if limit.is_some_and(|limit| now + latest > limit) {
            Again::Perhaps(place)
        } else {
            Again::Surely(place)
        }
    }

    // What the breaker is told.

    /// A batch that will be split is suspected with all its parts, until one succeeds or too many have failed.
    fn tell_breaker(
        &mut self,
        jobs: &[Numbered],
        failure: Option<Told>,
        sent_at: Instant,
        probe: Option<u32>,
        now: Instant,
    ) {
        let Some(breaker) = &mut self.breaker else { return };
        let known = self.jobs[jobs[0].0].family;
        let split = self.settings.split && (jobs.len() > 1 || known.is_some());
        if failure.is_none_or(|told| !(split && told.may_be_poison())) {
            if let (Some(family), None) = (known, failure) {
                self.families[family].verdict.get_or_insert(false);
            }
            jobs.iter().for_each(|job| self.jobs[job.0].family = None);
            return breaker.answered(failure.is_some(), sent_at, probe, now);
        }
        let family = known.unwrap_or_else(|| {
            let patience = 2 * (jobs.len().ilog2() + 1);
            self.families.push(PlainFamily { failures: 0, patience, verdict: None });
            self.families.len() - 1
        });
        jobs.iter().for_each(|job| self.jobs[job.0].family = Some(family));
        match self.families[family].failed() {
            None => breaker.unsent(probe),
            Some(0) => breaker.answered(false, sent_at, probe, now),
            Some(failures) => (0..failures).for_each(|_| breaker.answered(true, sent_at, probe, now)),
        }
    }

    // What dispatch orders.

    fn pump(&mut self) {
        let now = Instant::now();
        while let Some(order) = self.dispatch.next(now) {
            self.execute(order, now);
        }
        self.check(now);
    }

    fn execute(&mut self, order: Order<Numbered>, now: Instant) {
        match order {
            Order::Send { worker, flight, batch, .. } => self.sent(worker, flight, batch, now),
            Order::Settle { replies, results, jobs, history } => self.settled(replies, results, &jobs, history),
            Order::Cancel { worker, flight } => self.cancelled(worker, flight, now),
            Order::GiveUp { worker } => self.given_up(worker, now),
            Order::Breaker(BreakerState::HalfOpen) => self.breaker.as_mut().expect("a breaker").half_open(now),
            Order::Breaker(state) => assert_eq!(Some(state), self.breaker.as_ref().map(|breaker| breaker.state)),
            Order::Retrying { at, .. } => assert!(at >= now),
            Order::Again { .. } => {}
            Order::TimedOut { jobs, .. } => assert!(jobs > 0),
            Order::Split { jobs, .. } => assert!(jobs[0] >= jobs[1] && jobs[1] > 0),
        }
    }

    fn sent(&mut self, worker: WorkerId, flight: FlightId, batch: Batch<Numbered>, now: Instant) {
        let (_, state) = self.workers.iter_mut().find(|(known, _)| *known == worker).expect("a worker that is known");
        assert_eq!(*state, Worker::Free);
        *state = Worker::Busy;
        self.begun(worker, flight, batch, now);
    }

    fn begun(&mut self, worker: WorkerId, flight: FlightId, batch: Batch<Numbered>, now: Instant) {
        assert!(!self.paused && !self.refusing && !self.aborted, "held back");
        assert!(batch.windows(2).all(|pair| pair[0].0 < pair[1].0), "jobs keep their order in a batch");
        for job in &batch {
            self.job_sent(job.0, flight, &batch, now);
        }
        self.check_order(&batch);
        let probe = self.breaker.as_mut().and_then(PlainBreaker::sent);
        self.departures.push((now, batch.len()));
        self.held.push(Held {
            flight,
            worker,
            batch,
            sent_at: now,
            beat_at: now,
            probe,
            cancelled: None,
            ended: false,
        });
        let most = self.settings.max_in_flight.unwrap_or(usize::MAX);
        assert!(self.in_flight() <= most, "more in flight than allowed");
    }

    fn job_sent(&mut self, job: usize, flight: FlightId, batch: &Batch<Numbered>, now: Instant) {
        let known = &mut self.jobs[job];
        assert!(!known.abandoned, "job {job} is sent though its caller has gone");
        let Place::Waiting { attempt, not_before, .. } = known.place else {
            panic!("job {job} is sent, and is {:?}", known.place)
        };
        assert_eq!(batch.attempt(), attempt, "job {job}");
        assert!(not_before <= now, "job {job} is sent before its time");
        assert!(!known.is_late(now), "job {job} is sent after its deadline");
        (known.waited, known.place) = (known.place, Place::With(flight));
        known.sends += 1;
        assert_eq!(known.sends, attempt + known.shrinks, "each attempt is one call, and so is each halving for size");
        let attempts = self.settings.retry.as_ref().map_or(1, |retry| retry.attempts);
        assert!(attempt <= attempts + known.splits, "attempt {attempt} of job {job}");
        let limit = self.settings.retry.as_ref().and_then(RetrySettings::give_up_after);
        if let Some(limit) = limit.filter(|_| batch.trigger() == Trigger::Retry) {
            assert!(now - known.accepted_at <= limit, "job {job} is tried again too late");
        }
    }

    /// Of a priority, new batches leave in order, after what was sent before; with one worker and without retries, all do.
    fn check_order(&mut self, batch: &Batch<Numbered>) {
        let (first, priority) = (batch[0].0, batch.priority());
        assert!(batch.iter().all(|job| self.jobs[job.0].priority == priority));
        let mut same = self.jobs.iter().filter(|job| job.priority == priority);
        if !self.jobs[first].seen {
            let last_new = self.last_new[priority.rank() as usize];
            assert!(Some(first) > last_new, "out of order");
            assert!(!same.any(|job| self.goes_first(job)), "what was sent before goes first");
            self.last_new[priority.rank() as usize] = Some(first);
        }
        for other in Priority::ALL.into_iter().filter(|other| *other != priority) {
            assert!(!self.should_go_before(other, first), "{other} should go before {priority}");
        }
        batch.iter().for_each(|job| self.jobs[job.0].seen = true);
        if self.settings.workers == 1 && self.settings.retry.is_none() {
            let mut earlier = self.jobs[..first].iter().filter(|job| job.priority == priority);
            assert!(!earlier.any(|job| matches!(job.place, Place::Waiting { .. })), "out of order");
        }
    }

    /// Whether all that waits with this priority, for nothing but its turn, has waited for longer than the job by what the
    /// priorities are worth.
    fn should_go_before(&self, other: Priority, job: usize) -> bool {
        let turn = |job: &Known| job.accepted_at + AGEING * job.priority.rank();
        let waits = |job: &&Known| job.priority == other && matches!(job.place, Place::Waiting { .. });
        let mut others = self.jobs.iter().filter(waits).peekable();
        let not_before =
            |job: &Known| if let Place::Waiting { not_before, .. } = job.place { not_before } else { job.accepted_at };
        others.peek().is_some()
            && others.all(|waiting| {
                let is_ready =
                    not_before(waiting) <= Instant::now() && (!waiting.seen || self.settings.retry.is_none());
                is_ready && turn(waiting) < turn(&self.jobs[job])
            })
    }

    /// Whether a job that was sent before waits for nothing but its turn. With jitter only dispatch knows.
    fn goes_first(&self, job: &Known) -> bool {
        let jitter = self.settings.retry.as_ref().is_some_and(|retry| retry.jitter);
        let Place::Waiting { not_before, .. } = job.place else { return false };
        job.seen && !jitter && not_before <= Instant::now()
    }

    fn settled(
        &mut self,
        replies: Replies<Numbered>,
        results: JobResults<Numbered>,
        jobs: &[Numbered],
        history: History,
    ) {
        let count = replies.len();
        let mut deliveries = Deliveries::default();
        replies.settle(results, &mut self.tally, &mut deliveries);
        deliveries.deliver();
        let heard = self.hear();
        let settled: Vec<_> = if jobs.is_empty() {
            self.ended_flight(count, &heard, history.attempts)
        } else {
            jobs.iter().map(|job| job.0).collect()
        };
        assert_eq!(settled.len(), count);
        assert!(heard.iter().all(|(job, _)| settled.contains(job)), "another job was settled");
        if !jobs.is_empty() {
            self.check_attempts(&settled, history.attempts);
        }
        for job in settled {
            let told = heard.iter().find(|(heard, _)| *heard == job).map(|(_, told)| *told);
            self.job_settled(job, told);
        }
    }

    /// It is said as which attempt jobs were sent last, and that is none if they never were.
    fn check_attempts(&self, settled: &[usize], attempts: u32) {
        for job in settled.iter().map(|job| &self.jobs[*job]) {
            assert_eq!(attempts == 0, job.sends == 0, "sent {} times", job.sends);
            assert!(attempts <= job.sends && attempts + job.shrinks >= job.sends, "sent {} times", job.sends);
        }
    }

    /// Looks at every reply slot. One that was settled says so once; twice would be seen in the next round.
    fn hear(&self) -> Vec<(usize, Told)> {
        let mut cx = Context::from_waker(noop_waker_ref());
        let mut heard = Vec::new();
        for (job, known) in self.jobs.iter().enumerate().filter(|(_, known)| !known.abandoned) {
            if let std::task::Poll::Ready(reply) = known.slot.poll(&mut cx) {
                assert_ne!(known.place, Place::Done, "job {job} is settled twice");
                heard.push((job, reply.into()));
            }
        }
        heard
    }

    /// The jobs of a flight that are settled though they are with a worker.
    fn ended_flight(&mut self, count: usize, heard: &[(usize, Told)], attempts: u32) -> Vec<usize> {
        let jobs = &self.jobs;
        let fits = |held: &&mut Held| {
            let waiting = held.batch.iter().map(|job| job.0).filter(|job| !jobs[*job].abandoned);
            !held.ended && held.batch.len() == count && waiting.eq(heard.iter().map(|(job, _)| *job))
        };
        let held = self.held.iter_mut().find(fits).expect("a flight with these jobs");
        assert_eq!(attempts, held.batch.attempt());
        held.ended = true;
        held.batch.iter().map(|job| job.0).collect()
    }

    fn job_settled(&mut self, job: usize, told: Option<Told>) {
        let known = &self.jobs[job];
        assert_ne!(known.place, Place::Done, "job {job} is settled twice");
        assert_eq!(told.is_none(), known.abandoned, "job {job}");
        if let Some(told) = told {
            assert!(self.may_be_told(known, told), "job {job} is {:?} and is told {told:?}", known.place);
        }
        self.jobs[job].place = Place::Done;
    }

    fn may_be_told(&self, job: &Known, told: Told) -> bool {
        match (job.place, told) {
            (Place::Judged(judged), _) => judged == told,
            (Place::Waiting { .. } | Place::With(_), Told::ShutDown) => self.aborted,
            (Place::Waiting { last, .. }, Told::Expired) => {
                job.is_late(Instant::now()) && (last.is_none() || self.settings.split)
            }
            (Place::Waiting { .. }, Told::NoWorkers) => self.refusing,
            (Place::Waiting { .. }, Told::CircuitOpen) => self.breaker.as_ref().is_some_and(PlainBreaker::rejects),
            (Place::Waiting { attempt, last, .. }, _) => {
                last == Some(told) && (self.is_given_up(job, attempt) || job.is_late(Instant::now()))
            }
            (Place::With(flight), Told::TimedOut) => self.is_overdue(flight),
            _ => false,
        }
    }

    /// Whether the next attempt could be too late.
    fn is_given_up(&self, job: &Known, attempt: u32) -> bool {
        let Some(retry) = &self.settings.retry else { return false };
        let (_, latest) = retry.delays(attempt - 1);
        retry.give_up_after().is_some_and(|limit| Instant::now() + latest > job.accepted_at + limit)
    }

    /// Whether a flight may be settled without its worker: at once if nobody needs the jobs, after a grace otherwise.
    fn is_overdue(&self, flight: FlightId) -> bool {
        let retried = self.settings.retry.as_ref().is_some_and(|retry| retry.timeouts);
        let needed = self.settings.split || self.settings.keeps_failed || retried;
        let grace = if needed { GRACE } else { Duration::ZERO };
        let held = self.held.iter().find(|held| held.flight == flight);
        held.and_then(|held| held.cancelled).is_some_and(|at| at + grace <= Instant::now())
    }

    fn cancelled(&mut self, worker: WorkerId, flight: FlightId, now: Instant) {
        let timeout = self.settings.timeout.map(|limit| MS * limit);
        let aborted = self.aborted;
        let held = self.held.iter_mut().find(|held| held.flight == flight).expect("a flight");
        assert_eq!(held.worker, worker);
        if aborted {
            return;
        }
        assert!(held.cancelled.is_none() && !held.ended, "told to stop twice");
        assert!(timeout.is_some_and(|limit| held.beat_at + limit <= now), "it had still time");
        held.cancelled = Some(now);
        let (jobs, sent_at, probe): (Vec<_>, _, _) =
            (held.batch.iter().map(|job| Numbered(job.0)).collect(), held.sent_at, held.probe.take());
        self.tell_breaker(&jobs, Some(Told::TimedOut), sent_at, probe, now);
    }

    fn given_up(&mut self, id: WorkerId, now: Instant) {
        let stuck = self.held.iter().find(|held| held.worker == id).expect("it still has its batch");
        assert!(self.aborted || stuck.cancelled.is_some_and(|at| at + GRACE <= now), "it had still time to stop");
        self.dispatch.worker_unable(id);
        let seat = self.workers.iter_mut().find(|(known, _)| *known == id).expect("a worker that is known");
        *seat = (WorkerId { generation: id.generation + 1, ..id }, Worker::Away);
    }

    // What holds whenever dispatch has no more orders.

    fn in_flight(&self) -> usize {
        self.held.iter().filter(|held| !held.ended).count()
    }

    fn check(&self, now: Instant) {
        assert_eq!(self.dispatch.in_flight(), self.in_flight());
        assert_eq!(self.dispatch.breaker(), self.breaker.as_ref().map(|breaker| breaker.state));
        assert!(self.dispatch.due().is_none_or(|due| due > now), "what is due has been done");
        assert!(!self.jobs.iter().any(|job| matches!(job.place, Place::Judged(_))), "nobody waits for a known reply");
        let late = |job: &Known| matches!(job.place, Place::Waiting { .. }) && job.is_late(now);
        assert!(!self.jobs.iter().any(late), "who is late is told in time");
        let timeout = self.settings.timeout.map_or(Duration::MAX, |limit| MS * limit);
        let in_time = |held: &Held| held.ended || held.cancelled.is_some() || now - held.beat_at < timeout;
        assert!(self.held.iter().all(in_time), "a time-out comes in time");
        let given_up = |held: &Held| !self.workers.iter().any(|(worker, _)| *worker == held.worker);
        let obeys = |held: &Held| held.cancelled.is_none_or(|at| now - at < GRACE) || given_up(held);
        assert!(self.held.iter().all(obeys), "who does not stop is given up");
    }

    // The end.

    /// Nobody holds anything back any more; workers answer, come back, and time goes from one due moment to the next.
    pub(super) fn drain(&mut self, answer: &Answer) {
        self.step(Step::Refuse(false));
        self.take_back();
        self.paused = false;
        self.settings.max_in_flight = self.settings.max_in_flight.map(|most| most.max(1));
        self.dispatch.drain();
        for round in 0.. {
            assert!(round < 10_000, "it takes for ever");
            (0..self.workers.len()).for_each(|seat| self.come_back(seat));
            self.pump();
            if self.jobs.iter().all(|job| job.place == Place::Done) {
                return;
            }
            let answer = if let (Answer::Returned, 100..) = (answer, round) { &Answer::Ok } else { answer };
            if self.held.is_empty() {
                assert!(self.dispatch.due().is_some(), "nothing happens any more, and jobs are left");
                self.jump();
            } else {
                self.answer(round, answer);
            }
        }
    }

    pub(super) fn abort(&mut self) {
        self.take_back();
        self.aborted = true;
        self.dispatch.abort(&JobError::ShutDown, &JobError::ShutDown, Instant::now());
        self.pump();
        while !self.held.is_empty() {
            self.step(Step::Jump);
            self.answer(0, &Answer::Ok);
        }
        self.pump();
    }

    pub(super) fn check_the_end(&self) {
        assert!(self.jobs.iter().all(|job| job.place == Place::Done));
        assert_eq!((self.dispatch.ready(), self.dispatch.in_flight()), (0, 0));
        assert_eq!(self.tally.succeeded + self.tally.failed.total(), self.jobs.len() as u64);
        assert!(self.hear().is_empty());
        self.check_rate();
    }

    /// In any window, what has left before its last batch is at most the burst and what the rate allows in that time, and in the
    /// moment by which somebody who was held back may come late.
    #[allow(clippy::cast_precision_loss, reason = "a few hundred jobs")]
    fn check_rate(&self) {
        let Some(rate) = &self.settings.rate else { return };
        let weight = |jobs: usize| if rate.of_jobs { jobs as f64 } else { 1.0 };
        for (at, (start, _)) in self.departures.iter().enumerate() {
            let mut left = 0.0;
            for (end, jobs) in &self.departures[at..] {
                let window = *end - *start + RateLimit::LATE;
                let allowed = rate.burst + rate.per_second * window.as_secs_f64();
                assert!(left <= allowed + 1e-3, "{left} left where {allowed} may");
                left += weight(*jobs);
            }
        }
    }
}

/// Whether a job is tried again.
enum Again {
    No,
    /// As the jitter has it.
    Perhaps(Place),
    Surely(Place),
}

fn fate(held: &Held, answer: &Answer) -> AttemptEnd<Numbered> {
    let jobs = held.batch.len();
    let output = |job: &Numbered| (job.0, held.batch.attempt());
    let failed = |error| JobResults::whole(JobError::Failed(Arc::new(error)), jobs);
    AttemptEnd::Answered(match answer {
        Answer::Obey if held.cancelled.is_some() => return AttemptEnd::Cancelled,
        Answer::Panic => return AttemptEnd::Panicked,
        Answer::Lost => return AttemptEnd::Lost,
        Answer::Ok | Answer::Obey | Answer::Returned => {
            Outcomes::<Numbered>::in_order(held.batch.iter().map(output)).results(jobs)
        }
        Answer::Each(codes) => {
            let each = |(job, code): (&Numbered, &u8)| match code {
                0 => Err("busy"),
                1 => Err(HOPELESS),
                _ => Ok(output(job)),
            };
            Outcomes::each(held.batch.iter().zip(codes).map(each)).results(jobs)
        }
        Answer::Error => failed("busy"),
        Answer::Hopeless => failed(HOPELESS),
        Answer::Mismatch => Outcomes::in_order([]).results(jobs),
        Answer::TooLarge => Outcomes::too_large().results(jobs),
    })
}

/// What each job would be told by this answer.
fn told(held: &Held, answer: &Answer) -> Vec<Told> {
    let whole = |told| vec![told; held.batch.len()];
    let output = |job: &Numbered| Told::Output(job.0, held.batch.attempt());
    match answer {
        _ if held.cancelled.is_some() => whole(Told::TimedOut),
        Answer::Ok | Answer::Obey | Answer::Returned => held.batch.iter().map(output).collect(),
        Answer::Each(codes) => {
            let told = |(job, code): (&Numbered, &u8)| match code {
                0 => Told::Failed,
                1 => Told::Hopeless,
                _ => output(job),
            };
            held.batch.iter().zip(codes).map(told).collect()
        }
        Answer::Error => whole(Told::Failed),
        Answer::Hopeless => whole(Told::Hopeless),
        Answer::Mismatch => whole(Told::Mismatch),
        Answer::TooLarge => whole(Told::TooLarge),
        Answer::Panic => whole(Told::Panicked),
        Answer::Lost => whole(Told::Lost),
    }
}
