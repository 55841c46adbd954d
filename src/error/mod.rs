//! What can go wrong, and what to do about it.

use std::{fmt, io, sync::Arc, time::Duration};

use thiserror::Error;

mod counts;

pub use counts::{Failures, Rejections};

/// Why a job has no output.
///
/// It is a [`std::error::Error`] for every `E: Debug + Display`, so `anyhow::Error`, `String` and `Box<dyn Error>` serve as
/// a processor's error type. Cloning it clones an [`Arc`], never the processor's error.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum JobError<E> {
    /// The processor's own error, of this job or of its whole batch.
    #[error("the processor failed: {0}")]
    Failed(Arc<E>),
    /// The processor answered in order, but with another number of results than the batch has jobs.
    #[error("the processor returned {results} results for a batch of {jobs} jobs: in-order outcomes need one per job")]
    Mismatch {
        /// Jobs in the batch.
        jobs: u32,
        /// Results that the processor returned; 2³² − 1 stands for all larger numbers.
        results: u32,
    },
    /// The processor answered by key and had no result for this job's key.
    #[error("the processor returned no result for this job's key")]
    NoResult,
    /// An earlier job of the same batch has the same key and took the one result (see `Outcomes::by_key`).
    #[error("another job of the batch has the same key: use `Outcomes::lookup` where several jobs may share a result")]
    DuplicateKey,
    /// The processor panicked while this job was with it.
    #[error("the processor panicked while it processed this job's batch")]
    Panicked,
    /// The processor took longer than the time-out. Whether the job took effect is not known.
    #[error("the processor did not answer in time: whether the job took effect is not known")]
    TimedOut,
    /// The circuit breaker is open, and its rules say to refuse.
    #[error("the downstream is failing and the circuit breaker is open: try again in {retry_in:?}")]
    CircuitOpen {
        /// When the breaker sends its next probe.
        retry_in: Duration,
    },
    /// The processor said that the batch is too large, and it had only this job.
    #[error("this job alone is too large for the downstream")]
    TooLarge,
    /// The worker or the collector went away while this job was being processed. Whether it took effect is not known.
    #[error("the worker went away while it processed this job: whether it took effect is not known")]
    Lost,
    /// The job's deadline passed before it could be sent; the processor has not seen it.
    #[error("the job's deadline passed before it could be sent")]
    Expired,
    /// The caller dropped its `Submit` before the batch started; the processor has not seen the job. Only statistics say so.
    #[error("the caller went away before the job was processed")]
    Abandoned,
    /// The collector is full: `max_pending` jobs are accepted and not settled. Try again later, or use `submit`, which waits.
    #[error("the collector is full: try again later, or raise `max_pending`")]
    Overloaded,
    /// Another job holds this job's key, and holds something else (see `CollectorBuilder::idempotent_by`).
    #[error("another job with the same key holds something else: a key stands for one request only")]
    KeyConflict,
    /// No worker is able to work – each rests after failing too often, or could not be prepared – and the builder chose not to wait.
    #[error("no worker is able to work: each rests after too many restarts, or could not be prepared")]
    NoWorkers,
    /// No worker can ever be prepared: this is the fatal error of `prepare` (see `BatchProcessor::is_fatal`).
    #[error("no worker can be prepared: {0}")]
    PrepareFailed(Arc<E>),
    /// The collector is shutting down or has ended; the job did not finish.
    #[error("the collector has been shut down")]
    ShutDown,
}

// Every reply is moved a few times on its way, so its size counts.
const _: () = assert!(size_of::<JobError<()>>() <= 16);

impl<E> JobError<E> {
    pub(crate) fn mismatch(jobs: usize, results: usize) -> Self {
        let [jobs, results] = [jobs, results].map(|count| u32::try_from(count).unwrap_or(u32::MAX));
        Self::Mismatch { jobs, results }
    }

    /// The processor's own error, if that is what failed the job.
    ///
    /// [`Error::source`](std::error::Error::source) is `None` for [`Failed`](Self::Failed): it would need `E: Error`, which
    /// `anyhow::Error`, `String` and `Box<dyn Error>` are not, and generic code cannot ask a type whether it is one. This gives the
    /// error with its own type, and so its chain of causes.
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
    /// [`TimedOut`](Self::TimedOut) and [`Lost`](Self::Lost). The last two may have taken effect downstream, so only repeat
    /// idempotent jobs. [`Failed`](Self::Failed) is the processor's own error: only
    /// you know whether it passes.
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
            Self::ShutDown => Self::ShutDown,
        }
    }
}

/// Why a job was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RejectReason {
    /// `max_pending` jobs are accepted and not settled, or other jobs already wait for room.
    #[error("the collector is full")]
    Overloaded,
    /// Its deadline passed while it waited for room.
    #[error("the job's deadline passed while it waited for room")]
    Expired,
    /// Another job holds its key, and holds something else (see [`CollectorBuilder::idempotent_by`](crate::CollectorBuilder::idempotent_by)).
    #[error("another job with the same key holds something else")]
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

/// A job that was not accepted, handed back. No processor has seen it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Rejected<J> {
    /// The job, untouched.
    pub job: J,
    /// Why it was not accepted.
    pub reason: RejectReason,
}

impl<J> fmt::Debug for Rejected<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rejected").field("reason", &self.reason).finish_non_exhaustive()
    }
}

impl<J> fmt::Display for Rejected<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the job was not accepted: {}", self.reason)
    }
}

impl<J> std::error::Error for Rejected<J> {}

/// A setting that was refused: which one, its value, and what is allowed.
///
/// ```
/// use actix_batch::CollectorConfig;
///
/// let error = CollectorConfig { max_size: 0, ..Default::default() }.validate().unwrap_err();
/// assert_eq!(error.to_string(), "`max_size` must be at least 1 (got 0)");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{key}` must be {allowed} (got {value})")]
pub struct ConfigError {
    /// The setting's name: a field of [`CollectorConfig`](crate::CollectorConfig), or the environment variable.
    pub key: String,
    /// The value that was refused.
    pub value: String,
    /// What is allowed: it completes the sentence "the setting must be …".
    pub allowed: String,
}

impl ConfigError {
    pub(crate) fn new(key: &str, value: impl fmt::Display, allowed: impl Into<String>) -> Self {
        Self { key: key.to_owned(), value: value.to_string(), allowed: allowed.into() }
    }
}

/// Why a collector did not start.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// A setting is refused.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// There is no running actix `System` on this thread.
    #[error(
        "no actix `System` runs on this thread: start the collector inside one (`#[actix::main]`, `#[actix_web::main]`), or \
         call `start_on_thread()`, which brings its own"
    )]
    NoSystem,
    /// The collector's thread could not be started.
    #[error("the collector's thread could not be started: {0}")]
    Thread(#[from] io::Error),
}

/// Why there is no `Recipient` for a collector's messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RecipientError {
    /// The actor was built and has not been started.
    #[error("the collector's actor has not been started: start it, or submit through the handle")]
    NotStarted,
    /// The collector has ended.
    #[error("the collector has ended")]
    Ended,
}

/// The collector has ended, and cannot answer any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the collector has ended")]
pub struct Closed;
