//! A run: replies that wait in one place, of consecutive jobs.

use std::{
    ops::Range,
    sync::{Arc, atomic::Ordering},
};

use super::Block;
use crate::job::Job;

/// Replies that wait in one place, of consecutive jobs.
pub(super) enum Run<J: Job> {
    /// Consecutive slots of one block.
    Slots { block: Arc<Block<J>>, at: u32, len: u32 },
    /// The next `len` requesters of the [`Replies`](super::Replies), from job `first` on.
    Requesters { first: u64, len: u32 },
}

impl<J: Job> Run<J> {
    pub(super) fn len(&self) -> u32 {
        match self {
            Self::Slots { len, .. } | Self::Requesters { len, .. } => *len,
        }
    }

    /// The numbers of its jobs.
    pub(super) fn ids(&self) -> Range<u64> {
        let first = match self {
            Self::Slots { block, at, .. } => block.id(*at).0,
            Self::Requesters { first, .. } => *first,
        };
        first..first + u64::from(self.len())
    }

    /// Whether a caller may have gone: a hint that takes no lock. Requesters always count as waiting, because actix does not tell whether
    /// one has gone.
    pub(super) fn may_be_abandoned(&self) -> bool {
        match self {
            Self::Slots { block, .. } => block.abandoned.load(Ordering::Relaxed) > 0,
            Self::Requesters { .. } => false,
        }
    }
}
