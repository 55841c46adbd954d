//! What the user asked for.

use std::time::Duration;

use super::{Breaker, RateLimit, Retry};
use crate::{
    error::{Blame, ConfigError, JobError},
    panics::catch,
};

const MILLISECOND: Duration = Duration::from_millis(1);

/// The rules of one collector: each gate that is off is `None`.
#[expect(clippy::struct_excessive_bools, reason = "each is a rule of its own")]
pub(crate) struct Rules<E> {
    pub(crate) retry: Option<Retry<E>>,
    pub(crate) split_poison: bool,
    pub(crate) timeout: Option<Duration>,
    pub(crate) breaker: Option<Breaker<E>>,
    pub(crate) rate_limit: Option<RateLimit>,
    pub(crate) max_in_flight: Option<usize>,
    /// Failed jobs go to the dead letters, so they are needed back from their worker.
    pub(crate) keeps_failed: bool,
    /// How much longer than a batch of the next higher priority a batch has to have waited to go first.
    pub(crate) ageing: Duration,
    /// Whether jobs whose callers have gone are skipped.
    pub(crate) skip_abandoned: bool,
    /// Whose fault an error of the processor is.
    pub(crate) blame: fn(&E) -> Blame,
    /// Whether other callers may follow a job, so that it is wanted when its caller has gone.
    pub(crate) followed: bool,
}

impl<E> Default for Rules<E> {
    fn default() -> Self {
        Self {
            retry: None,
            split_poison: false,
            timeout: None,
            breaker: None,
            rate_limit: None,
            max_in_flight: None,
            keeps_failed: false,
            ageing: Duration::from_secs(1),
            skip_abandoned: true,
            blame: |_| Blame::Unknown,
            followed: false,
        }
    }
}

impl<E> Rules<E> {
    const LONGEST_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);
    const LONGEST_AGEING: Duration = Duration::from_secs(24 * 60 * 60);

    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        if let Some(limit) = self.timeout.filter(|limit| *limit < MILLISECOND || *limit > Self::LONGEST_TIMEOUT) {
            return Err(ConfigError::new("timeout", format_args!("{limit:?}"), "1 ms to 24 hours"));
        }
        if self.ageing > Self::LONGEST_AGEING {
            return Err(ConfigError::new("ageing", format_args!("{:?}", self.ageing), "0 to 24 hours"));
        }
        self.retry.as_ref().map_or(Ok(()), Retry::validate)?;
        self.breaker.as_ref().map_or(Ok(()), Breaker::validate)?;
        self.rate_limit.as_ref().map_or(Ok(()), RateLimit::validate)
    }

    pub(super) fn blame(&self, error: &JobError<E>) -> Blame {
        error.processor_error().and_then(|error| catch(|| (self.blame)(error))).unwrap_or_default()
    }

    /// Whether an error is worth another attempt.
    pub(super) fn is_worth_retrying(&self, error: &JobError<E>) -> bool {
        self.retry.as_ref().is_some_and(|retry| retry.is_worth(error)) && self.blame(error) != Blame::Job
    }

    /// Whether a batch that failed with this error is split: one job may have made the whole batch fail.
    pub(super) fn splits(&self, error: &JobError<E>) -> bool {
        let may_be_poison =
            matches!(error, JobError::Failed(_) | JobError::Panicked | JobError::TimedOut | JobError::Mismatch { .. });
        self.split_poison && may_be_poison && self.blame(error) != Blame::Downstream
    }

    /// Whether the jobs of a batch that timed out are needed back.
    pub(super) fn wants_overdue(&self) -> bool {
        self.split_poison || self.keeps_failed || self.retry.as_ref().is_some_and(Retry::wants_timeouts)
    }
}
