//! Prefetches the next batch for the single worker, from the end of a turn to the start of the next one.

use tokio::time::Instant;

use super::{CollectorActor, execute::dispatched};
use crate::{
    dispatch::{Prefetch, WorkerId},
    observe::{Dispatched, Event},
    processor::{BatchProcessor, TakenBack},
};

/// A prefetched batch, and what is recorded of it once the worker has begun it.
pub(super) struct Prefetched {
    worker: WorkerId,
    waited_since: Instant,
    since: Instant,
    dispatched: Dispatched,
}

impl<P: BatchProcessor> CollectorActor<P> {
    /// The end of a turn: nothing is decided until the next one.
    pub(super) fn prefetch(&mut self, now: Instant) {
        let Some(Prefetch { worker, flight, batch, waited_since }) = self.dispatch.prefetch(now) else { return };
        let dispatched = dispatched(&batch, worker, now.saturating_duration_since(waited_since));
        self.prefetched = Some(Prefetched { worker, waited_since, since: now, dispatched });
        self.pool.prefetch(worker, flight, batch);
    }

    /// The start of a turn: the worker has begun the batch, or dispatch gets it back.
    pub(super) fn take_back(&mut self, now: Instant) {
        let Some(Prefetched { worker, waited_since, since, dispatched }) = self.prefetched.take() else {
            return;
        };
        match self.pool.take_back(worker) {
            Some(TakenBack::Batch(batch)) => self.dispatch.put_back(batch),
            Some(TakenBack::Begun(at)) => {
                // The collector's clock may stand still.
                let begun_at = at.clamp(since, now.max(since));
                self.dispatch.begun(begun_at);
                let waited = begun_at.saturating_duration_since(waited_since);
                self.journal.record(Event::Dispatched(Dispatched { waited, ..dispatched }));
            }
            None => debug_assert!(false, "a seat changed while a batch was prefetched for it"),
        }
    }
}
