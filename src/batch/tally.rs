//! Counts how settled jobs ended.

use crate::error::{Failures, JobError};

/// How settled jobs ended.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tally {
    pub(crate) succeeded: u64,
    pub(crate) failed: Failures,
    /// Failed jobs that were sent by `do_send`: no caller learns of the failure.
    pub(crate) forgotten: u64,
}

impl Tally {
    #[inline]
    pub(super) fn count<T, E>(&mut self, reply: &Result<T, JobError<E>>) {
        match reply {
            Ok(_) => self.succeeded += 1,
            Err(error) => self.failed.count(error),
        }
    }
}
