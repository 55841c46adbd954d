//! How many records may still be read in this run.

use std::sync::atomic::{AtomicU64, Ordering};

/// The rest of `max_records`, shared by the readers.
#[derive(Debug)]
pub(crate) struct Budget(AtomicU64);

impl Budget {
    pub(crate) fn new(records: Option<u64>) -> Self {
        Self(AtomicU64::new(records.unwrap_or(u64::MAX)))
    }

    /// Takes up to `wanted` records from the budget; `None` if it is used up.
    pub(crate) fn take(&self, wanted: usize) -> Option<usize> {
        let rest = |left: u64| Some(left.saturating_sub(wanted as u64));
        let left = self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, rest).unwrap_or_default();
        Some(usize::try_from(left).map_or(wanted, |left| left.min(wanted))).filter(|taken| *taken > 0)
    }

    /// Fewer records were read than were taken from the budget.
    pub(crate) fn give_back(&self, taken: usize, read: usize) {
        self.0.fetch_add(taken.saturating_sub(read) as u64, Ordering::AcqRel);
    }
}
