//! Sequences: jobs with the same key, which are processed one after the other.
//!
//! Invariants:
//! - Every accepted, unsettled job with a sequence key is in the queue of its key, in the order of acceptance.
//! - The first job of a queue has been released: it is in an open batch, or has left in one. All others are held here, except jobs
//!   that are partitioned by the same key and share a batch with the first.
//! - No queue is empty.

use std::collections::{BTreeSet, HashMap, VecDeque};

use tokio::time::Instant;

use super::lanes::Lane;
use crate::{
    batch::Replies,
    job::{Job, JobId, JobIds, Key},
};

/// An accepted job that is about to join an open batch.
pub(super) struct Joining<J: Job> {
    pub(super) id: JobId,
    pub(super) job: J,
    pub(super) weight: u64,
    pub(super) lane: Lane,
    pub(super) accepted_at: Instant,
    /// Its one reply.
    pub(super) replies: Replies<J>,
    /// The jobs before it in its sequence are in the open batch that it joins. It must join that batch, or be held until they are
    /// settled.
    pub(super) follows: bool,
}

/// Whether it is an accepted job's turn in its sequence.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// It is the first of its sequence.
    First,
    /// All jobs before it are in the open batch that it is about to join.
    Follows,
    /// It is held until the jobs before it are settled.
    Later,
}

/// The jobs of one key.
struct Queue {
    key: Key,
    jobs: VecDeque<JobId>,
}

pub(super) struct Sequences<J: Job> {
    /// By number. The equality of the user's keys may not be stable, so a key cannot identify a queue.
    queues: HashMap<u64, Queue>,
    numbers: HashMap<Key, u64>,
    /// Each job's queue.
    queued: HashMap<JobId, u64>,
    held: HashMap<JobId, Joining<J>>,
    deadlines: BTreeSet<(Instant, JobId)>,
    opened: u64,
}

impl<J: Job> Default for Sequences<J> {
    fn default() -> Self {
        Self {
            queues: HashMap::new(),
            numbers: HashMap::new(),
            queued: HashMap::new(),
            held: HashMap::new(),
            deadlines: BTreeSet::new(),
            opened: 0,
        }
    }
}

impl<J: Job> Sequences<J> {
    /// Adds an accepted job. `together` tells whether a job, the first of the sequence, is in the open batch that this job
    /// would join.
    pub(super) fn accepted(&mut self, job: JobId, key: Key, together: impl FnOnce(JobId) -> bool) -> Turn {
        let number = self.numbers.get(&key).copied().filter(|number| self.queues.contains_key(number));
        let number = number.unwrap_or_else(|| self.open(&key));
        let queue = self.queues.entry(number).or_insert_with(|| Queue { key, jobs: VecDeque::new() });
        let turn = match (queue.jobs.front(), queue.jobs.back()) {
            (Some(first), Some(last)) if !self.held.contains_key(last) && together(*first) => Turn::Follows,
            (Some(_), _) => Turn::Later,
            (None, _) => Turn::First,
        };
        queue.jobs.push_back(job);
        self.queued.insert(job, number);
        turn
    }

    /// The number of a new queue.
    fn open(&mut self, key: &Key) -> u64 {
        self.opened += 1;
        self.numbers.insert(key.clone(), self.opened);
        self.opened
    }

    /// This job has been released, and another one takes its place. Returns whether it is that one's turn; `None` if the job has no sequence.
    pub(super) fn replace(&mut self, job: JobId, other: JobId) -> Option<Turn> {
        let number = self.queued.remove(&job)?;
        self.queued.insert(other, number);
        let queue = &mut self.queues.get_mut(&number)?.jobs;
        let place = queue.iter().position(|queued| *queued == job)?;
        queue[place] = other;
        Some(if place == 0 { Turn::First } else { Turn::Later })
    }

    pub(super) fn hold(&mut self, held: Joining<J>) {
        if let Some(deadline) = held.replies.deadline() {
            self.deadlines.insert((deadline, held.id));
        }
        self.held.insert(held.id, held);
    }

    /// Releases the jobs that are held behind these jobs, which have failed.
    pub(super) fn release_behind(&mut self, failed: &[JobId]) -> Vec<Joining<J>> {
        let queues: BTreeSet<_> = failed.iter().filter_map(|job| self.queued.get(job).copied()).collect();
        let behind =
            queues.iter().filter_map(|queue| self.queues.get(queue)).flat_map(|queue| queue.jobs.iter().copied());
        let held: Vec<_> = behind.filter(|job| self.held.contains_key(job)).collect();
        held.into_iter().filter_map(|job| self.release(job)).collect()
    }

    /// Removes settled jobs. Returns the queues whose first job is still held: it is now that job's turn.
    pub(super) fn settled(&mut self, jobs: &JobIds) -> Vec<u64> {
        let mut next = Vec::new();
        for job in jobs.iter() {
            let Some(number) = self.queued.remove(&job) else { continue };
            let Some(Queue { jobs, .. }) = self.queues.get_mut(&number) else { continue };
            // It is one of the first.
            if let Some(place) = jobs.iter().position(|queued| *queued == job) {
                jobs.remove(place);
            }
            match jobs.front() {
                None => self.close(number),
                Some(first) if self.held.contains_key(first) => next.push(number),
                Some(_) => {}
            }
        }
        next
    }

    fn close(&mut self, number: u64) {
        if let Some(Queue { key, .. }) = self.queues.remove(&number) {
            self.numbers.remove(&key);
        }
    }

    /// Releases the held job at this place of a queue, if its turn has come: it is the first, or it shares a batch with the first.
    /// `together` tells whether a job is in the open batch of a lane.
    pub(super) fn next(
        &mut self,
        queue: u64,
        place: usize,
        together: impl FnOnce(&Lane, JobId) -> bool,
    ) -> Option<Joining<J>> {
        let Queue { key, jobs } = self.queues.get(&queue)?;
        let (first, job) = (*jobs.front()?, *jobs.get(place)?);
        let lane = &self.held.get(&job)?.lane;
        let follows = place > 0;
        if follows && !(lane.partition.as_ref() == Some(key) && together(lane, first)) {
            return None;
        }
        self.release(job).map(|next| Joining { follows, ..next })
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

    /// Releases the held jobs that are past their deadline.
    pub(super) fn late(&mut self, now: Instant) -> Vec<Joining<J>> {
        let mut late = Vec::new();
        while let Some((_, job)) = self.deadlines.first().copied().filter(|(deadline, _)| *deadline <= now) {
            late.extend(self.release(job));
        }
        late
    }

    /// Releases all held jobs, in the order of acceptance. Their sequences are no longer kept.
    pub(super) fn release_all(&mut self) -> Vec<Joining<J>> {
        self.deadlines.clear();
        let mut held: Vec<_> = std::mem::take(&mut self.held).into_iter().collect();
        held.sort_by_key(|(job, _)| *job);
        held.into_iter().map(|(_, held)| held).collect()
    }

    pub(super) fn holds_before(&self, number: u64) -> bool {
        self.held.keys().any(|job| job.0 < number)
    }

    pub(super) fn holds(&self, job: JobId) -> bool {
        self.held.contains_key(&job)
    }
}
