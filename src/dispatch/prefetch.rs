//! Prefetches the next batch for the single worker while it works.
//!
//! A worker on a thread of its own would wait after each batch until the collector's thread has time for it. So the first ready batch
//! is put where the worker can begin it by itself. Dispatch decides nothing meanwhile: before it is asked again, the batch is back in the
//! queue, or has become a flight.

use tokio::time::Instant;

use super::{Dispatch, FlightId, WorkerId, breaker::Circuit, flights::Flight, ready_batch::ReadyBatch};
use crate::{batch::Batch, job::Job};

/// A batch that its worker may begin as soon as the one before it has succeeded.
pub(crate) struct Prefetch<J: Job> {
    pub(crate) worker: WorkerId,
    pub(crate) flight: FlightId,
    pub(crate) batch: Batch<J>,
    pub(crate) waited_since: Instant,
}

impl<J: Job> Dispatch<J> {
    /// The batch that the busy worker may begin by itself, if there is one. Dispatch has no orders left. Then either
    /// [`begun`](Self::begun) or [`put_back`](Self::put_back) has to come before anything else.
    pub(crate) fn prefetch(&mut self, now: Instant) -> Option<Prefetch<J>> {
        if !self.may_prefetch() {
            return None;
        }
        let worker = self.flights.first()?.worker;
        let ready = self.ready.pop_front()?;
        let (flight, batch) = self.flight(ready, worker, now);
        let prefetch = Prefetch { worker, flight: flight.id, batch, waited_since: flight.opened_at };
        self.prefetched = Some(flight);
        Some(prefetch)
    }

    /// Whether nothing but a worker is missing, and nothing that could happen before it is free would change what it gets.
    fn may_prefetch(&self) -> bool {
        let is_held = self.paused || self.is_at_limit() || self.rules.rate_limit.is_some();
        let breaker_may_open = self.circuit.as_ref().is_some_and(|circuit| !circuit.stays_closed_by_success());
        let is_open = self.rules.prefetches && !is_held && !breaker_may_open;
        is_open
            && self.stopping.is_empty()
            && self.free.is_empty()
            && self.ready.front().is_some_and(|ready| self.is_plain(ready))
    }

    /// Whether a batch is new, and no time and no caller who goes may change it.
    fn is_plain(&self, ready: &ReadyBatch<J>) -> bool {
        let is_abandoned = || self.rules.skip_abandoned && ready.replies.abandoned().is_some();
        ready.attempts == 0 && ready.family.is_none() && ready.replies.deadline().is_none() && !is_abandoned()
    }

    /// The worker has begun the prefetched batch.
    pub(crate) fn begun(&mut self, now: Instant) {
        let Some(mut flight) = self.prefetched.take() else { return };
        flight.sent_at = now;
        flight.probe = self.circuit.as_mut().and_then(Circuit::sent);
        if let Some(heartbeat) = &flight.heartbeat {
            heartbeat.beat(now);
        }
        self.flights.push(flight);
    }

    /// The worker has not begun the prefetched batch, which is the next to leave.
    pub(crate) fn put_back(&mut self, batch: Batch<J>) {
        let Some(Flight { replies, opened_at, last, attempts, family, .. }) = self.prefetched.take() else { return };
        self.ready.push_front(ReadyBatch { batch, replies, opened_at, last, attempts, family });
    }
}
