//! The wait queue: jobs that wait for room, by priority and age.
//!
//! Jobs stand in lines: one for each partition that has a bound of its own and pending jobs, and one for all others. The job that is admitted
//! next is the first of all lines that are not blocked, which are those whose partition is full.
//!
//! Invariants:
//! - Within a line, jobs of one priority stand in the order of arrival, which is that of their numbers.
//! - `next` has the first job of each line of a partition that is not blocked.

use std::{
    collections::{BTreeSet, HashMap, HashSet, VecDeque},
    mem,
    sync::Arc,
};

use tokio::time::Instant;

use super::room::COMMON_LINE;
use crate::{
    batch::{Block, Metadata, Replies},
    job::{Job, JobId, Key, Priority},
};

/// Where a job waits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) line: u64,
    /// The priority by which it waits.
    pub(super) priority: Priority,
    /// The earliest turn goes first.
    pub(super) turn: Instant,
}

/// A job whose submitter waits for room.
pub(super) struct Waiting<J: Job> {
    pub(super) id: JobId,
    pub(super) job: J,
    pub(super) weight: u64,
    pub(super) metadata: Box<Metadata>,
    pub(super) block: Arc<Block<J>>,
    pub(super) at: u32,
    pub(super) place: Place,
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

    fn turn(&self) -> (Instant, JobId) {
        (self.place.turn, self.id)
    }
}

/// Jobs of one priority, in the order of arrival. The first place is never a gap.
struct Queue<J: Job> {
    /// `None`: a gap, because the submitter has gone.
    places: VecDeque<(JobId, Option<Waiting<J>>)>,
    gaps: usize,
}

impl<J: Job> Default for Queue<J> {
    fn default() -> Self {
        Self { places: VecDeque::new(), gaps: 0 }
    }
}

impl<J: Job> Queue<J> {
    fn first(&self) -> Option<&Waiting<J>> {
        self.places.front()?.1.as_ref()
    }

    fn join(&mut self, waiting: Waiting<J>) {
        let id = waiting.id;
        if self.places.back().is_none_or(|(last, _)| *last < id) {
            return self.places.push_back((id, Some(waiting)));
        }
        // It waited before, in another line, or comes back.
        let place = self.places.partition_point(|(other, _)| *other < id);
        self.places.insert(place, (id, Some(waiting)));
    }

    fn find(&self, id: JobId) -> Option<usize> {
        let place = self.places.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        self.places[place].1.is_some().then_some(place)
    }

    fn leave(&mut self, id: JobId) -> Option<Waiting<J>> {
        let waiting = if self.places.front().is_some_and(|(first, _)| *first == id) {
            self.places.pop_front()?.1
        } else {
            let place = self.find(id)?;
            self.gaps += 1;
            self.places[place].1.take()
        };
        while self.places.front().is_some_and(|(_, waiting)| waiting.is_none()) {
            self.places.pop_front();
            self.gaps -= 1;
        }
        // Gaps are closed once they are more than half of the queue. So leaving is cheap, and gaps do not accumulate.
        if self.gaps * 2 > self.places.len() {
            self.places.retain(|(_, waiting)| waiting.is_some());
            self.gaps = 0;
        }
        waiting
    }
}

/// A queue for each priority.
struct Line<J: Job>([Queue<J>; Priority::ALL.len()]);

impl<J: Job> Default for Line<J> {
    fn default() -> Self {
        Self([Queue::default(), Queue::default(), Queue::default()])
    }
}

impl<J: Job> Line<J> {
    fn first(&self) -> Option<&Waiting<J>> {
        self.0.iter().filter_map(Queue::first).min_by_key(|waiting| waiting.turn())
    }

    fn join(&mut self, waiting: Waiting<J>) {
        self.0[waiting.place.priority.rank() as usize].join(waiting);
    }

    fn leave(&mut self, id: JobId) -> Option<Waiting<J>> {
        self.0.iter_mut().find_map(|queue| queue.leave(id))
    }

    fn contains(&self, id: JobId) -> bool {
        self.0.iter().any(|queue| queue.find(id).is_some())
    }

