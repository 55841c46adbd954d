//! What can go wrong, and what to do about it.

use std::{sync::Arc, time::Duration};

use thiserror::Error;

mod blame;
mod counts;
mod rejected;
mod start;

pub use blame::Blame;
pub use counts::{Failures, Rejections};
pub use rejected::{RejectReason, Rejected};
pub use start::{ConfigError, StartError};

/// Why a job has no output.
///
/// It is a [`std::error::Error`] for every `E: Debug + Display`, so `anyhow::Error`, `String` and `Box<dyn Error>` serve as
/// a processor's error type. Cloning it clones an [`Arc`], never the processor's error.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum JobError<E> {
    /// The processor's own error, for this job or for its whole batch.
    #[error("the processor failed: {0}")]
    Failed(Arc<E>),
    /// The processor returned in-order outcomes, and their number differs from the number of jobs in the batch.
    #[error(
        "the processor returned {results} results for a batch of {jobs} jobs: in-order outcomes need one result per job"
    )]
    Mismatch {
        /// Jobs in the batch.
        jobs: u32,
        /// Results that the processor returned. 2³² − 1 also stands for all larger numbers.
        results: u32,
    },
    /// The processor returned outcomes by key, and none has this job's key.
    #[error("the processor returned no result for this job's key")]
    NoResult,
    /// An earlier job of the same batch has the same key and got the result for it (see `Outcomes::by_key`).
    #[error("another job of the batch has the same key: use `Outcomes::lookup` where several jobs may share a result")]
    DuplicateKey,
    /// The processor panicked while it processed this job's batch.
    #[error("the processor panicked while it processed this job's batch")]
    Panicked,
    /// The processor exceeded the time-out. It is not known whether the job took effect.
    #[error("the processor did not answer in time: it is not known whether the job took effect")]
    TimedOut,
    /// The circuit breaker is open, and is set to fail jobs meanwhile.
    #[error("the downstream is failing and the circuit breaker is open: try again in {retry_in:?}")]
    CircuitOpen {
        /// How long until the breaker sends its next probe.
        retry_in: Duration,
    },
    /// The downstream refused a batch of this job alone as too large (see `Outcomes::too_large`).
    #[error("this job alone is too large for the downstream")]
    TooLarge,
    /// The worker or the collector went away while this job was being processed. It is not known whether the job took effect.
    #[error("the worker went away while it processed this job: it is not known whether the job took effect")]
    Lost,
    /// The job's deadline passed before the job could be sent. No processor has seen it.
    #[error("the job's deadline passed before the job could be sent")]
    Expired,
    /// The caller dropped its `Submit` before the batch started. No processor has seen the job. Only statistics and events show
    /// this error.
    #[error("the caller went away before the job was processed")]
    Abandoned,
    /// The collector is full: `max_pending` jobs are accepted and not settled. Try again later, or use `submit`, which waits
    /// for room.
    #[error("the collector is full: try again later, or raise `max_pending`")]
    Overloaded,
    /// Another job with the same key has a different content (see `CollectorBuilder::idempotent_by`).
    #[error("another job with the same key has a different content: use a new key for each request")]
    KeyConflict,
    /// No worker can take the job's batch, because each rests after too many restarts or could not be prepared, and the builder
    /// chose not to wait.
    #[error("no worker is available: each rests after too many restarts, or could not be prepared")]
    NoWorkers,
    /// `prepare` failed with this fatal error, so no worker will be prepared (see `BatchProcessor::is_fatal`).
    #[error("no worker can be prepared: {0}")]
    PrepareFailed(Arc<E>),
    /// An earlier job of the same key failed, and the jobs that waited behind it fail with it (see
    /// `CollectorBuilder::fail_following`). No processor has seen this job.
    #[error("an earlier job of the same key failed")]
    EarlierFailed,
    /// The collector is shutting down or has ended, and the job did not finish.
    #[error("the collector has been shut down")]
    ShutDown,
}

// A reply is moved several times on its way, so its size matters.
const _: () = assert!(size_of::<JobError<()>>() <= 16);

impl<E> JobError<E> {
    pub(crate) fn mismatch(jobs: usize, results: usize) -> Self {
        let [jobs, results] = [jobs, results].map(|count| u32::try_from(count).unwrap_or(u32::MAX));
        Self::Mismatch { jobs, results }
    }

