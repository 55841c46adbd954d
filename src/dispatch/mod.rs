//! What happens to a ready batch: gates, a worker, retry, split, settling.
//!
//! A pure state machine: no actix, no clock of its own, no I/O. It is told what happened – a batch is ready, a worker is free, a
//! worker has answered, time has passed – and [`next`](Dispatch::next) returns what to do. The collector does it. There is one
//! file for each gate; a gate that is off is an `Option` that is `None`.
//!
//! A batch goes ready → gates → flight → judged → settled. The gates act on the first ready batch, in this order: no worker is able
//! to work, paused, a deadline that has passed, a retry that is too late, a breaker that rejects, `max_in_flight`, a free worker,
//! abandoned callers, a breaker that holds, the rate limit. After an answer the breaker counts it; then its jobs are retried, split
//! or settled.
//!
//! Invariants:
//! - Jobs travel, replies stay: the jobs of a batch in flight are at the worker, its replies are here.
//! - Each flight ends once. An answer for a flight that has ended is late, and is dropped.
//! - Ready batches leave in order; batches that are tried again, or were never started, go to the front.
//! - Waiting – for a back-off, the breaker, the rate – holds no worker.
//! - While a batch is prefetched for a worker (`prefetch.rs`), nothing is decided.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, VecDeque},
    mem,
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    batch::{Batch, Sealed, Trigger},
    error::JobError,
    job::{Job, JobId, Priority},
};

mod breaker;
mod expiry;
mod family;
mod flights;
mod gate;
mod gates;
mod judge;
#[cfg(test)]
mod model_tests;
mod order;
mod prefetch;
mod rate_limit;
mod ready_batch;
mod ready_queue;
mod retry;
mod rules;
#[cfg(test)]
mod tests;

pub use breaker::{Breaker, BreakerState};
pub use rate_limit::RateLimit;
pub use retry::Retry;

use breaker::Circuit;
use flights::Flight;
pub(crate) use flights::{AttemptEnd, Landed};
use gate::Gate;
pub(crate) use order::{History, Order};
pub(crate) use prefetch::Prefetch;
use ready_batch::ReadyBatch;
use ready_queue::ReadyQueue;
pub(crate) use rules::Rules;

/// How long a worker has to stop after it was told to. Then it is given up, and its thread with it.
pub(crate) const GRACE: Duration = Duration::from_secs(1);

const MILLISECOND: Duration = Duration::from_millis(1);

/// A worker: its seat in the pool, and which of the seat's workers it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct WorkerId {
    pub(crate) seat: usize,
    pub(crate) generation: u32,
}

/// The number of a flight – one batch, handed to one worker – from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct FlightId(pub(crate) u64);

pub(crate) struct Dispatch<J: Job> {
    rules: Rules<J::Error>,
    circuit: Option<Circuit<J::Error>>,
    ready: ReadyQueue<J>,
    /// By the end of the delay; of equal ends, in the order of their failures.
    backing_off: BTreeMap<(Instant, u64), ReadyBatch<J>>,
    free: VecDeque<WorkerId>,
    flights: Vec<Flight<J>>,
    /// The first ready batch, while it lies where its worker can begin it.
    prefetched: Option<Flight<J>>,
    /// The earliest deadline of each waiting batch; some belong to batches that have left since.
    deadlines: BinaryHeap<Reverse<Instant>>,
    /// Workers that were told to stop, and until when they may.
    stopping: Vec<(WorkerId, Instant)>,
    orders: VecDeque<Order<J>>,
    /// When a gate may open that holds the first ready batch, or the next one to come.
    held_until: Option<Instant>,
    paused: bool,
    draining: bool,
    /// Ready batches fail with this error instead of waiting: no worker is able to work.
    refusing: Option<JobError<J::Error>>,
    batches: u64,
    handed_out: u64,
}

impl<J: Job> Dispatch<J> {
    /// How many stale deadlines are kept before they are sorted out.
    const SPARE_DEADLINES: usize = 64;

    pub(crate) fn new(rules: Rules<J::Error>) -> Self {
        Self {
            circuit: rules.breaker.clone().map(Circuit::new),
            ready: ReadyQueue::new(rules.ageing),
            rules,
            backing_off: BTreeMap::new(),
            free: VecDeque::new(),
            flights: Vec::new(),
            prefetched: None,
            deadlines: BinaryHeap::new(),
            stopping: Vec::new(),
            orders: VecDeque::new(),
            held_until: None,
            paused: false,
            draining: false,
            refusing: None,
            batches: 0,
            handed_out: 0,
        }
    }

