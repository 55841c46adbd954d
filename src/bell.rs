//! How anyone, on any thread, wakes the collector's actor.

use std::{fmt, task::Waker};

use crate::sync::{AtomicBool, AtomicWaker, Ordering};

/// Rings until it is answered: many rings between two looks are one wake-up.
///
/// Ring after the news is in place; answer before looking for news. Then a ring that comes while the actor looks makes it
/// look again.
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
    pub(crate) fn ring(&self) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            self.waker.wake();
        }
    }

    /// Whom to wake.
    pub(crate) fn listen(&self, waker: &Waker) {
        self.waker.register(waker);
    }

    /// Whether it has rung since the last answer.
    pub(crate) fn answer(&self) -> bool {
        self.rung.swap(false, Ordering::AcqRel)
    }
}
