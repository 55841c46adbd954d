//! How settled jobs ended, in numbers.

use crate::error::{Failures, JobError};

/// How settled jobs ended.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tally {
    pub(crate) succeeded: u64,
    pub(crate) failed: Failures,
    /// Failed jobs that came by `do_send`, so that no caller was told.
    pub(crate) forgotten: u64,
}

impl Tally {
    pub(super) fn count<T, E>(&mut self, reply: &Result<T, JobError<E>>) {
        match reply {
            Ok(_) => self.succeeded += 1,
            Err(error) => self.failed.count(error),
        }
    }
}
