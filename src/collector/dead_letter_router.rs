//! On the way to the dead letters: which jobs failed for good, and with what.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::SystemTime,
};

use tokio::time::Instant;
use tracing::{error, warn};

use crate::{
    batch::JobResults,
    dead_letters::{DeadLetter, DeadLetters},
    dispatch::History,
    error::JobError,
    job::{Job, JobResult},
    panics::discard,
};

pub(super) struct DeadLetterRouter<J: Job> {
    collector: Arc<str>,
    letters: Box<dyn DeadLetters<J>>,
    /// Failed jobs that the dead letters did not get.
    pub(super) lost_dead_letters: u64,
}

impl<J: Job> DeadLetterRouter<J> {
    pub(super) fn new(collector: Arc<str>, letters: Box<dyn DeadLetters<J>>) -> Self {
        Self { collector, letters, lost_dead_letters: 0 }
    }

    /// Buries the jobs that failed; hands back the verdict, and what is left of the jobs.
    pub(super) fn sort_out(
        &mut self,
        verdict: JobResults<J>,
        jobs: Vec<J>,
        past: History,
        now: Instant,
    ) -> (JobResults<J>, Vec<J>) {
        let results: Vec<_> = verdict.collect();
        let failed = results.iter().filter(|result| failure::<J>(result).is_some()).count();
        if failed > 0 && jobs.is_empty() {
            self.lost_dead_letters += failed as u64;
            warn!(collector = &*self.collector, failed, "failed for good, while a worker has them: no dead letters");
        }
        let failed_at = SystemTime::now();
        let accepted_at = failed_at.checked_sub(now.saturating_duration_since(past.accepted_at)).unwrap_or(failed_at);
        let mut kept = Vec::new();
        for (job, result) in jobs.into_iter().zip(&results) {
            match failure::<J>(result) {
                None => kept.push(job),
                Some(error) => {
                    let (error, attempts) = (error.clone(), past.attempts);
                    self.push(DeadLetter { job, error, attempts, accepted_at, failed_at });
                }
            }
        }
        (JobResults::results(results), kept)
    }

    fn push(&mut self, letter: DeadLetter<J>) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.letters.push(letter))) {
            discard(panic);
            self.lost_dead_letters += 1;
            error!(collector = &*self.collector, "the dead letters panicked: one is lost");
        }
    }
}

/// The error of a job that its caller still wanted.
fn failure<J: Job>(result: &JobResult<J>) -> Option<&JobError<J::Error>> {
    result.as_ref().err().filter(|error| !matches!(error, JobError::Abandoned))
}
