//! Departures: how the actor learns that callers have gone while other jobs need room.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use tracing::warn;

use crate::{bell::Bell, reentry::is_processing};

/// The callers that have gone since the actor last looked.
#[derive(Default)]
pub(crate) struct Departures {
    count: AtomicUsize,
    /// Whether other jobs need room. Then the actor is woken when a caller goes.
    room_is_needed: AtomicBool,
    bell: Arc<Bell>,
    collector: Arc<str>,
    /// It was said that a processor waits for its own collector.
    warned: AtomicBool,
}

impl Departures {
    pub(crate) fn new(bell: Arc<Bell>, collector: Arc<str>) -> Self {
        Self { bell, collector, ..Self::default() }
    }

    /// Warns, once, if it is a processor of this collector that waits for a job of it.
    #[inline]
    pub(super) fn waiting(&self) {
        if is_processing(&self.collector) {
            self.warn();
        }
    }

    #[cold]
    fn warn(&self) {
        if !self.warned.swap(true, Ordering::Relaxed) {
            warn!(
                collector = &*self.collector,
                "a processor waits for a job of its own collector: while no other worker is free, both wait for ever. Submit to another \
                 collector, or wait outside of `process`"
            );
        }
    }

    /// Counts a caller that has gone before its reply came.
    pub(super) fn record(&self) {
        self.count.fetch_add(1, Ordering::Release);
        if self.room_is_needed.load(Ordering::Acquire) {
            self.bell.ring();
        }
    }

    /// Whether room is needed and callers have gone since the last such call. From now on the actor is woken for a departure if
    /// room is needed.
    pub(crate) fn take(&self, room_is_needed: bool) -> bool {
        self.room_is_needed.store(room_is_needed, Ordering::Release);
        room_is_needed && self.count.swap(0, Ordering::AcqRel) > 0
    }
}
