//! What the intake counts.

use crate::error::Rejections;

/// Jobs that came in, by what became of them at the door; and how many are inside now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct IntakeCounts {
    /// Jobs accepted.
    pub accepted: u64,
    /// Jobs refused, by reason. No processor has seen them.
    pub rejected: Rejections,
    /// Those of the refused jobs that came by `do_send`, so that no caller was told.
    pub rejected_sends: u64,
    /// Accepted jobs that followed another job with the same key, and got a copy of its reply.
    pub coalesced: u64,
    /// Jobs that got the remembered outcome of an earlier job with the same key. They do not count as accepted.
    pub replayed: u64,
    /// Jobs that were answered from the cache (`CollectorBuilder::cache`). They do not count as accepted.
    pub cache_hits: u64,
    /// Jobs accepted and not yet settled, now.
    pub pending: usize,
    /// What they weigh, if `max_pending_weight` or `max_pending_per_partition` is set; otherwise 0.
    pub pending_weight: u64,
    /// Submitters in the wait queue, now.
    pub waiting: usize,
    /// Jobs that follow another one and wait for its reply. They are accepted, and need no room.
    pub following: usize,
}

impl IntakeCounts {
    /// What was counted since an earlier snapshot; `pending` and `waiting` are those of now.
    pub(super) fn since(&self, earlier: &Self) -> Self {
        Self {
            accepted: self.accepted.saturating_sub(earlier.accepted),
            rejected: self.rejected.since(&earlier.rejected),
            rejected_sends: self.rejected_sends.saturating_sub(earlier.rejected_sends),
            coalesced: self.coalesced.saturating_sub(earlier.coalesced),
            replayed: self.replayed.saturating_sub(earlier.replayed),
            cache_hits: self.cache_hits.saturating_sub(earlier.cache_hits),
            pending: self.pending,
            pending_weight: self.pending_weight,
            waiting: self.waiting,
            following: self.following,
        }
    }
}