    /// Whether a job before this number is here and not settled.
    pub(crate) fn holds_before(&self, number: u64) -> bool {
        let waiting = self.ready.iter().chain(self.backing_off.values()).map(|ready| &ready.replies);
        let flying = self.flights.iter().map(|flight| &flight.replies);
        let settling = self.orders.iter().filter_map(|order| match order {
            Order::Settle { replies, .. } => Some(replies),
            _ => None,
        });
        waiting.chain(flying).chain(settling).any(|replies| replies.holds_before(number))
    }

    /// A batch has left the intake. Returns its number.
    pub(crate) fn batch_ready(&mut self, sealed: Sealed<J>) -> u64 {
        let Sealed { jobs, replies, trigger, opened_at, priority } = sealed;
        debug_assert_eq!(jobs.len(), replies.len());
        self.note_deadline(&replies);
        let batch = self.new_batch(jobs, trigger, 1, priority);
        let id = batch.id();
        self.ready.push_back(ReadyBatch { batch, replies, opened_at, last: None, attempts: 0, family: None });
        id
    }

    fn new_batch(&mut self, jobs: Vec<J>, trigger: Trigger, attempt: u32, priority: Priority) -> Batch<J> {
        let id = self.batches;
        self.batches += 1;
        Batch::new(jobs, id, trigger, attempt, priority)
    }

    /// Jobs that have left the intake fail with this error, unseen by any processor.
    pub(crate) fn fail(&mut self, sealed: Sealed<J>, error: JobError<J::Error>) {
        let Sealed { jobs, replies, trigger, opened_at, priority } = sealed;
        let batch = self.new_batch(jobs, trigger, 1, priority);
        self.settle_whole(ReadyBatch { batch, replies, opened_at, last: None, attempts: 0, family: None }, error);
    }

    /// The batch with this job gets a higher priority if it waits.
    pub(crate) fn raise(&mut self, job: JobId, priority: Priority) {
        self.ready.raise(job, priority);
        for ready in self.backing_off.values_mut().filter(|ready| ready.replies.contains(job)) {
            let raised = ready.batch.priority().max(priority);
            ready.batch.set_priority(raised);
        }
    }

    /// Whether a worker has this job.
    pub(crate) fn is_sent(&self, job: JobId) -> bool {
        self.flights.iter().any(|flight| flight.replies.contains(job))
    }

    /// A worker can take a batch.
    pub(crate) fn worker_free(&mut self, worker: WorkerId) {
        self.stopping.retain(|(stopping, _)| *stopping != worker);
        self.free.push_back(worker);
    }

    /// A worker can take no batch until `worker_free` is called for it.
    pub(crate) fn worker_unable(&mut self, worker: WorkerId) {
        self.stopping.retain(|(stopping, _)| *stopping != worker);
        self.free.retain(|free| *free != worker);
    }

    /// Whether a worker is free, and no batch waits for it.
    pub(crate) fn is_idle(&self) -> bool {
        !self.paused && self.refusing.is_none() && self.ready.is_empty() && !self.is_busy()
    }

    /// Whether a batch that became ready now would leave at once.
    pub(crate) fn is_open(&self, now: Instant) -> bool {
        self.is_idle() && self.gate(now).is_passable()
    }

    /// Whether batches wait for nothing but a worker.
    pub(crate) fn wants_workers(&self, now: Instant) -> bool {
        let only_workers = !self.paused && !self.ready.is_empty() && self.free.is_empty() && !self.is_at_limit();
        only_workers && self.gate(now).is_passable()
    }

    /// Removes a free worker, to be retired.
    pub(crate) fn take_free_worker(&mut self) -> Option<WorkerId> {
        self.free.pop_back()
    }

    /// Holds ready batches back, or stops doing so. While draining, nothing is held back.
    pub(crate) fn pause(&mut self, paused: bool) {
        self.paused = paused && !self.draining;
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.paused
    }

    /// From now on ready batches fail with this error instead of waiting; `None`: they wait again.
    pub(crate) fn refuse(&mut self, refusing: Option<JobError<J::Error>>) {
        self.refusing = refusing;
    }

