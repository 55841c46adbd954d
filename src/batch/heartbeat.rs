//! The heartbeat with which a processor extends its time-out.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tokio::time::Instant;

/// Shared between a batch, on its worker's thread, and its flight in dispatch.
#[derive(Debug)]
pub(crate) struct Heartbeat {
    since: Instant,
    /// Nanoseconds from `since` to the last beat.
    last: AtomicU64,
}

impl Heartbeat {
    pub(crate) fn new(since: Instant) -> Self {
        Self { since, last: AtomicU64::new(0) }
    }

    pub(crate) fn beat(&self, now: Instant) {
        let nanos = now.saturating_duration_since(self.since).as_nanos();
        self.last.fetch_max(u64::try_from(nanos).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// When the last beat was.
    pub(crate) fn last(&self) -> Instant {
        let beat = self.since.checked_add(Duration::from_nanos(self.last.load(Ordering::Relaxed)));
        beat.unwrap_or(self.since)
    }
}
