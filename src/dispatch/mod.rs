//! What happens to a ready batch: gates, a worker, retry, split, settling.
//!
//! A pure state machine: no actix, no clock of its own, no I/O. It is told what happened – a batch is ready, a worker is free,
//! a worker has answered, time has passed – and its [`next`](Dispatch::next) order says what to do. Carrying it out is the
//! collector's part. One file per gate; a gate that is off is an `Option` that is `None`.
//!
//! The gates act on the first ready batch, in this order: nobody can work and nobody waits for that, paused, a deadline that has passed, a retry too late,
//! a circuit breaker that rejects, `max_in_flight`, a free worker, abandoned callers, a circuit breaker that holds, rate limit.
//! After an answer: the breaker counts it, then retry, then split, then the jobs are settled.
//!
//! Invariants:
//! - Jobs travel, replies stay: a batch in flight has its jobs at the worker and its replies here.
//! - Each flight ends once. What comes back under another flight's number comes late, and finds nothing here.
//! - Ready batches leave in order; what is tried again, or was never started, goes to the front.
//! - Waiting – for a back-off, the breaker, the rate – holds no worker.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, VecDeque},
    mem,
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    batch::{Batch, Heartbeat, JobResults, Replies, Sealed, Trigger},
    error::{ConfigError, JobError},
    job::{Job, Priority},
};

mod breaker;
#[cfg(test)]
mod model_tests;
mod rate_limit;
mod ready;
mod retry;
#[cfg(test)]
mod tests;

pub use breaker::{Breaker, BreakerState};
use breaker::{Circuit, Permit, Probe};
pub use rate_limit::RateLimit;
use ready::ReadyQueue;
pub use retry::Retry;

/// After a time-out a worker is told to stop; one that has not obeyed after this long is given up, with its thread.
const GRACE: Duration = Duration::from_secs(1);

const MILLISECOND: Duration = Duration::from_millis(1);

/// A worker's place in the pool, and which of the workers that have held it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct WorkerId {
    pub(crate) seat: usize,
    pub(crate) generation: u32,
}

/// Which hand-out of a batch to a worker is meant; from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct FlightId(pub(crate) u64);

/// The rules that the user set.
pub(crate) struct Rules<E> {
    pub(crate) retry: Option<Retry<E>>,
    pub(crate) split_poison: bool,
    pub(crate) timeout: Option<Duration>,
    pub(crate) breaker: Option<Breaker>,
    pub(crate) rate_limit: Option<RateLimit>,
    pub(crate) max_in_flight: Option<usize>,
    /// Jobs that fail are wanted back, whatever their worker does: they go to the dead letters.
    pub(crate) keeps_failed: bool,
    /// By how much longer a batch waits than one of the next higher priority before it goes first.
    pub(crate) ageing: Duration,
    /// Whether jobs are left out whose callers have gone.
    pub(crate) skip_abandoned: bool,
}

impl<E> Default for Rules<E> {
    fn default() -> Self {
        Self {
            retry: None,
            split_poison: false,
            timeout: None,
            breaker: None,
            rate_limit: None,
            max_in_flight: None,
            keeps_failed: false,
            ageing: Duration::from_secs(1),
            skip_abandoned: true,
        }
    }
}

impl<E> Rules<E> {
    const LONGEST_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);
    const LONGEST_AGEING: Duration = Duration::from_secs(24 * 60 * 60);

    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        if let Some(limit) = self.timeout.filter(|limit| *limit < MILLISECOND || *limit > Self::LONGEST_TIMEOUT) {
            return Err(ConfigError::new("timeout", format_args!("{limit:?}"), "1 ms to 24 hours"));
        }
        if self.ageing > Self::LONGEST_AGEING {
            return Err(ConfigError::new("ageing", format_args!("{:?}", self.ageing), "0 to 24 hours"));
        }
        self.retry.as_ref().map_or(Ok(()), Retry::check)?;
        self.breaker.as_ref().map_or(Ok(()), Breaker::check)?;
        self.rate_limit.as_ref().map_or(Ok(()), RateLimit::check)
    }

    /// Whether somebody has a use for the jobs of a batch that timed out.
    fn wants_overdue(&self) -> bool {
        self.split_poison || self.keeps_failed || self.retry.as_ref().is_some_and(Retry::wants_timeouts)
    }
}

