//! Which records have been written, as intervals of positions.

use actix_batch::Batch;
use serde::{Deserialize, Serialize};

use crate::record::{Position, Record};

/// Records that were written, from one position to another, both included. Between them lie only records that were filtered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Interval {
    /// The first one's source record and part.
    pub first: (u64, u32),
    /// The last one's source record and part.
    pub last: (u64, u32),
}

/// Sorted intervals of one range that neither touch nor overlap.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Intervals(Vec<Interval>);

/// Joins records to intervals, one after the other.
#[derive(Debug, Default)]
pub(crate) struct IntervalBuilder {
    intervals: Vec<(u32, Interval)>,
    /// The sequence number of the last record.
    before: Option<u64>,
}

impl Interval {
    /// The intervals of a batch, each with its range, in the order of the batch: neighbours become one.
    pub fn of_batch<T>(batch: &Batch<Record<T>>) -> Vec<(u32, Self)> {
        Self::of_written(batch, |_| true)
    }

    /// The intervals of those records of a batch that were written, asked by their position in the batch. A record that was not written
    /// ends an interval.
    pub fn of_written<T>(batch: &Batch<Record<T>>, is_written: impl Fn(usize) -> bool) -> Vec<(u32, Self)> {
        let written = batch.iter().enumerate().filter(|(at, _)| is_written(*at));
        Self::of(written.map(|(_, record)| (record.position(), record.sequence())))
    }

    /// The intervals of some records of a batch, by position and sequence number: of those that were written.
    pub fn of(records: impl IntoIterator<Item = (Position, u64)>) -> Vec<(u32, Self)> {
        let mut joined = IntervalBuilder::default();
        records.into_iter().for_each(|(position, sequence)| joined.add(position, sequence));
        joined.into_intervals()
    }
}

impl IntervalBuilder {
    /// Adds a record, which comes after those that were added before.
    pub(crate) fn add(&mut self, position: Position, sequence: u64) {
        let place = (position.record, position.part);
        match self.intervals.last_mut() {
            Some((range, interval)) if *range == position.range && self.before == sequence.checked_sub(1) => {
                interval.last = place;
            }
            _ => self.intervals.push((position.range, Interval { first: place, last: place })),
        }
        self.before = Some(sequence);
    }

    /// The intervals so far.
    #[cfg(feature = "sqlite")]
    pub(crate) fn intervals(&self) -> &[(u32, Interval)] {
        &self.intervals
    }

    pub(crate) fn into_intervals(self) -> Vec<(u32, Interval)> {
        self.intervals
    }
}

impl Intervals {
    /// Whether a record was written.
    pub fn contains(&self, position: Position) -> bool {
        let place = (position.record, position.part);
        let after = self.0.partition_point(|interval| interval.first <= place);
        after.checked_sub(1).is_some_and(|index| self.0[index].last >= place)
    }

    /// Adds an interval, and joins it with those that it overlaps.
    pub fn insert(&mut self, mut interval: Interval) {
        let from = self.0.partition_point(|known| known.last < interval.first);
        let to = self.0.partition_point(|known| known.first <= interval.last);
        if let (Some(first), Some(last)) = (self.0[from..to.max(from)].first(), self.0[from..to.max(from)].last()) {
            interval = Interval { first: interval.first.min(first.first), last: interval.last.max(last.last) };
        }
        self.0.splice(from..to.max(from), [interval]);
    }

    /// Forgets what lies wholly before this source record: the prefix has passed it.
    pub fn forget_before(&mut self, record: u64) {
        self.0.retain(|interval| interval.last.0 >= record);
    }

    /// The intervals, sorted.
    pub fn iter(&self) -> impl Iterator<Item = &Interval> {
        self.0.iter()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

impl FromIterator<Interval> for Intervals {
    fn from_iter<I: IntoIterator<Item = Interval>>(intervals: I) -> Self {
        let mut all = Self::default();
        intervals.into_iter().for_each(|interval| all.insert(interval));
        all
    }
}
