//! Results that outlive their jobs: whoever submits the same key later is answered at once.
//!
//! What was kept is looked up before the lock is taken, because copying it is the user's code. Without the feature `cache` nobody
//! keeps anything.

use tokio::time::Instant;

use super::Intake;
use crate::{
    error::ConfigError,
    job::{Job, JobResult},
};

/// Where results are kept by key. Whatever of the user's code runs in it, its panics end there.
pub(crate) trait Keep<J: Job>: Send + Sync {
    fn check(&self) -> Result<(), ConfigError>;

    /// A copy of what is kept under the job's key.
    fn get(&self, job: &J) -> Option<J::Output>;

    /// Keeps a copy of the job's output, unless what was accepted at that time has been cleared since.
    fn keep(&self, job: &J, output: &J::Output, accepted_at: Instant);

    /// Keeps this under the job's key, whatever the jobs say that were accepted before.
    #[cfg(feature = "cache")]
    fn prime(&self, job: &J, output: J::Output);

    /// Forgets what is kept under this job's key, or everything – and what was accepted before, when it comes.
    #[cfg(feature = "cache")]
    fn clear(&self, job: Option<&J>);
}

impl<J: Job> Intake<J> {
    /// Whether results are kept.
    #[inline]
    pub(crate) fn keeps(&self) -> bool {
        self.kept().is_some()
    }

    #[inline]
    fn kept(&self) -> Option<&dyn Keep<J>> {
        self.keying.as_ref()?.kept.as_deref()
    }

    /// A copy of the result that was kept for jobs like this one.
    pub(super) fn hit(&self, job: &J) -> Option<J::Output> {
        self.kept()?.get(job)
    }

    /// These jobs, whose batch began at that time, have these results.
    pub(crate) fn keep(&self, jobs: &[J], results: &[JobResult<J>], accepted_at: Instant) {
        let Some(kept) = self.kept() else { return };
        for (job, result) in jobs.iter().zip(results) {
            if let Ok(output) = result {
                kept.keep(job, output, accepted_at);
            }
        }
    }
}

#[cfg(feature = "cache")]
impl<J: Job> Intake<J> {
    pub(crate) fn prime(&self, job: &J, output: J::Output) {
        let Some(kept) = self.kept() else { return };
        kept.prime(job, output);
        self.part(Some(job));
    }

    pub(crate) fn clear(&self, job: Option<&J>) {
        let Some(kept) = self.kept() else { return };
        kept.clear(job);
        self.part(job);
    }

    /// Whoever comes from now on wants what is true now: he does not ride on what was asked before.
    fn part(&self, job: Option<&J>) {
        let Some(sharing) = self.keying.as_ref().and_then(|keying| keying.sharing()) else { return };
        let key = job.map(|job| (sharing.key)(job));
        if let Some(sharing) = &mut self.state.lock().sharing {
            sharing.part(key.as_ref());
        }
    }
}