/// A batch that waits: for its turn, or for its next attempt.
struct ReadyBatch<J: Job> {
    batch: Batch<J>,
    replies: Replies<J>,
    /// When the first of these jobs was accepted, however often they have been sent since.
    opened_at: Instant,
    /// What the attempt before said, where this is a retry: if it comes too late, that is the reply.
    last: Option<JobResults<J>>,
    /// As which attempt these jobs were sent last; 0: they never were.
    attempts: u32,
}

/// What stays here while the jobs are with a worker.
struct Flight<J: Job> {
    id: FlightId,
    worker: WorkerId,
    batch: u64,
    attempt: u32,
    replies: Replies<J>,
    opened_at: Instant,
    last: Option<JobResults<J>>,
    /// As which attempt they were sent before this.
    attempts: u32,
    sent_at: Instant,
    probe: Option<Probe>,
    heartbeat: Option<Arc<Heartbeat>>,
    /// Timed out; the jobs are awaited until then, to be sent again.
    overdue: Option<Instant>,
}

/// How a flight ended.
pub(crate) enum AttemptEnd<J: Job> {
    /// The processor answered.
    Answered(JobResults<J>),
    /// It panicked.
    Panicked,
    /// It stopped because it had been told to.
    Cancelled,
    /// The worker went away with the batch begun.
    Lost,
}

/// What is behind jobs that end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct History {
    /// Their batch.
    pub(crate) batch: u64,
    /// As which attempt they were sent last; 0: they never were.
    pub(crate) attempts: u32,
    /// When the first job of their batch was accepted.
    pub(crate) accepted_at: Instant,
}

/// The times of a flight that has ended.
pub(crate) struct Landed {
    /// From the acceptance of its first job to its start.
    pub(crate) waited: Duration,
    /// From its start to its end.
    pub(crate) took: Duration,
    /// It had timed out, and was said to.
    pub(crate) overdue: bool,
}

/// Whether the breaker and the rate let batches through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gate {
    Open,
    /// Until then, or until something happens.
    Held(Option<Instant>),
}

/// What is to be done next.
pub(crate) enum Order<J: Job> {
    /// Hand the batch to the worker.
    Send { worker: WorkerId, flight: FlightId, batch: Batch<J>, waited_since: Instant },
    /// These jobs end here. `jobs` is empty where a worker still has them.
    Settle { replies: Replies<J>, results: JobResults<J>, jobs: Vec<J>, history: History },
    /// Stop what the worker is doing with this flight, and build it anew.
    Cancel { worker: WorkerId, flight: FlightId },
    /// The worker was told to stop and has not: it is lost, with its thread.
    GiveUp { worker: WorkerId },
    /// To be told: a flight has timed out.
    TimedOut { batch: u64, jobs: usize, attempt: u32, waited: Duration, took: Duration },
    /// To be told: a new batch of jobs that were sent before, tried again at this time.
    Retrying { from: u64, batch: u64, jobs: usize, attempt: u32, at: Instant },
    /// To be told: a batch has waited for its next attempt long enough.
    Again { batch: u64 },
    /// To be told: a batch was halved.
    Split { batch: u64, into: [u64; 2], jobs: [usize; 2], attempt: u32 },
    /// To be told: the breaker lets through less, or more.
    Breaker(BreakerState),
}

pub(crate) struct Dispatch<J: Job> {
    rules: Rules<J::Error>,
    circuit: Option<Circuit>,
    ready: ReadyQueue<J>,
    /// By the end of the delay; of equal ends, in the order of their failures.
    backing_off: BTreeMap<(Instant, u64), ReadyBatch<J>>,
    free: VecDeque<WorkerId>,
    flights: Vec<Flight<J>>,
    /// When deadlines of waiting jobs pass: of each batch the earliest, or earlier ones that have lost their meaning.
    deadlines: BinaryHeap<Reverse<Instant>>,
    /// Workers that were told to stop, and until when they may.
    stopping: Vec<(WorkerId, Instant)>,
    orders: VecDeque<Order<J>>,
    /// When a gate may open that holds the first ready batch, or the next one to come.
    held_until: Option<Instant>,
    paused: bool,
    draining: bool,
    /// Ready batches fail instead of waiting: every worker rests, and the builder wanted that.
    refusing: bool,
    batches: u64,
    handed_out: u64,
}

impl<J: Job> Dispatch<J> {
    /// So many deadlines may have lost their meaning before they are looked through.
    const SPARE_DEADLINES: usize = 64;

