//! The result cache as the intake uses it: a job whose key is cached is answered at once.
//!
//! The cache is read before the lock is taken, because copying an output runs user code. Without the feature `cache`, no collector
//! has one.

use tokio::time::Instant;

use super::Intake;
use crate::{
    clock::Clock,
    error::ConfigError,
    job::{Job, JobResult},
};

/// Results by key. An implementation contains the panics of the user code that it runs.
pub(crate) trait ResultCache<J: Job>: Send + Sync {
    fn validate(&self) -> Result<(), ConfigError>;

    /// A copy of the cached output for the job's key.
    fn get(&self, job: &J, clock: &Clock) -> Option<J::Output>;

    /// Caches a copy of the job's output, unless the key was cleared after the job was accepted.
    fn keep(&self, job: &J, output: &J::Output, accepted_at: Instant, now: Instant);

    /// Caches this output for the job's key. Results of jobs that were accepted earlier do not replace it.
    #[cfg(feature = "cache")]
    fn prime(&self, job: &J, output: J::Output, now: Instant);

    /// Removes the job's key, or all keys. Results of jobs that were accepted earlier are not cached afterwards.
    #[cfg(feature = "cache")]
    fn clear(&self, job: Option<&J>, now: Instant);
}

impl<J: Job> Intake<J> {
    /// Whether results are cached.
    #[inline]
    pub(crate) fn caches(&self) -> bool {
        self.result_cache().is_some()
    }

    #[inline]
    fn result_cache(&self) -> Option<&dyn ResultCache<J>> {
        self.keying.as_ref()?.cache.as_deref()
    }

    /// A copy of the cached output for this job's key.
    pub(super) fn cached(&self, job: &J) -> Option<J::Output> {
        self.result_cache()?.get(job, &self.clock)
    }

    /// Caches the outputs of a batch that was opened at `accepted_at`.
    pub(crate) fn cache(&self, jobs: &[J], results: &[JobResult<J>], accepted_at: Instant) {
        let Some(cache) = self.result_cache() else { return };
        let now = self.clock.now();
        for (job, result) in jobs.iter().zip(results) {
            if let Ok(output) = result {
                cache.keep(job, output, accepted_at, now);
            }
        }
    }
}

#[cfg(feature = "cache")]
impl<J: Job> Intake<J> {
    pub(crate) fn prime(&self, job: &J, output: J::Output) {
        let Some(cache) = self.result_cache() else { return };
        cache.prime(job, output, self.clock.now());
        self.detach(Some(job));
    }

    pub(crate) fn clear(&self, job: Option<&J>) {
        let Some(cache) = self.result_cache() else { return };
        cache.clear(job, self.clock.now());
        self.detach(job);
    }

    /// From now on no job follows a job that was accepted before the key was primed or cleared: its reply may be stale.
    fn detach(&self, job: Option<&J>) {
        let Some(sharing) = self.keying.as_ref().and_then(|keying| keying.sharing()) else { return };
        let key = job.map(|job| (sharing.key)(job));
        if key == Some(None) {
            return;
        }
        if let Some(sharing) = &mut self.lock().sharing {
            sharing.detach(key.flatten().as_ref());
        }
    }
}
