//! Admission, under the lock: a job is accepted, waits, follows another job, is answered at once, or is rejected.

use std::mem;

use tokio::time::Instant;

use super::State;
use crate::{
    batch::{Metadata, Replies, Trigger},
    collector::intake::{
        lanes::Lane,
        sequences::{Joining, Turn},
        sharing::{Known, SharedReply},
        wait_queue::Waiting,
    },
    error::RejectReason,
    job::{Job, JobId, JobIds, Key},
};

/// A job that asks for admission, with its reply.
pub(crate) struct Candidate<J: Job> {
    pub(crate) id: JobId,
    pub(crate) job: J,
    pub(crate) weight: u64,
    pub(crate) metadata: Box<Metadata>,
    pub(crate) replies: Replies<J>,
    /// The cached output for its key.
    pub(crate) cached: Option<J::Output>,
}

/// What became of a candidate.
pub(crate) enum Entry<J: Job> {
    Accepted {
        wake: bool,
    },
    /// Accepted as a follower of another job. The job itself is not needed.
    Follows {
        job: J,
        wake: bool,
    },
    /// There is no room: it may wait.
    Full(Candidate<J>),
    Rejected(Candidate<J>, RejectReason),
    /// Its reply is known before it is processed.
    Answered(Candidate<J>, KnownReply<J>),
}

/// A reply that is known before its job is processed.
pub(crate) enum KnownReply<J: Job> {
    /// The remembered outcome of an earlier job, to be copied.
    Shared(SharedReply<J>),
    /// A copy of the cached output.
    Cached(J::Output),
}

/// The jobs that have left the wait queue because there was room, by what became of them.
pub(crate) struct Admitted<J: Job> {
    pub(crate) jobs: Vec<JobId>,
    /// Jobs that are not needed, because they follow others. Their numbers are in `jobs`.
    pub(crate) followers: Vec<J>,
    pub(crate) answered: Vec<(Candidate<J>, KnownReply<J>)>,
    pub(crate) rejected: Vec<(Candidate<J>, RejectReason)>,
}

impl<J: Job> Default for Admitted<J> {
    fn default() -> Self {
        Self { jobs: Vec::new(), followers: Vec::new(), answered: Vec::new(), rejected: Vec::new() }
    }
}

impl<J: Job> State<J> {
    /// Accepts the candidate, rejects it, or finds its reply.
    #[cold]
    pub(crate) fn enter(&mut self, mut candidate: Candidate<J>, now: Instant) -> Entry<J> {
        if self.closed {
            return Entry::Rejected(candidate, RejectReason::ShutDown);
        }
        if let Some(output) = candidate.cached.take() {
            self.counts.cache_hits += 1;
            return Entry::Answered(candidate, KnownReply::Cached(output));
        }
        match self.known(&candidate, now) {
            Known::Conflict => Entry::Rejected(candidate, RejectReason::KeyConflict),
            Known::Reply(reply) => {
                self.counts.replayed += 1;
                Entry::Answered(candidate, KnownReply::Shared(reply))
            }
            Known::Nothing | Known::Leader(_) if self.is_full() => Entry::Full(candidate),
            Known::Leader(leader) => self.follow(candidate, leader),
            Known::Nothing => Entry::Accepted { wake: self.accept(candidate, now) },
        }
    }

    fn known(&mut self, candidate: &Candidate<J>, now: Instant) -> Known<J> {
        match (&mut self.sharing, &candidate.metadata.keys.shared) {
            (Some(sharing), Some(shared)) => sharing.look_up(shared, now),
            _ => Known::Nothing,
        }
    }

    fn follow(&mut self, candidate: Candidate<J>, leader: JobId) -> Entry<J> {
        let Some(followers) = self.sharing.as_mut().and_then(|sharing| sharing.followers(leader)) else {
            return Entry::Full(candidate);
        };
        followers.append(candidate.replies);
        self.counts.coalesced += 1;
        self.count();
        Entry::Follows { job: candidate.job, wake: self.after_admission(false) }
    }