    pub(crate) fn new(rules: Rules<J::Error>) -> Self {
        Self {
            circuit: rules.breaker.clone().map(Circuit::new),
            ready: ReadyQueue::new(rules.ageing),
            rules,
            backing_off: BTreeMap::new(),
            free: VecDeque::new(),
            flights: Vec::new(),
            deadlines: BinaryHeap::new(),
            stopping: Vec::new(),
            orders: VecDeque::new(),
            held_until: None,
            paused: false,
            draining: false,
            refusing: false,
            batches: 0,
            handed_out: 0,
        }
    }

    /// A batch has left the intake. Returns its number.
    pub(crate) fn batch_ready(&mut self, sealed: Sealed<J>) -> u64 {
        let Sealed { jobs, replies, trigger, opened_at, priority } = sealed;
        debug_assert_eq!(jobs.len(), replies.len());
        self.note_deadline(&replies);
        let batch = self.new_batch(jobs, trigger, 1, priority);
        let id = batch.id();
        self.ready.push_back(ReadyBatch { batch, replies, opened_at, last: None, attempts: 0 });
        id
    }

    fn new_batch(&mut self, jobs: Vec<J>, trigger: Trigger, attempt: u32, priority: Priority) -> Batch<J> {
        let id = self.batches;
        self.batches += 1;
        Batch::new(jobs, id, trigger, attempt, priority)
    }

    /// A worker can take a batch.
    pub(crate) fn worker_free(&mut self, worker: WorkerId) {
        self.stopping.retain(|(stopping, _)| *stopping != worker);
        self.free.push_back(worker);
    }

    /// A worker can take no batch until it is said to be free again.
    pub(crate) fn worker_unable(&mut self, worker: WorkerId) {
        self.stopping.retain(|(stopping, _)| *stopping != worker);
        self.free.retain(|free| *free != worker);
    }

    /// Whether a worker is free, and no batch waits for it.
    pub(crate) fn is_idle(&self) -> bool {
        !self.paused && !self.refusing && self.ready.is_empty() && !self.is_busy()
    }

    /// Whether a batch that came now would be gone at once: to a worker, or because nothing waits.
    pub(crate) fn is_open(&self, now: Instant) -> bool {
        self.is_idle() && self.gate(now) == Gate::Open
    }

    /// Whether batches wait for nothing but a worker.
    pub(crate) fn wants_workers(&self, now: Instant) -> bool {
        let only_workers = !self.paused && !self.ready.is_empty() && self.free.is_empty() && !self.is_at_limit();
        only_workers && self.gate(now) == Gate::Open
    }

    /// Whether the breaker and the rate let a batch through.
    fn gate(&self, now: Instant) -> Gate {
        match self.circuit.as_ref().map(|circuit| circuit.outlook(now)) {
            Some(Permit::Hold(until)) => Gate::Held(until),
            Some(Permit::Reject { .. }) => Gate::Open,
            Some(Permit::Go) | None => {
                let later = self.rules.rate_limit.as_ref().and_then(|limit| limit.look(now).err());
                later.map_or(Gate::Open, |later| Gate::Held(Some(later)))
            }
        }
    }

    /// Takes a free worker out, to be let go.
    pub(crate) fn take_free_worker(&mut self) -> Option<WorkerId> {
        self.free.pop_back()
    }

    /// Whether ready batches are held back. A drain overrides it, also one that came before.
    pub(crate) fn pause(&mut self, paused: bool) {
        self.paused = paused && !self.draining;
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.paused
    }

    /// Whether ready batches fail with `NoWorkers` instead of waiting.
    pub(crate) fn refuse(&mut self, refusing: bool) {
        self.refusing = refusing;
    }

    /// How many batches may be with workers at once; 0 holds everything.
    pub(crate) fn limit_in_flight(&mut self, batches: usize) {
        self.rules.max_in_flight = Some(batches.max(usize::from(self.draining)));
    }

    /// Everything is to be sent: nobody may hold it back any more.
    pub(crate) fn drain(&mut self) {
        self.draining = true;
        self.paused = false;
        self.rules.max_in_flight = self.rules.max_in_flight.map(|most| most.max(1));
    }

    /// The next thing to do, until there is none.
    pub(crate) fn next(&mut self, now: Instant) -> Option<Order<J>> {
        self.held_until = None;
        self.look_at_the_time(now);
        while self.orders.is_empty() && self.advance(now) {}
        self.orders.pop_front()
    }

