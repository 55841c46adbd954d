//! The bell, with which any thread wakes the collector's actor.

use std::{fmt, task::Waker};

use crate::sync::{AtomicBool, AtomicWaker, Ordering};

/// Wakes the actor. Many rings between two answers are one wake-up.
///
/// A thread rings after it has changed the state. The actor answers before it looks at the state. So a ring that comes while
/// the actor looks makes it look again.
#[derive(Default)]
pub(crate) struct Bell {
    rung: AtomicBool,
    waker: AtomicWaker,
}

impl fmt::Debug for Bell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bell")
    }
}

impl Bell {
    /// Wakes the actor, unless the bell has rung since the last answer.
    pub(crate) fn ring(&self) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            self.waker.wake();
        }
    }

    /// Sets the waker of the actor.
    pub(crate) fn listen(&self, waker: &Waker) {
        self.waker.register(waker);
    }

    /// Answers the bell. Returns whether it has rung since the last answer.
    pub(crate) fn answer(&self) -> bool {
        self.rung.swap(false, Ordering::AcqRel)
    }
}
