//! The states of a job.

use std::fmt;

use crate::error::JobError;

/// Where a job is on its way from the caller to the reply.
///
/// ```text
/// Waiting ─▶ Buffered ─▶ Ready ─▶ Processing ─▶ Succeeded | Failed
///                          ▲          │
///                          └ Retrying ◀┘      from each of them: Failed | Expired | Abandoned | ShutDown
/// ```
///
/// A job is accepted and joins the open batch in one step, so `Buffered` is the first state of an accepted job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum JobState {
    /// It is in the wait queue and is not accepted yet.
    Waiting,
    /// It is accepted and in the open batch, or held for its order, or following another job.
    Buffered,
    /// Its batch waits for a worker.
    Ready,
    /// A worker has its batch.
    Processing,
    /// It failed and will be tried again after a delay.
    Retrying,
    /// Its reply was an output.
    Succeeded,
    /// Its reply was an error.
    Failed,
    /// Its deadline passed before it could be sent.
    Expired,
    /// Its caller had gone before a processor saw it.
    Abandoned,
    /// A shutdown ended it before it had a result.
    ShutDown,
}

impl JobState {
    /// The state's name in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Buffered => "buffered",
            Self::Ready => "ready",
            Self::Processing => "processing",
            Self::Retrying => "retrying",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Expired => "expired",
            Self::Abandoned => "abandoned",
            Self::ShutDown => "shut_down",
        }
    }

    /// The final states.
    pub(crate) const ENDS: [Self; 5] = [Self::Succeeded, Self::Failed, Self::Expired, Self::Abandoned, Self::ShutDown];

    /// Whether the job has its reply: no other state follows.
    pub fn is_final(self) -> bool {
        Self::ENDS.contains(&self)
    }

    /// The final state of a job with this reply.
    pub(crate) fn of_reply<T, E>(reply: &Result<T, JobError<E>>) -> Self {
        match reply {
            Ok(_) => Self::Succeeded,
            Err(JobError::Expired) => Self::Expired,
            Err(JobError::Abandoned) => Self::Abandoned,
            Err(JobError::ShutDown) => Self::ShutDown,
            Err(_) => Self::Failed,
        }
    }
}

impl fmt::Display for JobState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