    /// What was still to be done, when nothing new is to begin.
    pub(crate) fn take_order(&mut self) -> Option<Order<J>> {
        self.orders.pop_front()
    }

    /// When time alone will give something to do.
    pub(crate) fn due(&self) -> Option<Instant> {
        let back_off = self.backing_off.first_key_value().map(|((at, _), _)| *at);
        let deadlines = self.flights.iter().filter_map(|flight| self.deadline(flight));
        let stopping = self.stopping.iter().map(|(_, until)| *until);
        let deadline = self.deadlines.peek().filter(|_| self.ready() > 0).map(|Reverse(deadline)| *deadline);
        let too_late = self.ready.front().filter(|_| !self.paused).and_then(|ready| self.last_chance(ready));
        let too_late = too_late.and_then(|at| at.checked_add(MILLISECOND));
        let due = deadlines.chain(stopping).chain(back_off).chain(deadline);
        due.chain(self.held_until).chain(too_late).min()
    }

    fn look_at_the_time(&mut self, now: Instant) {
        if self.backing_off.first_key_value().is_some_and(|((at, _), _)| *at <= now) {
            self.end_back_offs(now);
        }
        if self.deadlines.peek().is_some_and(|Reverse(deadline)| *deadline <= now) {
            self.expire(now);
        }
        if self.rules.timeout.is_some() {
            self.time_out(now);
        }
        while let Some(late) = self.stopping.iter().position(|(_, until)| *until <= now) {
            let (worker, _) = self.stopping.swap_remove(late);
            self.orders.push_back(Order::GiveUp { worker });
        }
    }

    fn note_deadline(&mut self, replies: &Replies<J>) {
        let Some(deadline) = replies.deadline() else { return };
        // Those of batches that have gone since must not pile up.
        if self.deadlines.len() > 2 * self.ready() + Self::SPARE_DEADLINES {
            self.gather_deadlines();
        }
        self.deadlines.push(Reverse(deadline));
    }

    /// Those of the batches that wait, and no others.
    fn gather_deadlines(&mut self) {
        let waiting = self.ready.iter().chain(self.backing_off.values());
        self.deadlines = waiting.filter_map(|ready| ready.replies.deadline()).map(Reverse).collect();
    }

    /// Settles the waiting jobs whose deadlines have passed.
    fn expire(&mut self, now: Instant) {
        for ready in self.ready.take() {
            if let Some(ready) = self.without_late(ready, now) {
                self.ready.push_back(ready);
            }
        }
        for (at, ready) in mem::take(&mut self.backing_off) {
            if let Some(ready) = self.without_late(ready, now) {
                self.backing_off.insert(at, ready);
            }
        }
        self.gather_deadlines();
    }

    /// What is left of a waiting batch. The late ones of a retry are told what the attempt before said.
    fn without_late(&mut self, ready: ReadyBatch<J>, now: Instant) -> Option<ReadyBatch<J>> {
        let Some(late) = ready.replies.late(now) else { return Some(ready) };
        self.take_out(ready, &late, |last, jobs| last.unwrap_or_else(|| JobResults::whole(JobError::Expired, jobs)))
    }

    /// Settles the marked jobs of a waiting batch, and returns what is left of it. `results` is told what the attempt before said,
    /// if there was one, and how many jobs they are.
    fn take_out(
        &mut self,
        ready: ReadyBatch<J>,
        marked: &[bool],
        results: impl FnOnce(Option<JobResults<J>>, usize) -> JobResults<J>,
    ) -> Option<ReadyBatch<J>> {
        let ReadyBatch { batch, replies, opened_at, last, attempts } = ready;
        let (id, trigger, attempt, priority) = (batch.id(), batch.trigger(), batch.attempt(), batch.priority());
        let (out, kept) = Part { jobs: batch.into_jobs(), replies }.part(marked);
        let (out_last, kept_last) = last.map(|last| part(last, marked)).unzip();
        // As verdicts both can be dropped whatever the errors in them do.
        let (out_last, last) = (out_last.map(JobResults::of), kept_last.map(JobResults::of));
        let results = results(out_last, out.jobs.len());
        let history = History { batch: id, attempts, accepted_at: opened_at };
        self.orders.push_back(Order::Settle { replies: out.replies, results, jobs: out.jobs, history });
        if kept.jobs.is_empty() {
            return None;
        }
        let batch = Batch::new(kept.jobs, id, trigger, attempt, priority);
        Some(ReadyBatch { batch, replies: kept.replies, opened_at, last, attempts })
    }

