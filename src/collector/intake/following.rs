//! Followers, as the actor sees them: late ones, those whose leader expires, and those that get copies of a reply.

use tokio::time::Instant;

use super::Intake;
use crate::{
    batch::Replies,
    job::{Job, JobId, JobIds, JobResult, Priority},
    panics::drop_each,
};

impl<J: Job> Intake<J> {
    /// Whether jobs with the same key share a reply.
    pub(crate) fn shares(&self) -> bool {
        self.keying.as_ref().is_some_and(|keying| keying.shares())
    }

    /// Jobs with dispatch whose batches are to get this priority.
    pub(crate) fn take_raised(&self) -> Vec<(JobId, Priority)> {
        self.lock().take_raised()
    }

    /// The jobs of which a follower is late.
    pub(crate) fn with_late_followers(&self, now: Instant) -> Vec<JobId> {
        self.lock().sharing.as_mut().map_or_else(Vec::new, |sharing| sharing.late(now))
    }

    /// Removes the late followers of this job, to be settled.
    pub(crate) fn take_late_followers(&self, leader: JobId, now: Instant) -> Option<Replies<J>> {
        let mut state = self.lock();
        let late = state.sharing.as_mut()?.take_late(leader, now)?;
        state.counts.following -= late.len();
        Some(late)
    }

    /// Whether a follower of this job has time left.
    pub(crate) fn can_pass_on(&self, expired: JobId, now: Instant) -> bool {
        self.lock().sharing.as_ref().is_some_and(|sharing| sharing.can_pass_on(expired, now))
    }

    /// This job has expired, unsent: it is processed for those of its followers that have time left. The first of them takes its place.
    /// Returns the followers that are late, too, to be settled.
    pub(crate) fn pass_on(&self, expired: JobId, job: J, now: Instant) -> Option<Replies<J>> {
        let keying = self.keying.as_ref()?;
        let (weight, keys) = (self.weigh(&job), keying.keys(&job));
        self.lock().pass_on(expired, job, weight, keys, now)
    }

    /// The followers of these jobs, with copies of the replies that the jobs are about to get. From now on no job follows them.
    /// Remembers the outcomes that are to be remembered.
    pub(crate) fn followers(&self, jobs: &JobIds, results: &[JobResult<J>]) -> Vec<(Replies<J>, Vec<JobResult<J>>)> {
        let Some(keying) = &self.keying else { return Vec::new() };
        // Copying and dropping replies runs user code, so both happen without the lock.
        let remembered: Vec<_> = {
            let state = self.lock();
            let Some(sharing) = &state.sharing else { return Vec::new() };
            let leaders = jobs.iter().zip(results).filter(|(job, _)| sharing.leads(*job));
            leaders.map(|(job, result)| (job, result, sharing.remembers(result))).collect()
        };
        let share = |(job, result, remember): (_, _, bool)| (job, result, remember.then(|| keying.shared_copy(result)));
        let shared: Vec<_> = remembered.into_iter().map(share).collect();
        let (followers, mut forgotten): (Vec<_>, _) = {
            let (mut state, now) = (self.lock(), self.clock.now());
            let Some(sharing) = &mut state.sharing else { return Vec::new() };
            let settled = |(job, result, copy)| Some((sharing.settled(job, copy, now)?, result));
            let leaders = shared.into_iter().filter_map(settled).filter(|(followers, _)| followers.len() > 0).collect();
            (leaders, sharing.take_forgotten())
        };
        drop_each(&mut forgotten);
        let with_copies = |(followers, result): (Replies<J>, _)| {
            let copies = (0..followers.len()).map(|_| keying.copy(result)).collect();
            (followers, copies)
        };
        followers.into_iter().map(with_copies).collect()
    }
}