    /// How many batches may be with workers at once; 0 holds everything.
    pub(crate) fn limit_in_flight(&mut self, batches: usize) {
        self.rules.max_in_flight = Some(batches.max(usize::from(self.draining)));
    }

    /// Everything is to be sent: from now on nothing is held back.
    pub(crate) fn drain(&mut self) {
        self.draining = true;
        self.paused = false;
        self.rules.max_in_flight = self.rules.max_in_flight.map(|most| most.max(1));
    }

    /// The next thing to do, until there is none.
    pub(crate) fn next(&mut self, now: Instant) -> Option<Order<J>> {
        debug_assert!(self.prefetched.is_none(), "a batch is prefetched while dispatch decides");
        self.held_until = None;
        self.look_at_the_time(now);
        while self.orders.is_empty() && self.advance(now) {}
        self.orders.pop_front()
    }

    /// The next order that was given before, without starting anything new.
    pub(crate) fn take_order(&mut self) -> Option<Order<J>> {
        self.orders.pop_front()
    }

    /// When the next thing is due by time alone.
    pub(crate) fn due(&self) -> Option<Instant> {
        let back_off = self.backing_off.first_key_value().map(|((at, _), _)| *at);
        let deadlines = self.flights.iter().filter_map(|flight| self.deadline(flight));
        let stopping = self.stopping.iter().map(|(_, until)| *until);
        let deadline = self.deadlines.peek().filter(|_| self.ready() > 0).map(|Reverse(deadline)| *deadline);
        let too_late = self.ready.front().filter(|_| !self.paused).and_then(|ready| self.latest_start(ready));
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

    /// Moves the first ready batch one step. `false`: it has to wait, or there is none.
    fn advance(&mut self, now: Instant) -> bool {
        if let Some(error) = self.refusing.clone() {
            return self.settle_first(&error);
        }
        if self.paused {
            return false;
        }
        if self.ready.is_empty() {
            self.look_ahead(now);
            return false;
        }
        if self.settle_late_retry(now) {
            return true;
        }
        let breaker = self.ask_breaker(now);
        if let Gate::Reject { retry_in } = breaker {
            return self.settle_first(&JobError::CircuitOpen { retry_in });
        }
        if self.is_busy() || self.skip_abandoned() {
            return !self.orders.is_empty();
        }
        if let Gate::Closed(until) = breaker {
            self.held_until = until;
            return false;
        }
        self.send_first(now)
    }

    /// Sends the first ready batch to a worker, if the rate allows.
    fn send_first(&mut self, now: Instant) -> bool {
        let Some(jobs) = self.ready.front().map(|ready| ready.batch.len()) else { return false };
        if let Some(Err(later)) = self.rules.rate_limit.as_ref().map(|limit| limit.take(jobs, now)) {
            self.held_until = Some(later);
            return false;
        }
        let (Some(ready), Some(worker)) = (self.ready.pop_front(), self.free.pop_front()) else { return false };
        self.send(ready, worker, now);
        true
    }

    fn settle_first(&mut self, error: &JobError<J::Error>) -> bool {
        let Some(ready) = self.ready.pop_front() else { return false };
        self.settle_whole(ready, error.clone());
        true
    }

    /// Settles everything: waiting jobs with one error, jobs in flight with another. Their workers are told to stop.
    pub(crate) fn abort(&mut self, waiting: &JobError<J::Error>, in_flight: &JobError<J::Error>, now: Instant) {
        let backing_off = mem::take(&mut self.backing_off).into_values();
        for ready in self.ready.take().into_iter().chain(backing_off) {
            self.settle_whole(ready, waiting.clone());
        }
        for flight in mem::take(&mut self.flights) {
            if flight.overdue.is_none() {
                self.stopping.push((flight.worker, now + GRACE));
                self.orders.push_back(Order::Cancel { worker: flight.worker, flight: flight.id });
            }
            self.settle_in_flight(flight, in_flight.clone());
        }
    }

    /// Batches that wait for a worker, or for their next attempt.
    pub(crate) fn ready(&self) -> usize {
        self.ready.len() + self.backing_off.len()
    }

    /// Batches that are with a worker.
    pub(crate) fn in_flight(&self) -> usize {
        self.flights.len()
    }

    /// The breaker's state; `None` where there is no breaker.
    pub(crate) fn breaker(&self) -> Option<BreakerState> {
        self.circuit.as_ref().map(Circuit::state)
    }
}