    fn into_waiting(self) -> impl Iterator<Item = Waiting<J>> {
        self.0.into_iter().flat_map(|queue| queue.places).filter_map(|(_, waiting)| waiting)
    }
}

pub(super) struct WaitQueue<J: Job> {
    len: usize,
    common: Line<J>,
    /// The lines of partitions, by number.
    lines: HashMap<u64, Line<J>>,
    /// The line of each job in them.
    line_of: HashMap<JobId, u64>,
    next: BTreeSet<(Instant, JobId)>,
    blocked: HashSet<u64>,
    deadlines: BTreeSet<(Instant, JobId)>,
    /// By the key that they share a reply by.
    shared: HashMap<Key, BTreeSet<JobId>>,
}

impl<J: Job> Default for WaitQueue<J> {
    fn default() -> Self {
        Self {
            len: 0,
            common: Line::default(),
            lines: HashMap::new(),
            line_of: HashMap::new(),
            next: BTreeSet::new(),
            blocked: HashSet::new(),
            deadlines: BTreeSet::new(),
            shared: HashMap::new(),
        }
    }
}

impl<J: Job> WaitQueue<J> {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Puts a job in its line. A job that comes back has its old place.
    pub(super) fn join(&mut self, waiting: Waiting<J>) {
        self.len += 1;
        if let Some(deadline) = waiting.metadata.deadline {
            self.deadlines.insert((deadline, waiting.id));
        }
        if let Some(key) = waiting.shared_key() {
            self.shared.entry(key.clone()).or_default().insert(waiting.id);
        }
        match waiting.place.line {
            COMMON_LINE => self.common.join(waiting),
            number => {
                self.line_of.insert(waiting.id, number);
                self.change(number, |line| line.join(waiting));
            }
        }
    }

    /// The job that is admitted next.
    pub(super) fn peek(&self) -> Option<&Waiting<J>> {
        let of_partition = self.next.first().and_then(|(_, id)| self.lines.get(self.line_of.get(id)?)?.first());
        [self.common.first(), of_partition].into_iter().flatten().min_by_key(|waiting| waiting.turn())
    }

    /// Removes the job that is admitted next.
    pub(super) fn next(&mut self) -> Option<Waiting<J>> {
        let id = self.peek()?.id;
        self.leave(id)
    }

    /// Removes a job, wherever it is in the queue.
    pub(super) fn leave(&mut self, id: JobId) -> Option<Waiting<J>> {
        // Most collectors have one line, and need not look.
        let number = if self.line_of.is_empty() { None } else { self.line_of.remove(&id) };
        let waiting = match number {
            None => self.common.leave(id)?,
            Some(number) => self.change(number, |line| line.leave(id))?,
        };
        self.len -= 1;
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

    /// Changes the line of a partition, and keeps account of its first job.
    fn change<R>(&mut self, number: u64, change: impl FnOnce(&mut Line<J>) -> R) -> R {
        let line = self.lines.entry(number).or_default();
        let before = line.first().map(Waiting::turn);
        let result = change(line);
        let first = line.first().map(Waiting::turn);
        if first.is_none() {
            self.lines.remove(&number);
        }
        if before != first && !self.blocked.contains(&number) {
            before.map(|before| self.next.remove(&before));
            self.next.extend(first);
        }
        result
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
        self.lines.get(&line)?.first().map(Waiting::turn)
    }

    /// Removes the jobs that share their reply by this key, in the order of arrival.
    pub(super) fn leave_with(&mut self, key: &Key) -> Vec<Waiting<J>> {
        let ids = self.shared.remove(key).unwrap_or_default();
        ids.into_iter().filter_map(|id| self.leave(id)).collect()
    }

    pub(super) fn contains(&self, id: JobId) -> bool {
        self.line_of.contains_key(&id) || self.common.contains(id)
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
        let Self { common, lines, .. } = mem::take(self);
        let mut waiting: Vec<_> = lines.into_values().chain([common]).flat_map(Line::into_waiting).collect();
        waiting.sort_by_key(|waiting| waiting.id);
        waiting
    }
}