    /// Moves the first ready batch one step; `false`: it has to wait, or there is none.
    fn advance(&mut self, now: Instant) -> bool {
        if self.refusing {
            return self.settle_first(&JobError::NoWorkers);
        }
        if self.paused {
            return false;
        }
        if self.ready.is_empty() {
            self.look_ahead(now);
            return false;
        }
        if self.give_up_first(now) {
            return true;
        }
        let permit = self.permit(now);
        if let Permit::Reject { retry_in } = permit {
            return self.settle_first(&JobError::CircuitOpen { retry_in });
        }
        if self.is_busy() || self.skip_abandoned() {
            return !self.orders.is_empty();
        }
        if let Permit::Hold(until) = permit {
            self.held_until = until;
            return false;
        }
        self.take_off(now)
    }

    /// Nothing is ready, but what is open may wait for a gate.
    fn look_ahead(&mut self, now: Instant) {
        if !self.is_busy()
            && let Gate::Held(until) = self.gate(now)
        {
            self.held_until = until;
        }
    }

    /// A retry that would begin too late does not.
    fn give_up_first(&mut self, now: Instant) -> bool {
        let Some(first) = self.ready.front() else { return false };
        if self.last_chance(first).is_none_or(|at| now <= at) {
            return false;
        }
        let Some(ReadyBatch { batch, replies, opened_at, last: Some(results), attempts }) = self.ready.pop_front()
        else {
            return false;
        };
        let history = History { batch: batch.id(), attempts, accepted_at: opened_at };
        self.orders.push_back(Order::Settle { replies, results, jobs: batch.into_jobs(), history });
        true
    }

    /// Until when a retry may begin.
    fn last_chance(&self, ready: &ReadyBatch<J>) -> Option<Instant> {
        let retry = self.rules.retry.as_ref().filter(|_| ready.last.is_some())?;
        retry.last_chance(ready.opened_at)
    }

    fn is_busy(&self) -> bool {
        self.free.is_empty() || self.is_at_limit()
    }

    fn is_at_limit(&self) -> bool {
        self.rules.max_in_flight.is_some_and(|most| self.flights.len() >= most)
    }

    fn permit(&mut self, now: Instant) -> Permit {
        let Some(circuit) = &mut self.circuit else { return Permit::Go };
        let before = circuit.state();
        let permit = circuit.permit(now);
        self.tell_breaker(before);
        permit
    }

    fn tell_breaker(&mut self, before: BreakerState) {
        if let Some(state) = self.circuit.as_ref().map(Circuit::state).filter(|state| *state != before) {
            self.orders.push_back(Order::Breaker(state));
        }
    }

    /// The first ready batch leaves for a worker, if the rate allows.
    fn take_off(&mut self, now: Instant) -> bool {
        let Some(jobs) = self.ready.front().map(|ready| ready.batch.len()) else { return false };
        if let Some(Err(later)) = self.rules.rate_limit.as_ref().map(|limit| limit.take(jobs, now)) {
            self.held_until = Some(later);
            return false;
        }
        let (Some(ready), Some(worker)) = (self.ready.pop_front(), self.free.pop_front()) else { return false };
        self.hand_out(ready, worker, now);
        true
    }

    fn hand_out(&mut self, ready: ReadyBatch<J>, worker: WorkerId, now: Instant) {
        let ReadyBatch { mut batch, replies, opened_at, last, attempts } = ready;
        self.handed_out += 1;
        let id = FlightId(self.handed_out);
        let heartbeat = self.rules.timeout.map(|_| Arc::new(Heartbeat::new(now)));
        batch.set_heartbeat(heartbeat.clone());
        batch.set_spans(replies.spans());
        let probe = self.circuit.as_mut().and_then(Circuit::sent);
        self.flights.push(Flight {
            id,
            worker,
            batch: batch.id(),
            attempt: batch.attempt(),
            replies,
            opened_at,
            last,
            attempts,
            sent_at: now,
            probe,
            heartbeat,
            overdue: None,
        });
        self.orders.push_back(Order::Send { worker, flight: id, batch, waited_since: opened_at });
    }

    fn settle_first(&mut self, error: &JobError<J::Error>) -> bool {
        let Some(ready) = self.ready.pop_front() else { return false };
        self.settle_whole(ready, error.clone());
        true
    }

