//! The lanes: open batches beside the common one, for jobs of other priorities and for partitions.
//!
//! An open batch is parked here. To add a job or to send it, the state takes the batch out, makes it the current one, and parks it
//! again.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    batch::{Metadata, Replies},
    flush::OpenBatch,
    job::{Job, JobId, Key, Priority},
};

/// Which open batch a job joins. Jobs share one only if they have the same priority and the same partition.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Lane {
    pub(super) priority: Priority,
    pub(super) partition: Option<Key>,
}

impl Lane {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self { priority: metadata.priority, partition: metadata.keys.partition.clone() }
    }

    /// Whether this is the lane of jobs with neither a priority nor a partition.
    pub(super) fn is_common(&self) -> bool {
        self.priority == Priority::Normal && self.partition.is_none()
    }
}

/// The smallest goes first.
pub(super) type Urgency = (Instant, Reverse<Priority>);

/// An open batch.
pub(super) struct Open<J: Job> {
    pub(super) lane: Lane,
    /// The lane's priority, or a higher one that a follower of one of its jobs has.
    pub(super) priority: Priority,
    pub(super) jobs: Vec<J>,
    pub(super) replies: Replies<J>,
    /// When it leaves because a job's deadline is near.
    pub(super) leave_at: Option<Instant>,
}

impl<J: Job> Default for Open<J> {
    fn default() -> Self {
        Self::of(Lane::default())
    }
}

impl<J: Job> Open<J> {
    pub(super) fn of(lane: Lane) -> Self {
        Self { priority: lane.priority, lane, jobs: Vec::new(), replies: Replies::default(), leave_at: None }
    }

    /// How urgent the batch is if it was opened at `opened_at`.
    pub(super) fn urgency(&self, opened_at: Instant, ageing: Duration) -> Urgency {
        (self.priority.turn(opened_at, ageing), Reverse(self.priority))
    }

    /// Makes the batch leave early enough for a job with this deadline: a quarter of the remaining time is kept for the way to a
    /// worker.
    pub(super) fn leave_before(&mut self, deadline: Instant, now: Instant) {
        let leave_at = deadline - deadline.saturating_duration_since(now) / 4;
        self.leave_at = Some(self.leave_at.map_or(leave_at, |earlier| earlier.min(leave_at)));
    }
}

/// An open batch that is not the current one. It has at least one job.
pub(super) struct Parked<J: Job> {
    pub(super) open: Open<J>,
    /// The batch as the flush policy sees it.
    pub(super) seen: OpenBatch,
    /// When it leaves by time, if that is known.
    pub(super) due: Option<Instant>,
    /// Its number, in the order of opening.
    number: u64,
    /// When it was parked last, as a count of uses.
    used: u64,
}

/// All parked batches, by number. A lane contains the user's key, whose equality may not be stable, so it cannot identify a batch.
pub(super) struct Lanes<J: Job> {
    open: HashMap<u64, Parked<J>>,
    numbers: HashMap<Lane, u64>,
    by_use: BTreeMap<u64, u64>,
    by_due: BTreeSet<(Instant, u64)>,
    by_urgency: BTreeSet<(Reverse<Priority>, u64)>,
    opened: u64,
    uses: u64,
}

impl<J: Job> Default for Lanes<J> {
    fn default() -> Self {
        Self {
            open: HashMap::new(),
            numbers: HashMap::new(),
            by_use: BTreeMap::new(),
            by_due: BTreeSet::new(),
            by_urgency: BTreeSet::new(),
            opened: 0,
            uses: 0,
        }
    }
}

impl<J: Job> Lanes<J> {
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    /// The number of this lane's open batch, if it has one.
    pub(super) fn find(&self, lane: &Lane) -> Option<u64> {
        self.numbers.get(lane).copied().filter(|number| self.open.contains_key(number))
    }

    /// Whether this job is in the lane's open batch.
    pub(super) fn has(&self, lane: &Lane, job: JobId) -> bool {
        let parked = self.numbers.get(lane).and_then(|number| self.open.get(number));
        parked.is_some_and(|parked| parked.open.replies.contains(job))
    }

    /// The parked batches, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Open<J>> {
        self.open.values().map(|parked| &parked.open)
    }

    /// A new, empty batch, to become the current one.
    pub(super) fn open(&mut self, lane: Lane) -> Parked<J> {
        self.opened += 1;
        Parked { open: Open::of(lane), seen: OpenBatch::default(), due: None, number: self.opened, used: 0 }
    }

    /// Takes a parked batch out.
    pub(super) fn take(&mut self, number: u64) -> Option<Parked<J>> {
        let parked = self.open.remove(&number)?;
        self.numbers.remove(&parked.open.lane);
        self.by_use.remove(&parked.used);
        self.by_urgency.remove(&(Reverse(parked.open.priority), number));
        if let Some(due) = parked.due {
            self.by_due.remove(&(due, number));
        }
        Some(parked)
    }

    /// Parks a batch. It becomes the most recently used one.
    pub(super) fn park(&mut self, mut parked: Parked<J>) {
        self.uses += 1;
        parked.used = self.uses;
        let (lane, number) = (&parked.open.lane, parked.number);
        self.numbers.insert(lane.clone(), number);
        self.by_use.insert(parked.used, number);
        self.by_urgency.insert((Reverse(parked.open.priority), number));
        self.by_due.extend(parked.due.map(|due| (due, number)));
        self.open.insert(number, parked);
    }

    pub(super) fn least_recently_used(&self) -> Option<u64> {
        self.by_use.first_key_value().map(|(_, number)| *number)
    }

    /// The batch of the highest priority; of several, the one that was opened first.
    pub(super) fn most_urgent(&self) -> Option<(Priority, u64)> {
        self.by_urgency.first().map(|(Reverse(priority), number)| (*priority, *number))
    }

    /// When the next batch leaves by time.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.by_due.first().map(|(due, _)| *due)
    }

    /// The batches that are due.
    pub(super) fn due(&self, now: Instant) -> Vec<u64> {
        self.by_due.range(..=(now, u64::MAX)).map(|(_, number)| *number).collect()
    }

    /// The batch that a free worker takes next: the most urgent of the oldest batches of each priority.
    pub(super) fn next_for_worker(&self, ageing: Duration) -> Option<(Urgency, u64)> {
        let of = |priority| (Reverse(priority), 0)..=(Reverse(priority), u64::MAX);
        let oldest = Priority::ALL.into_iter().filter_map(|priority| self.by_urgency.range(of(priority)).next());
        let urgencies = oldest.filter_map(|(_, number)| {
            let Parked { open, seen, .. } = self.open.get(number)?;
            Some((open.urgency(seen.opened_at?, ageing), *number))
        });
        urgencies.min()
    }
}
