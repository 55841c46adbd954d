//! What happens to a ready batch: it waits, a worker takes it, its replies are settled.
//!
//! A pure state machine: no actix, no clock of its own, no I/O. It is told what happened – a batch is ready, a worker is free,
//! a worker has answered – and its [`next`](Dispatch::next) order says what to do. Carrying it out is the collector's part.
//!
//! Invariants:
//! - Jobs travel, replies stay: a batch in flight has its jobs at the worker and its replies here.
//! - Each flight ends once. What comes back under another flight's number comes late, and finds nothing here.
//! - Ready batches leave in order; what a worker gives back unstarted goes to the front.

use std::{collections::VecDeque, mem};

use tokio::time::Instant;

use crate::{
    JobError,
    batch::{Batch, Replies, Trigger},
    job::Job,
};

/// A worker's place in the pool, and which of the workers that have held it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct WorkerId {
    pub(crate) seat: usize,
    pub(crate) generation: u32,
}

/// Which hand-out of a batch to a worker is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct FlightId(u64);

/// A batch as the intake hands it over.
pub(crate) struct Sealed<J: Job> {
    pub(crate) jobs: Vec<J>,
    pub(crate) replies: Replies<J>,
    pub(crate) trigger: Trigger,
    pub(crate) opened_at: Instant,
}

/// A batch that waits for a worker.
struct Ready<J: Job> {
    batch: Batch<J>,
    replies: Replies<J>,
    opened_at: Instant,
}

/// What stays here while the jobs are with a worker.
pub(crate) struct Flight<J: Job> {
    id: FlightId,
    pub(crate) replies: Replies<J>,
    pub(crate) opened_at: Instant,
    pub(crate) sent_at: Instant,
}

/// What is to be done next.
pub(crate) enum Order<J: Job> {
    /// Hand the batch to the worker.
    Send { worker: WorkerId, flight: FlightId, batch: Batch<J>, waited_since: Instant },
    /// These jobs end here, with this error; no worker has seen them. The jobs are to be dropped.
    Settle { replies: Replies<J>, error: JobError<J::Error>, jobs: Vec<J> },
}

pub(crate) struct Dispatch<J: Job> {
    ready: VecDeque<Ready<J>>,
    free: VecDeque<WorkerId>,
    flights: Vec<Flight<J>>,
    paused: bool,
    /// Ready batches fail instead of waiting: every worker rests, and the builder wanted that.
    refusing: bool,
    batches: u64,
    handed_out: u64,
}

impl<J: Job> Default for Dispatch<J> {
    fn default() -> Self {
        Self {
            ready: VecDeque::new(),
            free: VecDeque::new(),
            flights: Vec::new(),
            paused: false,
            refusing: false,
            batches: 0,
            handed_out: 0,
        }
    }
}

impl<J: Job> Dispatch<J> {
    /// A batch has left the intake. Returns its number.
    pub(crate) fn batch_ready(&mut self, sealed: Sealed<J>) -> u64 {
        let Sealed { jobs, replies, trigger, opened_at } = sealed;
        debug_assert_eq!(jobs.len(), replies.len());
        let id = self.batches;
        self.batches += 1;
        self.ready.push_back(Ready { batch: Batch::new(jobs, id, trigger), replies, opened_at });
        id
    }

    /// A worker can take a batch.
    pub(crate) fn worker_free(&mut self, worker: WorkerId) {
        self.free.push_back(worker);
    }

    /// A worker can take no batch until it is said to be free again.
    pub(crate) fn worker_unable(&mut self, worker: WorkerId) {
        self.free.retain(|free| *free != worker);
    }

    /// Whether a worker is free, and no batch waits for it.
    pub(crate) fn is_idle(&self) -> bool {
        !self.paused && !self.refusing && self.ready.is_empty() && !self.free.is_empty()
    }