    fn settle_whole(&mut self, batch: ReadyBatch<J>, error: JobError<J::Error>) {
        let ReadyBatch { batch, replies, opened_at: accepted_at, attempts, .. } = batch;
        let results = JobResults::whole(error, replies.len());
        let history = History { batch: batch.id(), attempts, accepted_at };
        self.orders.push_back(Order::Settle { replies, results, jobs: batch.into_jobs(), history });
    }

    /// Takes the jobs whose callers have gone out of the first ready batch. Returns whether there were any.
    fn skip_abandoned(&mut self) -> bool {
        if !self.rules.skip_abandoned {
            return false;
        }
        let Some(abandoned) = self.ready.front().and_then(|ready| ready.replies.abandoned()) else { return false };
        let Some(ready) = self.ready.pop_front() else { return false };
        if let Some(kept) = self.take_out(ready, &abandoned, |_, jobs| JobResults::whole(JobError::Abandoned, jobs)) {
            self.ready.push_front(kept);
        }
        true
    }

    /// A flight has ended. `None`: it had ended before, this comes late, and is dropped.
    pub(crate) fn landed(
        &mut self,
        id: FlightId,
        fate: AttemptEnd<J>,
        batch: Batch<J>,
        now: Instant,
    ) -> Option<Landed> {
        let flight = self.take_flight(id)?;
        let took = now.saturating_duration_since(flight.sent_at);
        let waited = flight.sent_at.saturating_duration_since(flight.opened_at);
        let results = match fate {
            _ if flight.overdue.is_some() => JobResults::whole(JobError::TimedOut, batch.len()),
            AttemptEnd::Answered(results) => results,
            AttemptEnd::Panicked => JobResults::whole(JobError::Panicked, batch.len()),
            // It is told to stop only when it has timed out.
            AttemptEnd::Cancelled => JobResults::whole(JobError::TimedOut, batch.len()),
            AttemptEnd::Lost => JobResults::whole(JobError::Lost, batch.len()),
        };
        if flight.overdue.is_none() {
            self.count(results.whole_failure().is_some(), took, flight.probe, now);
        }
        let Flight { replies, opened_at, overdue, .. } = flight;
        let attempts = batch.attempt();
        self.judge(ReadyBatch { batch, replies, opened_at, last: None, attempts }, results, now);
        Some(Landed { waited, took, overdue: overdue.is_some() })
    }

    fn take_flight(&mut self, id: FlightId) -> Option<Flight<J>> {
        let position = self.flights.iter().position(|flight| flight.id == id)?;
        Some(self.flights.swap_remove(position))
    }

    fn count(&mut self, failed: bool, took: Duration, probe: Option<Probe>, now: Instant) {
        let Some(circuit) = &mut self.circuit else { return };
        let before = circuit.state();
        circuit.answered(failed, took, probe, now);
        self.tell_breaker(before);
    }

    /// Retry, split, or settle.
    fn judge(&mut self, sent: ReadyBatch<J>, results: JobResults<J>, now: Instant) {
        if let JobResults::TooLarge(_) = results {
            return self.shrink(sent);
        }
        if let Some(error) = results.whole_failure() {
            let error = error.clone();
            return self.failed(sent, error, now);
        }
        match self.rules.retry.as_ref().and_then(|retry| retry.next(sent.batch.attempt(), sent.opened_at, now)) {
            Some(at) => self.retry_some(sent, results, at),
            None => self.settle(sent, results),
        }
    }

    fn settle(&mut self, sent: ReadyBatch<J>, results: JobResults<J>) {
        let history = History { batch: sent.batch.id(), attempts: sent.attempts, accepted_at: sent.opened_at };
        let (replies, jobs) = (sent.replies, sent.batch.into_jobs());
        self.orders.push_back(Order::Settle { replies, results, jobs, history });
    }

    /// The batch failed whole.
    fn failed(&mut self, mut sent: ReadyBatch<J>, error: JobError<J::Error>, now: Instant) {
        let retry = self.rules.retry.as_ref().filter(|retry| retry.is_worth(&error));
        if let Some(at) = retry.and_then(|retry| retry.next(sent.batch.attempt(), sent.opened_at, now)) {
            sent.last = Some(JobResults::whole(error, sent.batch.len()));
            return self.back_off(sent, at);
        }
        let is_open = self.circuit.as_ref().is_some_and(|circuit| circuit.state() != BreakerState::Closed);
        if self.rules.split_poison && sent.batch.len() > 1 && may_be_poison(&error) && !is_open {
            let attempt = sent.batch.attempt() + 1;
            return self.halve(sent, attempt);
        }
        self.settle_whole(sent, error);
    }

