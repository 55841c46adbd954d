//! The wait queue: jobs that wait for room, by priority and age.
//!
//! Jobs stand in lines: one for each partition that has a share of the room, and one for all others. The job that is admitted next is
//! the first of all lines that are not blocked, which are those whose partition is full.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use tokio::time::Instant;

use crate::{
    batch::{Block, Metadata, Replies},
    job::{Job, JobId, Key},
};

/// A job whose submitter waits for room.
pub(super) struct Waiting<J: Job> {
    pub(super) id: JobId,
    pub(super) job: J,
    pub(super) weight: u64,
    pub(super) metadata: Box<Metadata>,
    pub(super) block: Arc<Block<J>>,
    pub(super) at: u32,
    /// The earliest turn goes first.
    pub(super) turn: Instant,
    /// The line that it stands in.
    pub(super) line: u64,
}

impl<J: Job> Waiting<J> {
    /// The job and its reply.
    pub(super) fn into_parts(self) -> (J, Replies<J>) {
        let mut replies = Replies::of_slot(&self.block, self.at);
        replies.push_metadata(self.id, self.metadata);
        (self.job, replies)
    }

    fn shared_key(&self) -> Option<&Key> {
        Some(&self.metadata.keys.shared.as_ref()?.key)
    }
}

pub(super) struct WaitQueue<J: Job> {
    waiting: HashMap<JobId, Waiting<J>>,
    lines: HashMap<u64, BTreeSet<(Instant, JobId)>>,
    /// The first of each line that is not blocked.
    next: BTreeSet<(Instant, JobId)>,
    blocked: HashSet<u64>,
    deadlines: BTreeSet<(Instant, JobId)>,
    /// By the key that they share a reply by.
    shared: HashMap<Key, BTreeSet<JobId>>,
}

impl<J: Job> Default for WaitQueue<J> {
    fn default() -> Self {
        Self {
            waiting: HashMap::new(),
            lines: HashMap::new(),
            next: BTreeSet::new(),
            blocked: HashSet::new(),
            deadlines: BTreeSet::new(),
            shared: HashMap::new(),
        }
    }
}

impl<J: Job> WaitQueue<J> {
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Puts a job in its line. A job that comes back has its old place.
    pub(super) fn join(&mut self, waiting: Waiting<J>) {
        if let Some(deadline) = waiting.metadata.deadline {
            self.deadlines.insert((deadline, waiting.id));
        }
        if let Some(key) = waiting.shared_key() {
            self.shared.entry(key.clone()).or_default().insert(waiting.id);
        }
        let (line, place) = (waiting.line, (waiting.turn, waiting.id));
        self.change(line, |line| line.insert(place));
        self.waiting.insert(waiting.id, waiting);
    }

    /// The job that is admitted next.
    pub(super) fn peek(&self) -> Option<&Waiting<J>> {
        self.next.first().and_then(|(_, id)| self.waiting.get(id))
    }

    /// Removes the job that is admitted next.
    pub(super) fn next(&mut self) -> Option<Waiting<J>> {
        let (_, id) = *self.next.first()?;
        self.leave(id)
    }

    /// Removes a job, wherever it is in the queue.
    pub(super) fn leave(&mut self, id: JobId) -> Option<Waiting<J>> {
        let waiting = self.waiting.remove(&id)?;
        self.change(waiting.line, |line| line.remove(&(waiting.turn, id)));
        if let Some(deadline) = waiting.metadata.deadline {
            self.deadlines.remove(&(deadline, id));
        }
        if let Some(key) = waiting.shared_key()
            && let Some(ids) = self.shared.get_mut(key)
        {
            ids.remove(&id);
            if ids.is_empty() {
                self.shared.remove(key);
            }
        }
        Some(waiting)
    }

    /// Changes a line, and keeps account of its first job.
    fn change(&mut self, number: u64, change: impl FnOnce(&mut BTreeSet<(Instant, JobId)>) -> bool) {
        let line = self.lines.entry(number).or_default();
        let before = line.first().copied();
        change(line);
        let first = line.first().copied();
        if first.is_none() {
            self.lines.remove(&number);
        }
        if before != first && !self.blocked.contains(&number) {
            before.map(|before| self.next.remove(&before));
            self.next.extend(first);
        }
    }

    /// The partition of this line is full: its jobs go on waiting.
    pub(super) fn block(&mut self, line: u64) {
        if self.blocked.insert(line)
            && let Some(first) = self.first(line)
        {
            self.next.remove(&first);
        }
    }

    /// The partition of this line has room again.
    pub(super) fn unblock(&mut self, line: u64) {
        if self.blocked.remove(&line) {
            self.next.extend(self.first(line));
        }
    }

    fn first(&self, line: u64) -> Option<(Instant, JobId)> {
        self.lines.get(&line)?.first().copied()
    }

    /// Removes the jobs that share their reply by this key, in the order of arrival.
    pub(super) fn leave_with(&mut self, key: &Key) -> Vec<Waiting<J>> {
        let ids = self.shared.remove(key).unwrap_or_default();
        ids.into_iter().filter_map(|id| self.leave(id)).collect()
    }

    pub(super) fn contains(&self, id: JobId) -> bool {
        self.waiting.contains_key(&id)
    }

    /// The earliest deadline of the waiting jobs.
    pub(super) fn due(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// Removes the jobs that are past their deadline.
    pub(super) fn late(&mut self, now: Instant) -> Vec<Waiting<J>> {
        let mut late = Vec::new();
        while let Some((_, id)) = self.deadlines.first().copied().filter(|(deadline, _)| *deadline <= now) {
            late.extend(self.leave(id));
        }
        late
    }

    /// Removes all jobs, in the order of arrival.
    pub(super) fn leave_all(&mut self) -> Vec<Waiting<J>> {
        let mut waiting: Vec<_> = std::mem::take(self).waiting.into_values().collect();
        waiting.sort_by_key(|waiting| waiting.id);
        waiting
    }
}
