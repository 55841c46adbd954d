//! Open batches beside the common one: of jobs of other priorities, and of partitions.
//!
//! They are put aside here while they gather; the state takes one in hand to do something to it.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    batch::{Replies, Terms},
    flush::OpenBatch,
    job::{Job, JobId, Key, Priority},
};

/// Which open batch a job joins: jobs of other priorities or partitions do not share it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Lane {
    pub(super) priority: Priority,
    pub(super) partition: Option<Key>,
}

impl Lane {
    pub(super) fn of(terms: &Terms) -> Self {
        Self { priority: terms.priority, partition: terms.keys.partition.clone() }
    }

    /// That of jobs that say nothing.
    pub(super) fn is_common(&self) -> bool {
        self.priority == Priority::Normal && self.partition.is_none()
    }

    /// When it is its turn, if its open batch has been there since then.
    pub(super) fn urgency(&self, opened_at: Instant, ageing: Duration) -> Urgency {
        (self.priority.turn(opened_at, ageing), Reverse(self.priority))
    }
}

/// The least goes first.
pub(super) type Urgency = (Instant, Reverse<Priority>);

/// A batch that gathers.
pub(super) struct Open<J: Job> {
    pub(super) lane: Lane,
    pub(super) jobs: Vec<J>,
    pub(super) replies: Replies<J>,
    /// When it leaves because a deadline is near.
    pub(super) leave_at: Option<Instant>,
}

impl<J: Job> Default for Open<J> {
    fn default() -> Self {
        Self::of(Lane::default())
    }
}

impl<J: Job> Open<J> {
    pub(super) fn of(lane: Lane) -> Self {
        Self { lane, jobs: Vec::new(), replies: Replies::default(), leave_at: None }
    }

    /// Brings its leaving forward: a job of it is worthless after `deadline`. A quarter of the time is left for the way to a
    /// worker.
    pub(super) fn leave_before(&mut self, deadline: Instant, now: Instant) {
        let leave_at = deadline - deadline.saturating_duration_since(now) / 4;
        self.leave_at = Some(self.leave_at.map_or(leave_at, |earlier| earlier.min(leave_at)));
    }
}

/// An open batch that is not in hand, and not empty.
pub(super) struct Aside<J: Job> {
    pub(super) open: Open<J>,
    /// The same, as the flush policy sees it.
    pub(super) seen: OpenBatch,
    /// When it leaves by time, as far as is known.
    pub(super) due: Option<Instant>,
    /// Its number, in the order in which they were opened.
    number: u64,
    used: u64,
}

/// All that are not in hand.
pub(super) struct Lanes<J: Job> {
    open: HashMap<Lane, Aside<J>>,
    by_use: BTreeMap<u64, Lane>,
    by_due: BTreeMap<(Instant, u64), Lane>,
    by_urgency: BTreeMap<(Reverse<Priority>, u64), Lane>,
    opened: u64,
    uses: u64,
}

impl<J: Job> Default for Lanes<J> {
    fn default() -> Self {
        Self {
            open: HashMap::new(),
            by_use: BTreeMap::new(),
            by_due: BTreeMap::new(),
            by_urgency: BTreeMap::new(),
            opened: 0,
            uses: 0,
        }
    }
}

impl<J: Job> Lanes<J> {
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    pub(super) fn is_open(&self, lane: &Lane) -> bool {
        self.open.contains_key(lane)
    }

    /// Whether this job is in the open batch.
    pub(super) fn has(&self, lane: &Lane, job: JobId) -> bool {
        self.open.get(lane).is_some_and(|aside| aside.open.replies.contains(job))
    }

    /// The open batches, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Open<J>> {
        self.open.values().map(|aside| &aside.open)
    }

    /// Takes an open batch in hand: the one that is there, or a new one.
    pub(super) fn take(&mut self, lane: Lane) -> Aside<J> {
        let Some(aside) = self.open.remove(&lane) else {
            self.opened += 1;
            let (seen, due, number) = (OpenBatch::default(), None, self.opened);
            return Aside { open: Open::of(lane), seen, due, number, used: 0 };
        };
        self.by_use.remove(&aside.used);
        self.by_urgency.remove(&(Reverse(lane.priority), aside.number));
        if let Some(due) = aside.due {
            self.by_due.remove(&(due, aside.number));
        }
        aside
    }

    /// Puts an open batch aside. It is the one that was used last.
    pub(super) fn put(&mut self, mut aside: Aside<J>) {
        self.uses += 1;
        aside.used = self.uses;
        let lane = &aside.open.lane;
        self.by_use.insert(aside.used, lane.clone());
        self.by_urgency.insert((Reverse(lane.priority), aside.number), lane.clone());
        if let Some(due) = aside.due {
            self.by_due.insert((due, aside.number), lane.clone());
        }
        self.open.insert(lane.clone(), aside);
    }

    pub(super) fn least_recently_used(&self) -> Option<Lane> {
        self.by_use.first_key_value().map(|(_, lane)| lane.clone())
    }

    /// The highest priority, and of these the one that was opened first.
    pub(super) fn most_urgent(&self) -> Option<Lane> {
        self.by_urgency.first_key_value().map(|(_, lane)| lane.clone())
    }

    /// When the first one leaves by time.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.by_due.first_key_value().map(|((due, _), _)| *due)
    }

    /// Those that are due.
    pub(super) fn due(&self, now: Instant) -> Vec<Lane> {
        self.by_due.range(..=(now, u64::MAX)).map(|(_, lane)| lane.clone()).collect()
    }

    /// Whose turn it is when a worker is free: of the first ones of each priority.
    pub(super) fn next_for_worker(&self, ageing: Duration) -> Option<(Urgency, Lane)> {
        let first_of = |priority| self.by_urgency.range((Reverse(priority), 0)..=(Reverse(priority), u64::MAX)).next();
        let firsts = Priority::ALL.into_iter().filter_map(first_of);
        let turns =
            firsts.filter_map(|(_, lane)| Some((lane.urgency(self.open.get(lane)?.seen.opened_at?, ageing), lane)));
        turns.min_by_key(|(turn, _)| *turn).map(|(turn, lane)| (turn, lane.clone()))
    }
}
