//! How the actor learns that callers have gone whose jobs take room that others need.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use crate::bell::Bell;

/// Callers that have gone since the last look.
#[derive(Default)]
pub(crate) struct Departures {
    count: AtomicUsize,
    /// Whether the room of those who go is needed: then the actor is woken.
    room_is_needed: AtomicBool,
    bell: Arc<Bell>,
}

impl Departures {
    pub(crate) fn new(bell: Arc<Bell>) -> Self {
        Self { bell, ..Self::default() }
    }

    /// A caller has gone before its reply came.
    pub(super) fn note(&self) {
        self.count.fetch_add(1, Ordering::Release);
        if self.room_is_needed.load(Ordering::Acquire) {
            self.bell.ring();
        }
    }

    /// Whether callers have gone whose room is needed. From now on the actor is woken when one goes, if room is needed.
    pub(crate) fn take(&self, room_is_needed: bool) -> bool {
        self.room_is_needed.store(room_is_needed, Ordering::Release);
        room_is_needed && self.count.swap(0, Ordering::AcqRel) > 0
    }
}