    /// The processor wants smaller batches. That spends no attempt.
    fn shrink(&mut self, sent: ReadyBatch<J>) {
        if sent.batch.len() > 1 {
            let attempt = sent.batch.attempt();
            return self.halve(sent, attempt);
        }
        self.settle_whole(sent, JobError::TooLarge);
    }

    fn halve(&mut self, sent: ReadyBatch<J>, attempt: u32) {
        let ReadyBatch { batch, replies, opened_at, attempts, .. } = sent;
        let (id, jobs, priority) = (batch.id(), batch.len(), batch.priority());
        let sizes = [jobs.div_ceil(2), jobs / 2];
        let first: Vec<bool> = (0..jobs).map(|position| position < sizes[0]).collect();
        let (left, right) = Part { jobs: batch.into_jobs(), replies }.part(&first);
        let [right, left] = [right, left].map(|Part { jobs, replies }| {
            self.note_deadline(&replies);
            let batch = self.new_batch(jobs, Trigger::Split, attempt, priority);
            let id = batch.id();
            self.ready.push_front(ReadyBatch { batch, replies, opened_at, last: None, attempts });
            id
        });
        self.orders.push_back(Order::Split { batch: id, into: [left, right], jobs: sizes, attempt });
    }

    fn back_off(&mut self, sent: ReadyBatch<J>, at: Instant) {
        let ReadyBatch { batch, replies, opened_at, last, attempts } = sent;
        let (from, jobs, attempt, priority) = (batch.id(), batch.len(), batch.attempt() + 1, batch.priority());
        self.note_deadline(&replies);
        let batch = self.new_batch(batch.into_jobs(), Trigger::Retry, attempt, priority);
        let id = batch.id();
        self.backing_off.insert((at, id), ReadyBatch { batch, replies, opened_at, last, attempts });
        self.orders.push_back(Order::Retrying { from, batch: id, jobs, attempt, at });
    }

    /// Some jobs failed by themselves: those that are worth it are tried again, the others are settled.
    fn retry_some(&mut self, sent: ReadyBatch<J>, results: JobResults<J>, at: Instant) {
        let Some(retry) = &self.rules.retry else { return self.settle(sent, results) };
        let results: Vec<_> = results.collect();
        let again: Vec<_> =
            results.iter().map(|result| matches!(result, Err(error) if retry.is_worth(error))).collect();
        if !again.contains(&true) {
            return self.settle(sent, JobResults::of(results));
        }
        let ReadyBatch { batch, replies, opened_at, attempts, .. } = sent;
        let (id, trigger, attempt, priority) = (batch.id(), batch.trigger(), batch.attempt(), batch.priority());
        let (retried, done) = Part { jobs: batch.into_jobs(), replies }.part(&again);
        let (failed, results) = part(results, &again);
        if !done.jobs.is_empty() {
            let Part { jobs, replies } = done;
            let history = History { batch: id, attempts, accepted_at: opened_at };
            let results = JobResults::of(results);
            self.orders.push_back(Order::Settle { replies, results, jobs, history });
        }
        let batch = Batch::new(retried.jobs, id, trigger, attempt, priority);
        let last = Some(JobResults::of(failed));
        self.back_off(ReadyBatch { batch, replies: retried.replies, opened_at, last, attempts }, at);
    }

    fn end_back_offs(&mut self, now: Instant) {
        let later = self.backing_off.split_off(&(now, u64::MAX));
        for ready in mem::replace(&mut self.backing_off, later).into_values().rev() {
            self.orders.push_back(Order::Again { batch: ready.batch.id() });
            self.ready.push_front(ready);
        }
    }

    /// A worker gives a batch back that it has not started: it is the next to leave.
    pub(crate) fn returned(&mut self, id: FlightId, batch: Batch<J>) {
        let Some(Flight { replies, opened_at, last, attempts, probe, .. }) = self.take_flight(id) else {
            return;
        };
        if let Some(circuit) = &mut self.circuit {
            circuit.unsent(probe);
        }
        self.note_deadline(&replies);
        self.ready.push_front(ReadyBatch { batch, replies, opened_at, last, attempts });
    }

