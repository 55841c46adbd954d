//! The room beyond the number of jobs: how much the accepted jobs weigh, and how many each partition has. Kept only by a collector that
//! bounds one of them.

use std::collections::HashMap;

use crate::job::{JobId, JobIds, Key};

/// The bounds of the room, beside `max_pending`.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct RoomLimits {
    pub(crate) weight: Option<u64>,
    pub(crate) per_partition: Option<usize>,
}

impl RoomLimits {
    pub(super) fn is_off(&self) -> bool {
        self.weight.is_none() && self.per_partition.is_none()
    }
}

/// The line of jobs whose partition has no accepted job, or no bound.
pub(super) const COMMON_LINE: u64 = 0;

/// The accepted jobs that are not settled.
#[derive(Default)]
pub(super) struct Room {
    limits: RoomLimits,
    weight: u128,
    /// Each job's weight, and the number of its partition.
    jobs: HashMap<JobId, (u64, u64)>,
    /// By number. The equality of the user's keys may not be stable, so a key cannot identify a partition.
    partitions: HashMap<u64, Partition>,
    numbers: HashMap<Option<Key>, u64>,
    opened: u64,
}

struct Partition {
    key: Option<Key>,
    jobs: usize,
}

impl Room {
    pub(super) fn new(limits: RoomLimits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// The weight of all accepted jobs.
    pub(super) fn weight(&self) -> u64 {
        u64::try_from(self.weight).unwrap_or(u64::MAX)
    }

    /// Whether a job of this weight can be accepted. A job that is heavier than the bound is accepted when there is no other.
    pub(super) fn fits(&self, weight: u64) -> bool {
        let fits = |most| self.weight + u128::from(weight) <= u128::from(most);
        self.jobs.is_empty() || self.limits.weight.is_none_or(fits)
    }

    /// Whether there is no room for any weight.
    pub(super) fn is_full(&self) -> bool {
        self.limits.weight.is_some_and(|most| self.weight >= u128::from(most))
    }

    /// Whether the partition of this key has as many jobs as it may.
    pub(super) fn partition_is_full(&self, key: Option<&Key>) -> bool {
        let jobs =
            self.number(key).and_then(|number| self.partitions.get(&number)).map_or(0, |partition| partition.jobs);
        self.limits.per_partition.is_some_and(|most| jobs >= most)
    }

    /// The line that a job of this partition waits in.
    pub(super) fn line(&self, key: Option<&Key>) -> u64 {
        self.number(key).unwrap_or(COMMON_LINE)
    }

    fn number(&self, key: Option<&Key>) -> Option<u64> {
        self.limits.per_partition?;
        self.numbers.get(&key.cloned()).copied().filter(|number| self.partitions.contains_key(number))
    }

    /// A job is accepted. Returns the line to block, if its partition is full now.
    pub(super) fn take(&mut self, job: JobId, weight: u64, key: Option<&Key>) -> Option<u64> {
        self.weight += u128::from(weight);
        let Some(most) = self.limits.per_partition else {
            self.jobs.insert(job, (weight, COMMON_LINE));
            return None;
        };
        let number = self.number(key).unwrap_or_else(|| self.open(key));
        self.jobs.insert(job, (weight, number));
        let partition = self.partitions.get_mut(&number)?;
        partition.jobs += 1;
        (partition.jobs >= most).then_some(number)
    }

    fn open(&mut self, key: Option<&Key>) -> u64 {
        self.opened += 1;
        self.numbers.insert(key.cloned(), self.opened);
        self.partitions.insert(self.opened, Partition { key: key.cloned(), jobs: 0 });
        self.opened
    }

    /// Jobs are settled. Returns the lines to unblock.
    pub(super) fn give_back(&mut self, jobs: &JobIds) -> Vec<u64> {
        let mut with_room = Vec::new();
        for (weight, number) in jobs.iter().filter_map(|job| self.jobs.remove(&job)).collect::<Vec<_>>() {
            self.weight -= u128::from(weight);
            let Some(partition) = self.partitions.get_mut(&number) else { continue };
            partition.jobs -= 1;
            with_room.push(number);
            if partition.jobs == 0 {
                self.close(number);
            }
        }
        with_room
    }

    fn close(&mut self, number: u64) {
        let Some(Partition { key, .. }) = self.partitions.remove(&number) else { return };
        self.numbers.remove(&key);
        // A key whose equality is not stable cannot be found again.
        if self.numbers.len() > 2 * self.partitions.len() + 16 {
            self.numbers.retain(|_, number| self.partitions.contains_key(number));
        }
    }
}
