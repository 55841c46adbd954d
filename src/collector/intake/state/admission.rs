//! Admission, under the lock: a job is accepted, waits, follows another job, is answered at once, or is rejected.

use std::mem;

use tokio::time::Instant;

use super::State;
use crate::{
    batch::{Metadata, Replies, SharedKey, Trigger},
    collector::intake::{
        lanes::Lane,
        room::{COMMON_LINE, Room},
        sequences::{Joining, Turn},
        sharing::{Known, SharedReply},
        wait_queue::{Place, Waiting},
    },
    error::RejectReason,
    job::{Job, JobId, JobIds, Key, Priority},
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
    /// It comes from the wait queue.
    pub(crate) has_waited: bool,
}

/// A job that has been accepted, on its way into an open batch.
pub(super) struct Accepted<J: Job> {
    pub(super) id: JobId,
    pub(super) job: J,
    pub(super) weight: u64,
    pub(super) lane: Lane,
    pub(super) shared: Option<SharedKey>,
    /// Whether it is its turn in its sequence.
    pub(super) turn: Turn,
    /// Its one reply.
    pub(super) replies: Replies<J>,
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

impl<J: Job> Admitted<J> {
    fn add(&mut self, id: JobId, entry: Entry<J>) {
        match entry {
            Entry::Accepted { .. } => self.jobs.push(id),
            Entry::Follows { job, .. } => {
                self.jobs.push(id);
                self.followers.push(job);
            }
            Entry::Answered(candidate, reply) => self.answered.push((candidate, reply)),
            Entry::Full(candidate) => self.rejected.push((candidate, RejectReason::Overloaded)),
            Entry::Rejected(candidate, reason) => self.rejected.push((candidate, reason)),
        }
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
            // A follower needs no room: its job is not kept.
            Known::Leader(leader) => self.follow(candidate, leader, now),
            Known::Nothing if !self.has_room_for(&candidate, now) => Entry::Full(candidate),
            Known::Nothing => Entry::Accepted { wake: self.accept(candidate, now) },
        }
    }

    fn has_room_for(&self, candidate: &Candidate<J>, now: Instant) -> bool {
        if self.is_full() {
            return false;
        }
        let Some(room) = &self.room else { return true };
        // Lighter jobs would overtake a heavy one for ever.
        let turn = self.place(&candidate.metadata, now).turn;
        let overtakes = !candidate.has_waited && self.wait_queue.peek().is_some_and(|first| first.place.turn <= turn);
        let partition = candidate.metadata.keys.partition.as_ref();
        !overtakes && room.fits(candidate.weight) && !room.partition_is_full(partition)
    }

    /// Whether there still is room for a job that was taken from the wait queue.
    pub(crate) fn has_room_for_waiting(&self, waiting: &Waiting<J>) -> bool {
        let partition = waiting.metadata.keys.partition.as_ref();
        let has_room = |room: &Room| room.fits(waiting.weight) && !room.partition_is_full(partition);
        !self.is_full() && self.room.as_deref().is_none_or(has_room)
    }

    fn known(&mut self, candidate: &Candidate<J>, now: Instant) -> Known<J> {
        match (&mut self.sharing, &candidate.metadata.keys.shared) {
            (Some(sharing), Some(shared)) => sharing.look_up(shared, now),
            _ => Known::Nothing,
        }
    }

    fn accept(&mut self, candidate: Candidate<J>, now: Instant) -> bool {
        let Candidate { id, job, weight, mut metadata, mut replies, .. } = candidate;
        let (lane, keys) = (Lane::of(&metadata), mem::take(&mut metadata.keys));
        replies.push_metadata(id, metadata);
        self.counts.accepted += 1;
        let turn = keys.sequence.map_or(Turn::First, |key| self.turn(id, key, &lane));
        self.take_in(Accepted { id, job, weight, lane, shared: keys.shared, turn, replies }, now)
    }