    fn deadline(&self, flight: &Flight<J>) -> Option<Instant> {
        if flight.overdue.is_some() {
            return flight.overdue;
        }
        flight.heartbeat.as_ref()?.last().checked_add(self.rules.timeout?)
    }

    fn time_out(&mut self, now: Instant) {
        let wants_jobs = self.rules.wants_overdue();
        while let Some(at) = self.flights.iter().position(|flight| self.deadline(flight).is_some_and(|due| due <= now))
        {
            if self.flights[at].overdue.is_none() {
                self.cancel(at, now);
                if wants_jobs {
                    self.flights[at].overdue = Some(now + GRACE);
                    continue;
                }
            }
            let flight = self.flights.swap_remove(at);
            self.settle_far(flight, JobError::TimedOut);
        }
    }

    fn cancel(&mut self, at: usize, now: Instant) {
        let Flight { id, worker, batch, attempt, opened_at, sent_at, probe, .. } = self.flights[at];
        let jobs = self.flights[at].replies.len();
        let (waited, took) = (sent_at.saturating_duration_since(opened_at), now.saturating_duration_since(sent_at));
        self.stopping.push((worker, now + GRACE));
        self.orders.push_back(Order::Cancel { worker, flight: id });
        self.orders.push_back(Order::TimedOut { batch, jobs, attempt, waited, took });
        self.count(true, took, probe, now);
    }

    /// Gives up on everything: what waits is settled with one error, what is in flight with another, and its workers are told
    /// to stop. Returns how many jobs that ends.
    pub(crate) fn abort(
        &mut self,
        waiting: &JobError<J::Error>,
        in_flight: &JobError<J::Error>,
        now: Instant,
    ) -> usize {
        let mut jobs = 0;
        let backing_off = mem::take(&mut self.backing_off).into_values();
        for ready in self.ready.take().into_iter().chain(backing_off) {
            jobs += ready.replies.len();
            self.settle_whole(ready, waiting.clone());
        }
        for flight in mem::take(&mut self.flights) {
            jobs += flight.replies.len();
            if flight.overdue.is_none() {
                self.stopping.push((flight.worker, now + GRACE));
                self.orders.push_back(Order::Cancel { worker: flight.worker, flight: flight.id });
            }
            self.settle_far(flight, in_flight.clone());
        }
        jobs
    }

    /// Settles jobs that a worker still has.
    fn settle_far(&mut self, flight: Flight<J>, error: JobError<J::Error>) {
        let Flight { batch, replies, attempt, opened_at, .. } = flight;
        let results = JobResults::whole(error, replies.len());
        let history = History { batch, attempts: attempt, accepted_at: opened_at };
        self.orders.push_back(Order::Settle { replies, results, jobs: Vec::new(), history });
    }

    /// Batches that wait for a worker, or for their next attempt.
    pub(crate) fn ready(&self) -> usize {
        self.ready.len() + self.backing_off.len()
    }

    /// Batches that are with a worker.
    pub(crate) fn in_flight(&self) -> usize {
        self.flights.len()
    }

    /// What the breaker lets through; `None`: there is none.
    pub(crate) fn breaker(&self) -> Option<BreakerState> {
        self.circuit.as_ref().map(Circuit::state)
    }
}

/// Whether one job of the batch may have made the whole batch fail.
fn may_be_poison<E>(error: &JobError<E>) -> bool {
    matches!(error, JobError::Failed(_) | JobError::Panicked | JobError::TimedOut | JobError::Mismatch { .. })
}

/// Some of a batch's jobs, and the replies that belong to them.
struct Part<J: Job> {
    jobs: Vec<J>,
    replies: Replies<J>,
}

impl<J: Job> Part<J> {
    /// Parts it in two, each in order: the jobs that are marked, and the rest.
    fn part(self, marked: &[bool]) -> (Self, Self) {
        let (taken, rest) = part(self.jobs, marked);
        let (taken_replies, rest_replies) = self.replies.partition(|position| marked[position]);
        (Self { jobs: taken, replies: taken_replies }, Self { jobs: rest, replies: rest_replies })
    }
}

/// Parts a list in two, each in order: what is marked, and the rest.
fn part<T>(list: impl IntoIterator<Item = T>, marked: &[bool]) -> (Vec<T>, Vec<T>) {
    let (mut taken, mut rest) = (Vec::new(), Vec::new());
    for (item, marked) in list.into_iter().zip(marked) {
        if *marked { taken.push(item) } else { rest.push(item) }
    }
    (taken, rest)
}