    /// Whether ready batches are held back.
    pub(crate) fn pause(&mut self, paused: bool) {
        self.paused = paused;
    }

    /// Whether ready batches fail with `NoWorkers` instead of waiting.
    pub(crate) fn refuse(&mut self, refusing: bool) {
        self.refusing = refusing;
    }

    /// The next thing to do, until there is none.
    pub(crate) fn next(&mut self, now: Instant) -> Option<Order<J>> {
        if self.refusing {
            let Ready { batch, replies, .. } = self.ready.pop_front()?;
            return Some(Order::Settle { replies, error: JobError::NoWorkers, jobs: batch.into_jobs() });
        }
        if self.paused || self.free.is_empty() {
            return None;
        }
        let ready = self.ready.pop_front()?;
        if let Some(abandoned) = ready.replies.abandoned() {
            return Some(self.skip_abandoned(ready, &abandoned));
        }
        let worker = self.free.pop_front()?;
        Some(self.hand_out(ready, worker, now))
    }

    fn hand_out(&mut self, ready: Ready<J>, worker: WorkerId, now: Instant) -> Order<J> {
        let Ready { batch, replies, opened_at } = ready;
        let flight = FlightId(self.handed_out);
        self.handed_out += 1;
        self.flights.push(Flight { id: flight, replies, opened_at, sent_at: now });
        Order::Send { worker, flight, batch, waited_since: opened_at }
    }

    /// Takes out the jobs whose callers have gone; the rest is the next in the queue.
    fn skip_abandoned(&mut self, ready: Ready<J>, abandoned: &[bool]) -> Order<J> {
        let Ready { mut batch, replies, opened_at } = ready;
        let (gone, waited_for) = replies.partition(|position| abandoned[position]);
        let mut kept = Vec::with_capacity(waited_for.len());
        let mut skipped = Vec::with_capacity(gone.len());
        for (job, abandoned) in batch.jobs_mut().drain(..).zip(abandoned) {
            if *abandoned { skipped.push(job) } else { kept.push(job) }
        }
        *batch.jobs_mut() = kept;
        if waited_for.len() > 0 {
            self.ready.push_front(Ready { batch, replies: waited_for, opened_at });
        }
        Order::Settle { replies: gone, error: JobError::Abandoned, jobs: skipped }
    }

    /// A worker has answered, or dropped the jobs: the flight ends. `None`: it ended before, this comes late.
    pub(crate) fn landed(&mut self, flight: FlightId) -> Option<Flight<J>> {
        let position = self.flights.iter().position(|candidate| candidate.id == flight)?;
        Some(self.flights.swap_remove(position))
    }

    /// A worker gives a batch back that it has not started: it is the next to leave. `None`: done; otherwise the jobs come
    /// late, and are to be dropped.
    pub(crate) fn returned(&mut self, flight: FlightId, batch: Batch<J>) -> Option<Batch<J>> {
        let Some(Flight { replies, opened_at, .. }) = self.landed(flight) else { return Some(batch) };
        self.ready.push_front(Ready { batch, replies, opened_at });
        None
    }

    /// Gives up on everything: what waits, with its jobs, and what is in flight.
    pub(crate) fn abort(&mut self) -> Aborted<J> {
        Aborted {
            ready: self.ready.drain(..).map(|ready| (ready.replies, ready.batch.into_jobs())).collect(),
            in_flight: mem::take(&mut self.flights).into_iter().map(|flight| flight.replies).collect(),
        }
    }

    /// Batches that wait for a worker.
    pub(crate) fn ready(&self) -> usize {
        self.ready.len()
    }

    /// Batches that are with a worker.
    pub(crate) fn in_flight(&self) -> usize {
        self.flights.len()
    }
}

/// What was still to be done when everything was given up.
pub(crate) struct Aborted<J: Job> {
    pub(crate) ready: Vec<(Replies<J>, Vec<J>)>,
    pub(crate) in_flight: Vec<Replies<J>>,
}
