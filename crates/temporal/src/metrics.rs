//! What a worker does, through the `metrics` facade.

use std::{sync::Arc, time::Instant};

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use temporalio_sdk::activities::ActivityError;

use crate::activities::Copied;

const STARTED: &str = "actix_batch_temporal_ranges_started_total";
const RETRIED: &str = "actix_batch_temporal_ranges_retried_total";
const COMPLETED: &str = "actix_batch_temporal_ranges_completed_total";
const FAILED: &str = "actix_batch_temporal_ranges_failed_total";
const STOPPED: &str = "actix_batch_temporal_ranges_stopped_total";
const RECORDS: &str = "actix_batch_temporal_records_total";
const SECONDS: &str = "actix_batch_temporal_range_seconds";
const IN_USE: &str = "actix_batch_temporal_slots_in_use";
const FREE: &str = "actix_batch_temporal_slots_free";

/// The metrics of a worker. Clones count together.
#[derive(Clone)]
pub(crate) struct Metrics(Arc<Slots>);

struct Slots {
    task_queue: String,
    slots: u32,
}

/// A slot in use, until it is dropped.
pub(crate) struct Slot(Arc<Slots>);

/// A range that is being copied. Unless it is told how that ended, it was stopped.
pub(crate) struct RangeMetrics {
    definition: String,
    began: Instant,
    is_told: bool,
    _slot: Slot,
}

impl Metrics {
    pub(crate) fn new(task_queue: &str, slots: usize) -> Self {
        describe_counter!(STARTED, Unit::Count, "Attempts to copy a range that were begun");
        describe_counter!(RETRIED, Unit::Count, "Those of them that were not a range's first");
        describe_counter!(COMPLETED, Unit::Count, "Ranges that were copied");
        describe_counter!(FAILED, Unit::Count, "Attempts that failed");
        describe_counter!(STOPPED, Unit::Count, "Attempts that were stopped");
        describe_counter!(RECORDS, Unit::Count, "Source records of the ranges that were copied");
        describe_histogram!(SECONDS, Unit::Seconds, "How long attempts took that copied their range");
        describe_gauge!(IN_USE, Unit::Count, "Slots that copy or plan");
        describe_gauge!(FREE, Unit::Count, "Slots that wait");
        let slots = Slots { task_queue: task_queue.to_owned(), slots: u32::try_from(slots).unwrap_or(u32::MAX) };
        slots.in_use(0.0);
        slots.free(f64::from(slots.slots));
        Self(Arc::new(slots))
    }

    /// A slot has something to do.
    pub(crate) fn slot(&self) -> Slot {
        self.0.in_use(1.0);
        self.0.free(-1.0);
        Slot(Arc::clone(&self.0))
    }

    /// A range is begun.
    pub(crate) fn range(&self, definition: &str, attempt: u32) -> RangeMetrics {
        let definition = definition.to_owned();
        counter!(STARTED, "definition" => definition.clone()).increment(1);
        counter!(RETRIED, "definition" => definition.clone()).increment(u64::from(attempt > 1));
        RangeMetrics { definition, began: Instant::now(), is_told: false, _slot: self.slot() }
    }
}

impl Slots {
    fn in_use(&self, more: f64) {
        gauge!(IN_USE, "task_queue" => self.task_queue.clone()).increment(more);
    }

    fn free(&self, more: f64) {
        gauge!(FREE, "task_queue" => self.task_queue.clone()).increment(more);
    }
}

/// A process without a worker has no free slots.
impl Drop for Slots {
    fn drop(&mut self) {
        self.free(-f64::from(self.slots));
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.in_use(-1.0);
        self.0.free(1.0);
    }
}

impl RangeMetrics {
    pub(crate) fn ended(mut self, copied: &Result<Copied, ActivityError>) {
        match copied {
            Ok(copied) => {
                self.count(COMPLETED, 1);
                self.count(RECORDS, copied.totals().records);
                let seconds = self.began.elapsed().as_secs_f64();
                histogram!(SECONDS, "definition" => self.definition.clone()).record(seconds);
            }
            Err(ActivityError::Cancelled { .. }) => return,
            Err(_) => self.count(FAILED, 1),
        }
        self.is_told = true;
    }

    fn count(&self, name: &'static str, more: u64) {
        counter!(name, "definition" => self.definition.clone()).increment(more);
    }
}

impl Drop for RangeMetrics {
    fn drop(&mut self) {
        if !self.is_told {
            self.count(STOPPED, 1);
        }
    }
}
