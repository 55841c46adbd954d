//! Jobs that follow another one with the same key. Each keeps its own deadline, and lends its priority to the job that it follows.

use std::mem;

use tokio::time::Instant;

use super::{Candidate, Entry, State};
use crate::{
    batch::{Keys, Replies, Trigger},
    collector::intake::{lanes::Lane, sequences::Turn, state::admission::Accepted},
    job::{Job, JobId, JobIds, Priority},
};

impl<J: Job> State<J> {
    /// The candidate follows this job. The candidate's own job is not needed.
    pub(super) fn follow(&mut self, candidate: Candidate<J>, leader: JobId, now: Instant) -> Entry<J> {
        let Candidate { id, job, mut metadata, mut replies, .. } = candidate;
        let (priority, deadline) = (metadata.priority, metadata.deadline);
        metadata.keys = Keys::default();
        replies.push_metadata(id, metadata);
        self.counts.coalesced += 1;
        self.counts.accepted += 1;
        self.counts.following += 1;
        let lane = self.sharing.as_mut().and_then(|sharing| sharing.follow(leader, replies, priority));
        let wake = lane.is_some_and(|(lane, is_raised)| {
            let lends = is_raised && self.lend(leader, &lane, priority);
            let hurries = deadline.is_some_and(|deadline| self.hurry(leader, &lane, deadline, now));
            lends || hurries
        });
        Entry::Follows { job, wake }
    }

    /// Makes the job's open batch leave early enough for this deadline. Returns whether the actor has to be woken, for that or when the
    /// deadline passes.
    fn hurry(&mut self, job: JobId, lane: &Lane, deadline: Instant, now: Instant) -> bool {
        self.in_batch_of(job, lane, |state| state.open.leave_before(deadline, now));
        self.wakes_at(deadline - deadline.saturating_duration_since(now) / 4)
    }

    /// Gives the batch of this job a higher priority, wherever it is. Returns whether the actor has to be woken, because it has the batch.
    fn lend(&mut self, job: JobId, lane: &Lane, priority: Priority) -> bool {
        if self.in_batch_of(job, lane, |state| state.open.priority = state.open.priority.max(priority)) {
            return false;
        }
        if let Some(sealed) = self.sealed.iter_mut().find(|sealed| sealed.replies.contains(job)) {
            sealed.priority = sealed.priority.max(priority);
            return false;
        }
        self.raised.push((job, priority));
        true
    }

    /// Runs `act` with the open batch that has this job as the current one. Returns whether there is one.
    fn in_batch_of(&mut self, job: JobId, lane: &Lane, act: impl FnOnce(&mut Self)) -> bool {
        if lane.is_common() {
            let is_here = self.open.replies.contains(job);
            if is_here {
                act(self);
            }
            return is_here;
        }
        let number = self.lanes.find(lane).filter(|_| self.lanes.has(lane, job));
        number.map(|number| self.in_lane(number, act)).is_some()
    }

    /// Jobs in dispatch whose batches have got a higher priority since the last call.
    pub(crate) fn take_raised(&mut self) -> Vec<(JobId, Priority)> {
        mem::take(&mut self.raised)
    }

    /// The job has expired, unsent, but some of its followers have time left: it is processed for them. The first of them takes its place
    /// and its room. Returns the others, which are late, too.
    pub(crate) fn pass_on(
        &mut self,
        expired: JobId,
        job: J,
        weight: u64,
        keys: Keys,
        now: Instant,
    ) -> Option<Replies<J>> {
        let (priority, late, live) = self.sharing.as_mut()?.pass_on(expired, now)?;
        let (following, (first, others)) = (late.len() + live.len(), live.partition(|position| position == 0));
        let id = first.ids().iter().next()?;
        let turn = self.sequences.as_mut().and_then(|sequences| sequences.replace(expired, id)).unwrap_or(Turn::First);
        self.settled(1, following, Some(&JobIds::from_iter([expired])));
        let Keys { partition, shared, .. } = keys;
        self.take_in(
            Accepted { id, job, weight, lane: Lane { priority, partition }, shared, turn, replies: first },
            now,
        );
        self.counts.following += others.len();
        if let Some(sharing) = &mut self.sharing {
            sharing.follow_all(id, others);
        }
        if self.closed {
            self.seal_all(Trigger::Drain);
        }
        Some(late)
    }
}
