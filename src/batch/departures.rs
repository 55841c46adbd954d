//! Departures: how the actor learns that callers have gone while other jobs need room.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use crate::bell::Bell;

/// The callers that have gone since the actor last looked.
#[derive(Default)]
pub(crate) struct Departures {
    count: AtomicUsize,
    /// Whether other jobs need room. Then the actor is woken when a caller goes.
    room_is_needed: AtomicBool,
    bell: Arc<Bell>,
}

impl Departures {
    pub(crate) fn new(bell: Arc<Bell>) -> Self {
        Self { bell, ..Self::default() }
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