    fn accept(&mut self, candidate: Candidate<J>, now: Instant) -> bool {
        let Candidate { id, job, weight, mut metadata, mut replies, .. } = candidate;
        let (lane, keys) = (Lane::of(&metadata), mem::take(&mut metadata.keys));
        replies.push_metadata(id, metadata);
        if let (Some(sharing), Some(shared)) = (&mut self.sharing, keys.shared) {
            sharing.lead(id, shared);
        }
        self.count();
        let turn = keys.sequence.map_or(Turn::First, |key| self.turn(id, key, &lane));
        let joining = Joining { id, job, weight, lane, accepted_at: now, replies, follows: turn == Turn::Follows };
        let wake = if turn == Turn::Later { self.hold(joining) } else { self.add(joining, now) };
        self.after_admission(wake)
    }

    /// Whether it is the job's turn in its sequence.
    fn turn(&mut self, id: JobId, key: Key, lane: &Lane) -> Turn {
        let (lanes, same) = (&self.lanes, lane.partition.as_ref() == Some(&key));
        let together = |first| same && lanes.has(lane, first);
        self.sequences.as_mut().map_or(Turn::First, |sequences| sequences.accepted(id, key, together))
    }

    /// Holds the job until the jobs before it in its sequence are settled. Returns whether the actor has to be woken.
    pub(super) fn hold(&mut self, job: Joining<J>) -> bool {
        let Some(sequences) = &mut self.sequences else { return false };
        sequences.hold(job);
        sequences.due().is_some_and(|due| self.wakes_at(due))
    }

    /// Sends every open batch if the collector is full now. Returns whether the actor has to be woken.
    pub(super) fn after_admission(&mut self, wake: bool) -> bool {
        if self.is_full() {
            self.seal_all(Trigger::Full);
        }
        if self.sealed.is_empty() { wake } else { true }
    }

    /// Puts the job in the wait queue. Returns whether the actor has to be woken, for the job's deadline.
    pub(crate) fn wait(&mut self, waiting: Waiting<J>) -> bool {
        self.wait_queue.join(waiting);
        self.wait_queue.due().is_some_and(|due| self.wakes_at(due))
    }

    /// Admits jobs from the wait queue while there is room, in their order.
    fn admit_waiting(&mut self, admitted: &mut Admitted<J>) {
        while !self.is_full() {
            let Some(Waiting { id, job, weight, metadata, block, at }) = self.wait_queue.next() else { return };
            let Some(metadata) = metadata else {
                self.accept_slot(job, weight, &block, at);
                admitted.jobs.push(id);
                continue;
            };
            let replies = Replies::of_slot(&block, at);
            match self.enter(Candidate { id, job, weight, metadata, replies, cached: None }, Instant::now()) {
                Entry::Accepted { .. } => admitted.jobs.push(id),
                Entry::Follows { job, .. } => {
                    admitted.jobs.push(id);
                    admitted.followers.push(job);
                }
                Entry::Answered(candidate, reply) => admitted.answered.push((candidate, reply)),
                Entry::Full(candidate) => admitted.rejected.push((candidate, RejectReason::Overloaded)),
                Entry::Rejected(candidate, reason) => admitted.rejected.push((candidate, reason)),
            }
        }
    }

    /// Frees the room of `jobs` settled jobs. With their `ids`, the next jobs of their sequences are released. Admits waiting jobs.
    pub(crate) fn settled(&mut self, jobs: usize, ids: Option<&JobIds>) -> Admitted<J> {
        self.counts.pending -= jobs;
        if let (Some(ids), Some(sequences)) = (ids, &mut self.sequences) {
            let queues = sequences.settled(ids);
            for queue in &queues {
                self.release_next(*queue);
            }
            if self.closed && !queues.is_empty() {
                self.seal_all(Trigger::Drain);
            }
        }
        let mut admitted = Admitted::default();
        self.admit_waiting(&mut admitted);
        admitted
    }

    /// Releases the first job of a sequence and the jobs after it that may share its open batch.
    #[cold]
    fn release_next(&mut self, queue: u64) {
        let now = Instant::now();
        for place in 0.. {
            let (lanes, Some(sequences)) = (&self.lanes, &mut self.sequences) else { return };
            let together = |lane: &Lane, first| lanes.has(lane, first);
            let Some(next) = sequences.next(queue, place, together) else { return };
            self.add(next, now);
        }
    }
}