    /// Gives an accepted job its room, and its place in an open batch. Returns whether the actor has to be woken.
    pub(super) fn take_in(&mut self, accepted: Accepted<J>, now: Instant) -> bool {
        let Accepted { id, job, weight, lane, shared, turn, replies } = accepted;
        self.counts.pending += 1;
        if let (Some(sharing), Some(shared)) = (&mut self.sharing, shared) {
            sharing.lead(id, shared, lane.clone());
        }
        self.take_room(id, weight, &lane);
        // Without such bounds the partition is not needed.
        let partition = if self.room.is_some() { lane.partition.clone() } else { None };
        let joining = Joining { id, job, weight, lane, accepted_at: now, replies, follows: turn == Turn::Follows };
        let wake = if turn == Turn::Later { self.hold(joining) } else { self.add(joining, now) };
        self.seal_if_room_is_full(partition.as_ref());
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

    /// Counts the job's weight and its partition.
    fn take_room(&mut self, id: JobId, weight: u64, lane: &Lane) {
        let Some(room) = &mut self.room else { return };
        room.take(id, weight, lane.partition.as_ref()).into_iter().for_each(|full| self.wait_queue.block(full));
    }

    /// If there is no room for any weight or for this partition, nothing more can join its open batches: they leave.
    fn seal_if_room_is_full(&mut self, partition: Option<&Key>) {
        let Some(room) = &self.room else { return };
        if room.is_full() {
            self.seal_all(Trigger::Full);
        } else if room.partition_is_full(partition) {
            self.seal_partition(partition, Trigger::Full);
        }
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
        self.seal_for_waiting();
        self.wait_queue.due().is_some_and(|due| self.wakes_at(due))
    }

    /// Where a job waits. A job does not overtake others of its sequence by its priority.
    pub(crate) fn place(&self, metadata: &Metadata, now: Instant) -> Place {
        let priority = if metadata.keys.sequence.is_some() { Priority::Normal } else { metadata.priority };
        let line = |room: &Room| room.line(metadata.keys.partition.as_ref());
        let line = self.room.as_deref().map_or(COMMON_LINE, line);
        Place { line, priority, turn: priority.turn(now, self.ageing) }
    }

    /// If a job waits for a weight to be free, the open batches leave: they may hold it.
    pub(crate) fn seal_for_waiting(&mut self) {
        if self.room.is_some() && self.wait_queue.peek().is_some() {
            self.seal_all(Trigger::Full);
        }
    }

    /// Admits jobs from the wait queue while there is room, in their order.
    pub(crate) fn admit_waiting(&mut self, admitted: &mut Admitted<J>) {
        let mut now = None;
        while let Some(waiting) = self.next_waiting() {
            let now = *now.get_or_insert_with(|| self.clock.now());
            self.admit(waiting, None, now, admitted);
        }
        self.seal_for_waiting();
    }

    /// The next job of the wait queue, if there is room for it.
    pub(crate) fn next_waiting(&mut self) -> Option<Waiting<J>> {
        while !self.is_full() {
            let Some(room) = &self.room else { return self.wait_queue.next() };
            self.wait_queue.peek().filter(|next| room.fits(next.weight))?;
            let next = self.wait_queue.next()?;
            let partition = next.metadata.keys.partition.as_ref();
            let (partition_is_full, line) = (room.partition_is_full(partition), room.line(partition));
            if !partition_is_full || line == COMMON_LINE {
                return Some(next);
            }
            // Its partition had no share when it came, and has all of it now.
            self.wait_queue.block(line);
            let place = Place { line, ..next.place };
            self.wait_queue.join(Waiting { place, ..next });
        }
        None
    }

    /// Admits a job that waited, and with it those that can follow it. What became known of its key meanwhile counts.
    pub(crate) fn admit(
        &mut self,
        waiting: Waiting<J>,
        cached: Option<J::Output>,
        now: Instant,
        admitted: &mut Admitted<J>,
    ) {
        let Waiting { id, job, weight, metadata, block, at, .. } = waiting;
        let (key, replies) =
            (metadata.keys.shared.as_ref().map(|shared| shared.key.clone()), Replies::of_slot(&block, at));
        let entry = self.enter(Candidate { id, job, weight, metadata, replies, cached, has_waited: true }, now);
        let leads = matches!(entry, Entry::Accepted { .. });
        admitted.add(id, entry);
        if let Some(key) = key.filter(|_| leads) {
            self.admit_followers(&key, now, admitted);
        }
    }

    /// Jobs that wait with the key of a job that has just been admitted follow it: they need no room.
    fn admit_followers(&mut self, key: &Key, now: Instant, admitted: &mut Admitted<J>) {
        for Waiting { id, job, weight, metadata, block, at, .. } in self.wait_queue.leave_with(key) {
            let replies = Replies::of_slot(&block, at);
            let candidate = Candidate { id, job, weight, metadata, replies, cached: None, has_waited: true };
            let entry = self.enter(candidate, now);
            admitted.add(id, entry);
        }
    }

    /// Frees the room of `jobs` settled jobs, which had so many followers. With their `ids`, the next jobs of their sequences are released.
    pub(crate) fn settled(&mut self, jobs: usize, followers: usize, ids: Option<&JobIds>) {
        self.counts.pending -= jobs;
        self.counts.following -= followers;
        if let (Some(ids), Some(room)) = (ids, &mut self.room) {
            for line in room.give_back(ids) {
                self.wait_queue.unblock(line);
            }
        }
        if let (Some(ids), Some(sequences)) = (ids, &mut self.sequences) {
            let queues = sequences.settled(ids);
            for queue in &queues {
                self.release_next(*queue);
            }
            if self.closed && !queues.is_empty() {
                self.seal_all(Trigger::Drain);
            }
        }
    }

    /// Releases the first job of a sequence and the jobs after it that may share its open batch.
    #[cold]
    fn release_next(&mut self, queue: u64) {
        let now = self.clock.now();
        for place in 0.. {
            let (lanes, Some(sequences)) = (&self.lanes, &mut self.sequences) else { return };
            let together = |lane: &Lane, first| lanes.has(lane, first);
            let Some(next) = sequences.next(queue, place, together) else { return };
            let partition = next.lane.partition.clone();
            self.add(next, now);
            self.seal_if_room_is_full(partition.as_ref());
        }
    }
}
