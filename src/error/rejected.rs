//! A job that was rejected, and why.

use std::fmt;

use thiserror::Error;

use super::JobError;

/// Why a job was rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RejectReason {
    /// The collector is full: `max_pending` jobs are accepted and not settled.
    #[error("the collector is full")]
    Overloaded,
    /// The job's deadline passed while it waited for room.
    #[error("the job's deadline passed while it waited for room")]
    Expired,
    /// Another job with the same key has a different content (see
    /// [`CollectorBuilder::idempotent_by`](crate::CollectorBuilder::idempotent_by)).
    #[error("another job with the same key has a different content")]
    KeyConflict,
    /// The collector is shutting down or has ended.
    #[error("the collector has been shut down")]
    ShutDown,
}

impl RejectReason {
    pub(crate) const ALL: [Self; 4] = [Self::Overloaded, Self::Expired, Self::KeyConflict, Self::ShutDown];

    /// The reason's name in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Overloaded => "overloaded",
            Self::Expired => "expired",
            Self::KeyConflict => "key_conflict",
            Self::ShutDown => "shut_down",
        }
    }
}

impl<E> From<RejectReason> for JobError<E> {
    fn from(reason: RejectReason) -> Self {
        match reason {
            RejectReason::Overloaded => Self::Overloaded,
            RejectReason::Expired => Self::Expired,
            RejectReason::KeyConflict => Self::KeyConflict,
            RejectReason::ShutDown => Self::ShutDown,
        }
    }
}

/// A rejected job, handed back. No processor has seen it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Rejected<J> {
    /// The job, untouched.
    pub job: J,
    /// Why it was rejected.
    pub reason: RejectReason,
}

impl<J> fmt::Debug for Rejected<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rejected").field("reason", &self.reason).finish_non_exhaustive()
    }
}

impl<J> fmt::Display for Rejected<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the job was rejected: {}", self.reason)
    }
}

impl<J> std::error::Error for Rejected<J> {}