    /// The processor's own error, if that is what failed the job.
    ///
    /// Use this instead of [`Error::source`](std::error::Error::source), which is always `None` for a `JobError`. A source must
    /// be an `Error`, and `E` need not be one: `anyhow::Error`, `String` and `Box<dyn Error>` are not. Generic code cannot find
    /// out whether `E` is an `Error` without asking for `E: Error`, which would exclude these types. This method returns the
    /// error with its own type, so its own `source` is available.
    ///
    /// ```
    /// use std::{error::Error, io, sync::Arc};
    ///
    /// use actix_batch::JobError;
    ///
    /// let failed = JobError::Failed(Arc::new(io::Error::other("the disk is full".to_owned())));
    /// let cause = failed.processor_error().and_then(|error| error.get_ref());
    /// assert_eq!(cause.unwrap().to_string(), "the disk is full");
    /// assert!(JobError::<io::Error>::TimedOut.processor_error().is_none());
    /// ```
    pub fn processor_error(&self) -> Option<&E> {
        match self {
            Self::Failed(error) | Self::PrepareFailed(error) => Some(error),
            _ => None,
        }
    }

    /// Whether submitting the same job again, after a while, may succeed.
    ///
    /// `true` for [`Overloaded`](Self::Overloaded), [`NoWorkers`](Self::NoWorkers), [`CircuitOpen`](Self::CircuitOpen),
    /// [`TimedOut`](Self::TimedOut) and [`Lost`](Self::Lost). With the last two the job may have taken effect downstream, so
    /// submit it again only if it is idempotent. `false` for [`Failed`](Self::Failed), the processor's own error: only you know
    /// whether it is temporary.
    ///
    /// ```
    /// use actix_batch::JobError;
    ///
    /// assert!(JobError::<String>::Overloaded.is_retryable());
    /// assert!(!JobError::<String>::DuplicateKey.is_retryable());
    /// ```
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Overloaded | Self::NoWorkers | Self::CircuitOpen { .. } | Self::TimedOut | Self::Lost)
    }
}

impl<E> Clone for JobError<E> {
    fn clone(&self) -> Self {
        match self {
            Self::Failed(error) => Self::Failed(Arc::clone(error)),
            Self::PrepareFailed(error) => Self::PrepareFailed(Arc::clone(error)),
            Self::Mismatch { jobs, results } => Self::Mismatch { jobs: *jobs, results: *results },
            Self::NoResult => Self::NoResult,
            Self::DuplicateKey => Self::DuplicateKey,
            Self::Panicked => Self::Panicked,
            Self::TimedOut => Self::TimedOut,
            Self::CircuitOpen { retry_in } => Self::CircuitOpen { retry_in: *retry_in },
            Self::TooLarge => Self::TooLarge,
            Self::Lost => Self::Lost,
            Self::Expired => Self::Expired,
            Self::Abandoned => Self::Abandoned,
            Self::KeyConflict => Self::KeyConflict,
            Self::Overloaded => Self::Overloaded,
            Self::NoWorkers => Self::NoWorkers,
            Self::EarlierFailed => Self::EarlierFailed,
            Self::ShutDown => Self::ShutDown,
        }
    }
}

/// Why there is no `Recipient` for a collector's messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RecipientError {
    /// The actor was built but has not been started.
    #[error("the collector's actor has not been started: start it, or submit through the handle")]
    NotStarted,
    /// The collector has ended.
    #[error("the collector has ended")]
    Ended,
}

/// The collector has ended and cannot answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the collector has ended")]
pub struct Closed;

/// Why a shutdown or a barrier was not awaited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum WaitError {
    /// The collector has ended, and cannot answer.
    #[error("the collector has ended")]
    Closed,
    /// A processor of this collector asked, inside `process`. The collector would wait for that processor, and it for the collector.
    #[error(
        "a processor cannot wait inside `process` for its own collector to finish: spawn the wait, or wait outside"
    )]
    FromProcessor,
}

impl From<Closed> for WaitError {
    fn from(_: Closed) -> Self {
        Self::Closed
    }
}
