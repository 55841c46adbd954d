//! Batches that are with a worker: how they leave, land, and time out.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    Dispatch, FlightId, GRACE, History, Order, WorkerId,
    breaker::{Circuit, Probe},
    family::Family,
    gates::Call,
    ready_batch::ReadyBatch,
};
use crate::{
    batch::{Batch, Heartbeat, JobResults, Replies},
    error::JobError,
    job::Job,
};

/// A batch that is with a worker: the jobs are there, the replies here.
pub(super) struct Flight<J: Job> {
    pub(super) id: FlightId,
    pub(super) worker: WorkerId,
    pub(super) batch: u64,
    pub(super) attempt: u32,
    pub(super) replies: Replies<J>,
    pub(super) opened_at: Instant,
    pub(super) last: Option<JobResults<J>>,
    /// The number of the last attempt before this one.
    pub(super) attempts: u32,
    pub(super) sent_at: Instant,
    pub(super) probe: Option<Probe>,
    pub(super) family: Option<Family>,
    pub(super) heartbeat: Option<Arc<Heartbeat>>,
    /// It timed out, and the jobs are awaited until then: they are needed back.
    pub(super) overdue: Option<Instant>,
}

/// How an attempt ended.
pub(crate) enum AttemptEnd<J: Job> {
    /// The processor answered.
    Answered(JobResults<J>),
    /// It panicked.
    Panicked,
    /// The worker stopped because it was told to.
    Cancelled,
    /// The worker went away while it processed the batch.
    Lost,
}

/// The times of a flight that has ended.
pub(crate) struct Landed {
    /// From the acceptance of its first job to its start.
    pub(crate) waited: Duration,
    /// From its start to its end.
    pub(crate) took: Duration,
    /// It had timed out, which was told then.
    pub(crate) overdue: bool,
}

impl<J: Job> Dispatch<J> {
    pub(super) fn send(&mut self, ready: ReadyBatch<J>, worker: WorkerId, now: Instant) {
        let (mut flight, batch) = self.flight(ready, worker, now);
        flight.probe = self.circuit.as_mut().and_then(Circuit::sent);
        let (id, waited_since) = (flight.id, flight.opened_at);
        self.flights.push(flight);
        self.orders.push_back(Order::Send { worker, flight: id, batch, waited_since });
    }

    /// Parts a batch into the flight, which stays, and what the worker gets.
    pub(super) fn flight(&mut self, ready: ReadyBatch<J>, worker: WorkerId, now: Instant) -> (Flight<J>, Batch<J>) {
        let ReadyBatch { mut batch, replies, opened_at, last, attempts, family } = ready;
        self.handed_out += 1;
        let id = FlightId(self.handed_out);
        let heartbeat = self.rules.timeout.map(|_| Arc::new(Heartbeat::new(now)));
        batch.set_heartbeat(heartbeat.clone());
        batch.set_spans(replies.spans());
        batch.set_callers(Some(replies.callers(self.rules.followed)));
        let flight = Flight {
            id,
            worker,
            batch: batch.id(),
            attempt: batch.attempt(),
            replies,
            opened_at,
            last,
            attempts,
            sent_at: now,
            probe: None,
            family,
            heartbeat,
            overdue: None,
        };
        (flight, batch)
    }

    /// A flight ends. `None`: it had ended before; this answer is late, and is dropped.
    pub(crate) fn landed(&mut self, id: FlightId, end: AttemptEnd<J>, batch: Batch<J>, now: Instant) -> Option<Landed> {
        let mut flight = self.take_flight(id)?;
        let took = now.saturating_duration_since(flight.sent_at);
        let waited = flight.sent_at.saturating_duration_since(flight.opened_at);
        let results = match end {
            _ if flight.overdue.is_some() => JobResults::whole(JobError::TimedOut, batch.len()),
            AttemptEnd::Answered(results) => results,
            AttemptEnd::Panicked => JobResults::whole(JobError::Panicked, batch.len()),
            // A worker is only told to stop when its batch timed out.
            AttemptEnd::Cancelled => JobResults::whole(JobError::TimedOut, batch.len()),
            AttemptEnd::Lost => JobResults::whole(JobError::Lost, batch.len()),
        };
        if flight.overdue.is_none() {
            self.tell_breaker(
                results.whole_failure(),
                batch.len(),
                &mut flight.family,
                Call { took, probe: flight.probe },
                now,
            );
        }
        let Flight { replies, opened_at, overdue, family, .. } = flight;
        let attempts = batch.attempt();
        self.judge(ReadyBatch { batch, replies, opened_at, last: None, attempts, family }, results, now);
        Some(Landed { waited, took, overdue: overdue.is_some() })
    }

    pub(super) fn take_flight(&mut self, id: FlightId) -> Option<Flight<J>> {
        let position = self.flights.iter().position(|flight| flight.id == id)?;
        Some(self.flights.swap_remove(position))
    }

    /// A worker gives back a batch that it has not started: the batch is the next to leave.
    pub(crate) fn returned(&mut self, id: FlightId, batch: Batch<J>) {
        let Some(Flight { replies, opened_at, last, attempts, probe, family, .. }) = self.take_flight(id) else {
            return;
        };
        if let Some(circuit) = &mut self.circuit {
            circuit.unsent(probe);
        }
        self.note_deadline(&replies);
        self.ready.push_front(ReadyBatch { batch, replies, opened_at, last, attempts, family });
    }

    pub(super) fn deadline(&self, flight: &Flight<J>) -> Option<Instant> {
        if flight.overdue.is_some() {
            return flight.overdue;
        }
        flight.heartbeat.as_ref()?.last().checked_add(self.rules.timeout?)
    }

    pub(super) fn time_out(&mut self, now: Instant) {
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
            self.settle_in_flight(flight, JobError::TimedOut);
        }
    }

    pub(super) fn cancel(&mut self, at: usize, now: Instant) {
        let Flight { id, worker, batch, attempt, opened_at, sent_at, .. } = self.flights[at];
        // The breaker hears of it now, and not again when the batch comes back.
        let probe = self.flights[at].probe.take();
        let jobs = self.flights[at].replies.len();
        let (waited, took) = (sent_at.saturating_duration_since(opened_at), now.saturating_duration_since(sent_at));
        self.stopping.push((worker, now + GRACE));
        self.orders.push_back(Order::Cancel { worker, flight: id });
        self.orders.push_back(Order::TimedOut { batch, jobs, attempt, waited, took });
        let mut family = self.flights[at].family.take();
        self.tell_breaker(Some(&JobError::TimedOut), jobs, &mut family, Call { took, probe }, now);
        self.flights[at].family = family;
    }

    /// Settles jobs that a worker still has.
    pub(super) fn settle_in_flight(&mut self, flight: Flight<J>, error: JobError<J::Error>) {
        let Flight { batch, replies, attempt, opened_at, .. } = flight;
        let results = JobResults::whole(error, replies.len());
        let history = History { batch, attempts: attempt, accepted_at: opened_at };
        self.orders.push_back(Order::Settle { replies, results, jobs: Vec::new(), history });
    }
}
