//! A job: what one caller submits, and what the caller gets back.

use std::fmt::{self, Debug, Display};

use crate::error::{JobError, Rejected};

mod event;
mod fingerprint;
mod ids;
pub(crate) mod journey;
mod key;
mod priority;
mod state;

pub use event::JobEvent;
pub(crate) use fingerprint::{Fingerprint, fingerprint};
pub use ids::JobIds;
pub(crate) use key::{Key, KeyFn};
pub use priority::Priority;
pub use state::JobState;

/// What one caller submits. Like an actix `Message`, a job declares what it returns.
///
/// ```
/// use actix_batch::Job;
///
/// /// The name of one user.
/// struct GetName(u64);
///
/// impl Job for GetName {
///     type Output = String;
///     type Error = std::io::Error;
/// }
/// ```
pub trait Job: Send + Sync + 'static {
    /// What the caller gets when the job succeeds.
    type Output: Send + 'static;
    /// The processor's own error, for one job or for a whole batch. It needs `Debug` and `Display`, and no `Clone`.
    type Error: Debug + Display + Send + Sync + 'static;
}

/// A job's reply.
pub type JobResult<J> = Result<<J as Job>::Output, JobError<<J as Job>::Error>>;

/// A job's number. It is unique within its collector and counts from 0, in the order of arrival.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(pub(crate) u64);

impl JobId {
    /// The number itself.
    pub fn get(self) -> u64 {
        self.0
    }
}

impl Debug for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JobId({})", self.0)
    }
}

impl Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Display::fmt(&self.0, f)
    }
}

impl<J: Job> From<Rejected<J>> for JobError<J::Error> {
    fn from(rejected: Rejected<J>) -> Self {
        rejected.reason.into()
    }
}
