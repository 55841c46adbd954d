//! What the collector's actor counts and measures while it runs; [`Stats`] is a snapshot of it.

use std::{collections::BTreeMap, time::Duration};

use super::{Distribution, Levels, Stats};
use crate::batch::{Stray, Tally, Trigger};

/// The counters and histograms of one collector.
#[derive(Debug)]
pub(crate) struct Measurements {
    pub(crate) tally: Tally,
    pub(crate) late: u64,
    pub(crate) lost_events: u64,
    pub(crate) lost_dead_letters: u64,
    pub(crate) restarts: u64,
    pub(crate) left_out: u64,
    stray: u64,
    batch_size: BTreeMap<Trigger, Distribution>,
    wait: Distribution,
    processing: Distribution,
}

impl Default for Measurements {
    fn default() -> Self {
        Self {
            tally: Tally::default(),
            late: 0,
            lost_events: 0,
            lost_dead_letters: 0,
            restarts: 0,
            left_out: 0,
            stray: 0,
            batch_size: BTreeMap::new(),
            wait: Distribution::new(),
            processing: Distribution::new(),
        }
    }
}

impl Measurements {
    pub(crate) fn flushed(&mut self, trigger: Trigger, jobs: usize) {
        self.batch_size.entry(trigger).or_insert_with(Distribution::new).record(jobs as u64);
    }

    pub(crate) fn dispatched(&mut self, wait: Duration) {
        self.wait.record_time(wait);
    }

    pub(crate) fn processed(&mut self, time: Duration) {
        self.processing.record_time(time);
    }

    pub(crate) fn stray(&mut self, stray: Stray) {
        self.stray += stray.unknown + stray.repeated;
    }

    pub(crate) fn snapshot(&self, collector: &str, levels: Levels) -> Stats {
        Stats {
            collector: collector.to_owned(),
            intake: levels.intake,
            succeeded: self.tally.succeeded,
            failed: self.tally.failed,
            forgotten: self.tally.forgotten,
            lost_dead_letters: self.lost_dead_letters,
            stray: self.stray,
            left_out: self.left_out,
            late: self.late,
            lost_events: self.lost_events,
            batches: self.batch_size.iter().map(|(trigger, sizes)| (*trigger, sizes.count())).collect(),
            batch_size: self.batch_size.clone(),
            wait: self.wait.clone(),
            processing: self.processing.clone(),
            ready: levels.ready,
            in_flight: levels.in_flight,
            breaker: levels.breaker,
            paused: levels.paused,
            restarts: self.restarts,
            workers: levels.workers,
        }
    }
}
