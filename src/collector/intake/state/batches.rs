//! The open batches: which one a job joins, and when each of them leaves.

use std::mem;

use tokio::time::Instant;

use super::State;
use crate::{
    batch::{Sealed, Trigger},
    collector::intake::{
        Buffers,
        lanes::{Lane, Open, Parked},
        sequences::Joining,
        wait_queue::Waiting,
    },
    error::RejectReason,
    flush::Decision,
    job::{Job, JobId, JobState, Key, Priority},
};

impl<J: Job> State<J> {
    /// Sends every open batch, the most urgent first.
    pub(super) fn seal_all(&mut self, trigger: Trigger) {
        let common = self.open.priority;
        while let Some((_, lane)) = self.lanes.most_urgent().filter(|(priority, _)| *priority > common) {
            self.in_lane(lane, |state| state.seal(trigger));
        }
        self.seal(trigger);
        while let Some((_, lane)) = self.lanes.most_urgent() {
            self.in_lane(lane, |state| state.seal(trigger));
        }
    }

    /// Sends the open batches of a partition.
    pub(super) fn seal_partition(&mut self, partition: Option<&Key>, trigger: Trigger) {
        for priority in Priority::ALL {
            let lane = Lane { priority, partition: partition.cloned() };
            if lane.is_common() {
                self.seal(trigger);
            } else if let Some(number) = self.lanes.find(&lane) {
                self.in_lane(number, |state| state.seal(trigger));
            }
        }
    }

    /// Runs `act` with a parked batch as the current one.
    pub(super) fn in_lane(&mut self, number: u64, act: impl FnOnce(&mut Self)) {
        if let Some(parked) = self.lanes.take(number) {
            self.with_current(parked, act);
        }
    }

    /// Makes a parked batch the current one, runs `act`, and parks it again.
    pub(super) fn with_current<R>(&mut self, mut parked: Parked<J>, act: impl FnOnce(&mut Self) -> R) -> R {
        mem::swap(&mut self.open, &mut parked.open);
        self.policy.exchange(&mut parked.seen);
        let result = act(self);
        let due = self.due();
        mem::swap(&mut self.open, &mut parked.open);
        self.policy.exchange(&mut parked.seen);
        if parked.open.jobs.is_empty() {
            let Open { jobs, mut replies, .. } = parked.open;
            self.reuse(Buffers { jobs, requesters: replies.take_buffer() });
        } else {
            parked.due = due;
            self.lanes.park(parked);
        }
        result
    }

    /// The lane's open batch, or a new one. If too many are open, the least recently used one leaves first.
    fn open_lane(&mut self, lane: &Lane) -> Parked<J> {
        if let Some(parked) = self.lanes.find(lane).and_then(|number| self.lanes.take(number)) {
            return parked;
        }
        if self.lanes.len() >= self.max_partitions
            && let Some(other) = self.lanes.least_recently_used()
        {
            self.in_lane(other, |state| state.seal(Trigger::Full));
        }
        self.lanes.open(lane.clone())
    }

    /// Adds an accepted job to its open batch. Returns whether the actor has to be woken.
    pub(super) fn add(&mut self, joining: Joining<J>, now: Instant) -> bool {
        if joining.lane.is_common() {
            return self.add_to_current(joining, now);
        }
        let parked = self.open_lane(&joining.lane);
        self.with_current(parked, |state| state.add_to_current(joining, now))
    }

    /// Adds an accepted job to the current open batch.
    fn add_to_current(&mut self, joining: Joining<J>, now: Instant) -> bool {
        let decision = match self.policy.on_job(joining.weight, || self.clock.now()) {
            Decision::SendThenAdd(trigger) if joining.follows => {
                // The jobs before it in its sequence leave in this batch, so it is held until they are settled.
                self.seal(trigger);
                return self.hold(joining);
            }
            Decision::SendThenAdd(trigger) => self.send_first(trigger),
            decision => decision,
        };
        let Joining { job, accepted_at, replies, .. } = joining;
        if let Some(deadline) = replies.deadline() {
            self.open.leave_before(deadline, now);
        }
        self.open.replies.append(replies);
        self.policy.waits_since(accepted_at);
        let wake = self.join(job, decision);
        match self.open.leave_at {
            Some(leave_at) if !wake => self.wakes_at(leave_at),
            _ => wake,
        }
    }

