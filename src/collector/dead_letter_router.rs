//! Hands jobs that failed for good to the dead letters.

use std::{sync::Arc, time::SystemTime};

use tokio::time::Instant;
use tracing::{error, warn};

use crate::{
    batch::JobResults,
    dead_letters::{DeadLetter, DeadLetters},
    dispatch::History,
    error::{JobError, RejectReason},
    job::{Job, JobResult},
    panics::catch,
};

pub(super) struct DeadLetterRouter<J: Job> {
    collector: Arc<str>,
    letters: Box<dyn DeadLetters<J>>,
    /// Failed jobs that were not handed over.
    pub(super) lost: u64,
}

impl<J: Job> DeadLetterRouter<J> {
    pub(super) fn new(collector: Arc<str>, letters: Box<dyn DeadLetters<J>>) -> Self {
        Self { collector, letters, lost: 0 }
    }

    /// Hands over the jobs that failed. Returns the results, and the jobs that are left.
    pub(super) fn route(
        &mut self,
        results: JobResults<J>,
        jobs: Vec<J>,
        history: History,
        now: Instant,
    ) -> (JobResults<J>, Vec<J>) {
        if results.all_succeeded() {
            return (results, jobs);
        }
        let results: Vec<_> = results.collect();
        let failed = results.iter().filter(|result| failure::<J>(result).is_some()).count();
        if failed > 0 && jobs.is_empty() {
            self.lost += failed as u64;
            warn!(
                collector = &*self.collector,
                failed, "failed for good, but a worker still has them: no dead letters"
            );
        }
        let failed_at = SystemTime::now();
        let waited = now.saturating_duration_since(history.accepted_at);
        let accepted_at = failed_at.checked_sub(waited).unwrap_or(failed_at);
        let mut succeeded = Vec::new();
        for (job, result) in jobs.into_iter().zip(&results) {
            match failure::<J>(result) {
                None => succeeded.push(job),
                Some(error) => {
                    let (error, attempts) = (error.clone(), history.attempts);
                    self.push(DeadLetter { job, error, attempts, accepted_at, failed_at });
                }
            }
        }
        (JobResults::of(results), succeeded)
    }

    /// Hands over jobs that were refused, of `count` in all.
    pub(super) fn route_rejected(&mut self, jobs: Vec<(J, RejectReason)>, count: u64) {
        self.lost += count.saturating_sub(jobs.len() as u64);
        let now = SystemTime::now();
        for (job, reason) in jobs {
            self.push(DeadLetter { job, error: reason.into(), attempts: 0, accepted_at: now, failed_at: now });
        }
    }

    fn push(&mut self, letter: DeadLetter<J>) {
        match catch(|| self.letters.push(letter)) {
            Some(Ok(())) => {}
            Some(Err(error)) => {
                self.lost += 1;
                error!(collector = &*self.collector, %error, "a dead letter is lost");
            }
            None => {
                self.lost += 1;
                error!(collector = &*self.collector, "the dead letters panicked: one letter is lost");
            }
        }
    }
}

/// The error of a failed job, unless its caller had gone.
fn failure<J: Job>(result: &JobResult<J>) -> Option<&JobError<J::Error>> {
    result.as_ref().err().filter(|error| !matches!(error, JobError::Abandoned))
}
