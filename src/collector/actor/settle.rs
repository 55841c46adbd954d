//! Gives jobs their replies.
//!
//! The road of a settled batch: cache what succeeded, hand what failed to the dead letters, copy replies for followers, fill in
//! the replies, give the room back, and – with every lock free – wake the callers.

use tokio::time::Instant;

use super::CollectorActor;
use crate::{
    batch::{JobResults, Replies},
    collector::intake::{Buffers, RejectedSends},
    dispatch::History,
    error::JobError,
    job::{JobIds, JobResult, JobState},
    observe::Event,
    panics::drop_each,
    processor::BatchProcessor,
};

impl<P: BatchProcessor> CollectorActor<P> {
    pub(super) fn settle(
        &mut self,
        replies: Replies<P::Job>,
        results: JobResults<P::Job>,
        jobs: Vec<P::Job>,
        history: History,
        now: Instant,
    ) {
        self.journal.settling(replies.len(), history.attempts, results.whole_failure());
        let results = self.cache(results, &jobs, history);
        let (results, jobs) = self.dead_letter(results, jobs, history, now);
        self.reply(replies, results, jobs, history);
    }

    /// Caches outputs. Before the replies, so that a caller that has its reply always finds the result cached.
    fn cache(&self, results: JobResults<P::Job>, jobs: &[P::Job], history: History) -> JobResults<P::Job> {
        if !self.shared.intake.caches() || results.whole_failure().is_some() {
            return results;
        }
        let results: Vec<_> = results.collect();
        self.shared.intake.cache(jobs, &results, history.accepted_at);
        JobResults::of(results)
    }

    /// Hands failed jobs to the dead letters. Returns the jobs that are left.
    fn dead_letter(
        &mut self,
        results: JobResults<P::Job>,
        jobs: Vec<P::Job>,
        history: History,
        now: Instant,
    ) -> (JobResults<P::Job>, Vec<P::Job>) {
        match &mut self.dead_letters {
            Some(dead_letters) => dead_letters.route(results, jobs, history, now),
            None => (results, jobs),
        }
    }

    /// Refused jobs that came by `do_send` have no caller to be told: they are logged, and go to the dead letters.
    pub(super) fn route_rejected_sends(&mut self, now: Instant) {
        let Some(RejectedSends { count, jobs }) = self.shared.intake.take_rejected_sends() else { return };
        self.journal.record(Event::RejectedSends { count, now });
        if let Some(dead_letters) = &mut self.dead_letters {
            dead_letters.route_rejected(jobs, count);
        }
    }

    /// Fills in the replies, gives the room back, and wakes the callers: what they submit next finds that room.
    fn reply(
        &mut self,
        replies: Replies<P::Job>,
        results: JobResults<P::Job>,
        mut jobs: Vec<P::Job>,
        history: History,
    ) {
        let (room, mut followers, before) = (replies.len(), 0, *self.journal.tally());
        let ids = self.shared.intake.needs_ids().then(|| replies.ids());
        let results = if self.shared.intake.has_keys() {
            self.settle_keys(&replies, results, history, &mut followers)
        } else {
            results
        };
        self.fill(replies, results, history);
        drop_each(&mut jobs);
        let buffers = Buffers { jobs, requesters: self.deliveries.take_spare() };
        self.shared.intake.settled(room, followers, ids.as_ref(), buffers);
        self.deliveries.deliver();
        self.journal.record(Event::Settled { before, dead_letters: self.dead_letters.is_some() });
    }

    /// Does for the jobs with the same keys what follows from these results.
    #[cold]
    fn settle_keys(
        &mut self,
        replies: &Replies<P::Job>,
        results: JobResults<P::Job>,
        history: History,
        followers: &mut usize,
    ) -> JobResults<P::Job> {
        let (ids, results) = (replies.ids(), results.collect::<Vec<_>>());
        if self.shared.intake.fails_following() {
            self.fail_following(&ids, &results);
        }
        if self.shared.intake.shares() {
            *followers = self.reply_to_followers(&ids, &results, history);
        }
        JobResults::of(results)
    }

    /// The jobs that are held behind jobs which have failed fail, too.
    fn fail_following(&mut self, ids: &JobIds, results: &[JobResult<P::Job>]) {
        let failed: Vec<_> = ids.iter().zip(results).filter(|(_, result)| result.is_err()).map(|(id, _)| id).collect();
        for sealed in self.shared.intake.take_behind(&failed) {
            self.dispatch.fail(sealed, JobError::EarlierFailed);
        }
    }

    /// Followers of these jobs receive copies of their replies. Returns how many there are.
    fn reply_to_followers(&mut self, ids: &JobIds, results: &[JobResult<P::Job>], history: History) -> usize {
        let mut count = 0;
        for (followers, copies) in self.shared.intake.followers(ids, results) {
            count += followers.len();
            self.fill(followers, JobResults::of(copies), history);
        }
        count
    }

    /// Writes the replies. The callers to wake are left in `deliveries`.
    #[inline]
    pub(super) fn fill(&mut self, replies: Replies<P::Job>, results: JobResults<P::Job>, history: History) {
        if self.journal.is_tracking() {
            return self.fill_tracked(replies, results, history);
        }
        replies.settle(results, self.journal.tally(), &mut self.deliveries);
    }

    /// The same, while jobs are tracked.
    #[cold]
    fn fill_tracked(&mut self, replies: Replies<P::Job>, results: JobResults<P::Job>, history: History) {
        let (ids, mut ends) = (replies.ids(), Vec::with_capacity(replies.len()));
        let results = results.inspect(|reply| ends.push(JobState::of_reply(reply)));
        replies.settle(results, self.journal.tally(), &mut self.deliveries);
        self.journal.jobs_ended(history.batch, history.attempts, &ids, &ends);
    }
}
