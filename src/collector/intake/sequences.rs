//! Jobs that are to be processed one after the other, because they have the same key.
//!
//! Invariants:
//! - Every accepted job that is not settled is in the queue of its key, in the order of acceptance.
//! - Of each queue the first ones are on their way – in an open batch, or beyond – and all others are held here. One is on its way;
//!   more only where they share a partition of the same key, and a batch with it.
//! - A queue is not empty, and its first job is not held.

use std::collections::{BTreeSet, HashMap, VecDeque};

use tokio::time::Instant;

use super::lanes::Lane;
use crate::{
    batch::Replies,
    job::{Job, JobId, JobIds, Key},
};

/// An accepted job that is about to join an open batch.
pub(super) struct Joining<J: Job> {
    pub(super) job: J,
    pub(super) weight: u64,
    pub(super) lane: Lane,
    pub(super) accepted_at: Instant,
    /// Its one reply.
    pub(super) replies: Replies<J>,
}

pub(super) struct Sequences<J: Job> {
    queues: HashMap<Key, VecDeque<JobId>>,
    keys: HashMap<JobId, Key>,
    held: HashMap<JobId, Joining<J>>,
    deadlines: BTreeSet<(Instant, JobId)>,
}

impl<J: Job> Default for Sequences<J> {
    fn default() -> Self {
        Self { queues: HashMap::new(), keys: HashMap::new(), held: HashMap::new(), deadlines: BTreeSet::new() }
    }
}

impl<J: Job> Sequences<J> {
    /// A job has been accepted. Whether its turn has come: nobody is before it, or `together` says that all of these are in
    /// the open batch that it is about to join.
    pub(super) fn accepted(&mut self, job: JobId, key: Key, together: impl FnOnce(JobId) -> bool) -> bool {
        let queue = self.queues.entry(key.clone()).or_default();
        let held = &self.held;
        let turn = match (queue.front(), queue.back()) {
            (Some(first), Some(last)) => !held.contains_key(last) && together(*first),
            _ => true,
        };
        queue.push_back(job);
        self.keys.insert(job, key);
        turn
    }

    pub(super) fn hold(&mut self, job: JobId, held: Joining<J>) {
        if let Some(deadline) = held.replies.deadline() {
            self.deadlines.insert((deadline, job));
        }
        self.held.insert(job, held);
    }

    /// These jobs have been settled. Returns those whose turn has come with that, in the order of acceptance.
    pub(super) fn settled(&mut self, jobs: &JobIds) -> Vec<Joining<J>> {
        let mut next = Vec::new();
        for job in jobs.iter() {
            let Some(key) = self.keys.remove(&job) else { continue };
            let Some(queue) = self.queues.get_mut(&key) else { continue };
            if let Some(place) = queue.iter().position(|queued| *queued == job) {
                queue.remove(place);
            }
            if queue.is_empty() {
                self.queues.remove(&key);
                continue;
            }
            next.extend(self.next_of(&key));
        }
        next
    }

    /// The first of a queue, if it is held; and those behind it that may share a batch with it.
    fn next_of(&mut self, key: &Key) -> Vec<Joining<J>> {
        let queued = self.queues.get(key).into_iter().flatten().copied();
        let held: Vec<_> = queued.map_while(|job| Some((job, &self.held.get(&job)?.lane))).collect();
        let together = |lane: &Lane| lane.partition.as_ref() == Some(key) && *lane == *held[0].1;
        let others = held.iter().skip(1).take_while(|(_, lane)| together(lane)).count();
        let next: Vec<_> = held.iter().take(1 + others).map(|(job, _)| *job).collect();
        next.into_iter().filter_map(|job| self.release(job)).collect()
    }

    fn release(&mut self, job: JobId) -> Option<Joining<J>> {
        let held = self.held.remove(&job)?;
        if let Some(deadline) = held.replies.deadline() {
            self.deadlines.remove(&(deadline, job));
        }
        Some(held)
    }

    /// When the first deadline of a held job passes.
    pub(super) fn due(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// Held jobs whose deadline has passed: they wait no longer, and are to be settled.
    pub(super) fn late(&mut self, now: Instant) -> Vec<Joining<J>> {
        let mut late = Vec::new();
        while let Some((_, job)) = self.deadlines.first().copied().filter(|(deadline, _)| *deadline <= now) {
            late.extend(self.release(job));
        }
        late
    }

    /// Everything that is held, in the order of acceptance: order has lost its meaning.
    pub(super) fn give_up(&mut self) -> Vec<Joining<J>> {
        self.deadlines.clear();
        let mut held: Vec<_> = std::mem::take(&mut self.held).into_iter().collect();
        held.sort_by_key(|(job, _)| *job);
        held.into_iter().map(|(_, held)| held).collect()
    }

    pub(super) fn holds(&self, job: JobId) -> bool {
        self.held.contains_key(&job)
    }
}
