//! Followers: they expire alone, a job that expires is processed for them, and their priority is lent.

use tokio::time::Instant;

use super::CollectorActor;
use crate::{
    batch::{JobResults, Replies},
    dispatch::History,
    error::JobError,
    observe::Event,
    processor::BatchProcessor,
};

impl<P: BatchProcessor> CollectorActor<P> {
    /// Does what followers ask for: the jobs that they follow get their priority, and those that are late expire.
    pub(super) fn serve_followers(&mut self, now: Instant) {
        for (job, priority) in self.shared.intake.take_raised() {
            self.dispatch.raise(job, priority);
        }
        for leader in self.shared.intake.with_late_followers(now) {
            // A deadline is about being sent, and the job has been.
            if !self.dispatch.is_sent(leader)
                && let Some(late) = self.shared.intake.take_late_followers(leader, now)
            {
                self.expire(late, now);
            }
        }
    }

    /// Settles jobs with the same keys as others. A job that has expired is processed all the same for followers that have time left.
    #[cold]
    pub(super) fn settle_shared(
        &mut self,
        replies: Replies<P::Job>,
        results: JobResults<P::Job>,
        jobs: Vec<P::Job>,
        history: History,
        now: Instant,
    ) {
        let results: Vec<_> = results.collect();
        let ids = replies.ids();
        let passes_on = |(id, result): (_, &Result<_, _>)| {
            matches!(result, Err(JobError::Expired)) && self.shared.intake.can_pass_on(id, now)
        };
        let passed: Vec<_> = ids.iter().zip(&results).map(passes_on).collect();
        if !passed.contains(&true) || jobs.len() != passed.len() {
            return self.settle(replies, JobResults::of(results), jobs, history, now);
        }
        let (expired, replies) = replies.partition(|position| passed[position]);
        let (mut left, mut left_results) = (Vec::new(), Vec::new());
        for ((id, passes), (job, result)) in ids.iter().zip(&passed).zip(jobs.into_iter().zip(results)) {
            if *passes {
                let late = self.shared.intake.pass_on(id, job, now);
                late.into_iter().for_each(|late| self.expire(late, now));
            } else {
                left.push(job);
                left_results.push(result);
            }
        }
        self.expire(expired, now);
        if !left.is_empty() {
            self.settle(replies, JobResults::of(left_results), left, history, now);
        }
    }

    /// Settles these callers, whose jobs are processed for others or not at all.
    fn expire(&mut self, late: Replies<P::Job>, now: Instant) {
        let (before, jobs) = (*self.journal.tally(), late.len());
        let history = History { batch: 0, attempts: 0, accepted_at: now };
        self.fill(late, JobResults::whole(JobError::Expired, jobs), history);
        self.deliveries.deliver();
        self.journal.record(Event::Settled { before, dead_letters: self.dead_letters.is_some() });
    }
}
