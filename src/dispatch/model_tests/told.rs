//! What a caller is told.

use super::{HOPELESS, Numbered, settings::RetrySettings};
use crate::{error::JobError, job::JobResult};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// Its own number, and the attempt.
    Output(usize, u32),
    Failed,
    Hopeless,
    Mismatch,
    Panicked,
    TimedOut,
    CircuitOpen,
    TooLarge,
    Lost,
    Expired,
    NoWorkers,
    ShutDown,
}

impl From<JobResult<Numbered>> for Told {
    fn from(reply: JobResult<Numbered>) -> Self {
        match reply {
            Ok((job, attempt)) => Self::Output(job, attempt),
            Err(JobError::Failed(error)) if *error == HOPELESS => Self::Hopeless,
            Err(JobError::Failed(_)) => Self::Failed,
            Err(JobError::Mismatch { .. }) => Self::Mismatch,
            Err(JobError::Panicked) => Self::Panicked,
            Err(JobError::TimedOut) => Self::TimedOut,
            Err(JobError::CircuitOpen { .. }) => Self::CircuitOpen,
            Err(JobError::TooLarge) => Self::TooLarge,
            Err(JobError::Lost) => Self::Lost,
            Err(JobError::Expired) => Self::Expired,
            Err(JobError::NoWorkers) => Self::NoWorkers,
            Err(JobError::ShutDown) => Self::ShutDown,
            Err(error) => panic!("nobody should be told: {error}"),
        }
    }
}

impl Told {
    pub(super) fn is_worth(self, retry: &RetrySettings) -> bool {
        match self {
            Self::Failed => true,
            Self::Panicked => retry.panics,
            Self::TimedOut => retry.timeouts,
            _ => false,
        }
    }

    pub(super) fn may_be_poison(self) -> bool {
        matches!(self, Self::Failed | Self::Hopeless | Self::Mismatch | Self::Panicked | Self::TimedOut)
    }
}
