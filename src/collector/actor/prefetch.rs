//! Prefetches the next batch for the single worker, from the end of a turn to the start of the next one.

use std::sync::Arc;

use tokio::time::Instant;

use super::{CollectorActor, execute::dispatched};
use crate::{
    dispatch::Prefetch,
    job::Job,
    observe::{Dispatched, Event},
    processor::{BatchProcessor, NextAssignment, TakenBack},
};

/// A prefetched batch, and what is recorded of it once the worker has begun it.
pub(super) struct Prefetched<J: Job> {
    next: Arc<NextAssignment<J>>,
    waited_since: Instant,
    since: Instant,
    dispatched: Dispatched,
}

impl<P: BatchProcessor> CollectorActor<P> {
    /// The end of a turn: nothing is decided until the next one.
    pub(super) fn prefetch(&mut self, now: Instant) {
        let Some((worker, next)) = self.pool.prefetches_for() else { return };
        let Some(Prefetch { flight, batch, waited_since }) = self.dispatch.prefetch(worker, now) else { return };
        let dispatched = dispatched(&batch, worker, now.saturating_duration_since(waited_since));
        next.put(self.pool.assignment(worker, flight, batch));
        self.prefetched = Some(Prefetched { next, waited_since, since: now, dispatched });
    }

    /// The start of a turn: the worker has begun the batch, or dispatch gets it back. The reports have to be read next: that of the batch before
    /// is among them if the worker has gone on.
    pub(super) fn take_back(&mut self, now: Instant) {
        let Some(Prefetched { next, waited_since, since, dispatched }) = self.prefetched.take() else { return };
        match next.take_back() {
            Some(TakenBack::Batch(batch)) => self.dispatch.put_back(batch),
            Some(TakenBack::Begun(at)) => {
                // In tests the collector's clock may be paused while the worker's runs.
                let begun_at = at.clamp(since, now.max(since));
                self.dispatch.begun(begun_at);
                let waited = begun_at.saturating_duration_since(waited_since);
                self.begun = Some(Dispatched { waited, ..dispatched });
            }
            None => debug_assert!(false, "nothing was put where a batch was prefetched"),
        }
    }

    /// The batch before has ended, so observers may hear of the one that the worker has begun.
    pub(super) fn record_begun(&mut self) {
        if let Some(dispatched) = self.begun.take() {
            self.journal.record(Event::Dispatched(dispatched));
        }
    }
}
