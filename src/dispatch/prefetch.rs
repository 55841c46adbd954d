//! Prefetches the next batch for the single worker while it works.
//!
//! A worker on a thread of its own would wait after each batch until the collector's thread has time for it. So the first ready batch
//! is put where the worker can begin it by itself. Dispatch decides nothing meanwhile: before it is asked again, the batch is back in the
//! queue, or has become a flight.

use tokio::time::Instant;

use super::{Dispatch, FlightId, WorkerId, flights::Flight, ready_batch::ReadyBatch};
use crate::{batch::Batch, job::Job};

/// A batch that its worker may begin as soon as the one before it has succeeded.
pub(crate) struct Prefetch<J: Job> {
    pub(crate) flight: FlightId,
    pub(crate) batch: Batch<J>,
    pub(crate) waited_since: Instant,
}

impl<J: Job> Dispatch<J> {
    /// The batch that this worker, the only one, may begin by itself, if it is busy and there is one. To be called only when dispatch has no
    /// orders left. Then either [`begun`](Self::begun) or [`put_back`](Self::put_back) has to come before anything else.
    pub(crate) fn prefetch(&mut self, worker: WorkerId, now: Instant) -> Option<Prefetch<J>> {
        debug_assert!(self.orders.is_empty(), "what has been decided comes first");
        if !self.may_prefetch(worker) {
            return None;
        }
        let ready = self.ready.pop_front()?;
        let (flight, batch) = self.flight(ready, worker, now);
        let prefetch = Prefetch { flight: flight.id, batch, waited_since: flight.opened_at };
        self.prefetched = Some(flight);
        Some(prefetch)
    }

    /// Whether the first ready batch waits for nothing but this worker, and nothing that becomes due before the worker is free would change
    /// that.
    fn may_prefetch(&self, worker: WorkerId) -> bool {
        let is_held = self.paused || self.is_at_limit() || self.rules.rate_limit.is_some();
        let breaker_may_open = self.circuit.as_ref().is_some_and(|circuit| !circuit.stays_closed_by_success());
        !is_held
            && !breaker_may_open
            && self.backing_off.is_empty()
            && self.stopping.is_empty()
            && self.flights.iter().any(|flight| flight.worker == worker)
            && self.ready.front().is_some_and(is_new_and_may_wait)
    }

    /// The worker has begun the prefetched batch.
    pub(crate) fn begun(&mut self, now: Instant) {
        let Some(mut flight) = self.prefetched.take() else { return };
        flight.sent_at = now;
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

/// Whether it was not tried before, and may be begun at any time: a retry has a time limit, and a deadline is one.
fn is_new_and_may_wait<J: Job>(ready: &ReadyBatch<J>) -> bool {
    ready.attempts == 0 && ready.replies.deadline().is_none()
}