    /// Sends the batches that are due and one that a free worker may take. Returns the waiting jobs that are past their deadline.
    pub(crate) fn look(&mut self, now: Instant, idle: bool) -> Vec<Waiting<J>> {
        // A batch that has already left gets the free worker.
        self.policy.set_idle(idle && self.sealed.is_empty());
        self.seal_if_due(now);
        for lane in self.lanes.due(now) {
            self.in_lane(lane, |state| state.seal_if_due(now));
        }
        self.seal_for_free_worker();
        self.release_late(now);
        let late = self.wait_queue.late(now);
        self.counts.rejected.count(RejectReason::Expired, late.len() as u64);
        late
    }

    fn seal_if_due(&mut self, now: Instant) {
        if self.policy.due().is_some_and(|due| due <= now) {
            self.seal(Trigger::Interval);
        } else if self.open.leave_at.is_some_and(|leave_at| leave_at <= now) {
            self.seal(Trigger::Deadline);
        }
    }

    /// If a worker is free, sends the most urgent open batch, if the policy wants that. The others become more urgent as they age.
    fn seal_for_free_worker(&mut self) {
        if !self.policy.is_idle() {
            return;
        }
        let common = self.policy.opened_at().map(|opened_at| self.open.urgency(opened_at, self.ageing));
        let other = self
            .lanes
            .next_for_worker(self.ageing)
            .filter(|(urgency, _)| common.is_none_or(|common| *urgency < common));
        match other {
            Some((_, lane)) => self.in_lane(lane, Self::seal_if_wanted),
            None => self.seal_if_wanted(),
        }
    }

    fn seal_if_wanted(&mut self) {
        if self.policy.leaves_when_free() {
            self.seal(Trigger::Idle);
        }
    }

    /// Sends held jobs that are past their deadline to dispatch, which settles them.
    fn release_late(&mut self, now: Instant) {
        let late = self.sequences.as_mut().map_or_else(Vec::new, |sequences| sequences.late(now));
        self.release(late, Trigger::Deadline);
    }

    /// Takes the jobs that are held behind these jobs, which have failed.
    pub(crate) fn take_behind(&mut self, failed: &[JobId]) -> Vec<Joining<J>> {
        self.sequences.as_mut().map_or_else(Vec::new, |sequences| sequences.release_behind(failed))
    }

    /// Releases all held jobs, because all jobs are about to be settled.
    pub(crate) fn release_sequences(&mut self) {
        let held = self.sequences.as_mut().map_or_else(Vec::new, |sequences| sequences.release_all());
        self.release(held, Trigger::Drain);
    }

    fn release(&mut self, jobs: Vec<Joining<J>>, trigger: Trigger) {
        self.sealed.extend(jobs.into_iter().map(|Joining { job, lane, accepted_at, replies, .. }| Sealed {
            jobs: vec![job],
            replies,
            trigger,
            opened_at: accepted_at,
            priority: lane.priority,
        }));
    }

    /// When the actor must look again.
    pub(crate) fn next_look(&mut self) -> Option<Instant> {
        let sequences = self.sequences.as_ref().and_then(|sequences| sequences.due());
        let followers = self.sharing.as_ref().and_then(|sharing| sharing.due());
        [self.due(), self.lanes.next_due(), sequences, followers, self.wait_queue.due()].into_iter().flatten().min()
    }

    /// Sends every open batch. Returns how many jobs they held.
    pub(crate) fn flush(&mut self, trigger: Trigger) -> usize {
        let jobs = self.open.jobs.len() + self.lanes.iter().map(|open| open.jobs.len()).sum::<usize>();
        self.seal_all(trigger);
        jobs
    }

    /// The state of a job that the actor has not taken yet, or `None`.
    /// The number that the next job gets.
    pub(crate) fn next_number(&self) -> u64 {
        self.blocks.next_id()
    }

    /// Whether a job before this number has been accepted and has not been sent.
    pub(crate) fn holds_before(&self, number: u64) -> bool {
        let open = self.lanes.iter().chain([&self.open]).map(|open| &open.replies);
        let sealed = self.sealed.iter().map(|sealed| &sealed.replies);
        let held = self.sequences.as_ref().is_some_and(|sequences| sequences.holds_before(number));
        held || open.chain(sealed).any(|replies| replies.holds_before(number))
    }

    pub(crate) fn find(&self, job: JobId) -> Option<JobState> {
        let open = self.lanes.iter().chain([&self.open]).map(|open| &open.replies);
        let sealed = self.sealed.iter().map(|sealed| &sealed.replies);
        let held = || self.sequences.as_ref().is_some_and(|sequences| sequences.holds(job));
        let follows = || self.sharing.as_ref().is_some_and(|sharing| sharing.is_follower(job));
        if open.chain(sealed).any(|replies| replies.ids().contains(job)) || held() || follows() {
            return Some(JobState::Buffered);
        }
        self.wait_queue.contains(job).then_some(JobState::Waiting)
    }
}
