//! What a collector has counted and measured since it started.

use std::collections::BTreeMap;

use super::{Distribution, IntakeCounts};
use crate::{batch::Trigger, dispatch::BreakerState, error::Failures};

/// What a collector has counted and measured since it started, as `GetStats` and `Collector::stats` answer it.
///
/// `intake.accepted == succeeded + failed.total() + intake.pending`, always. Two snapshots give the figures of the time between
/// them: see [`since`](Self::since).
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Stats {
    /// The collector's name.
    pub collector: String,
    /// What came in, and what is inside now.
    pub intake: IntakeCounts,
    /// Jobs whose reply was an output.
    pub succeeded: u64,
    /// Jobs whose reply was an error, by cause.
    pub failed: Failures,
    /// Failed jobs that were submitted by `do_send`, so that no caller was told. They are logged too, unless they go to the dead
    /// letters.
    pub forgotten: u64,
    /// Failed jobs that were not handed to the dead letters: a worker still had them when they were settled, or the dead letters
    /// panicked. They are logged too.
    pub lost_dead_letters: u64,
    /// Results that were dropped, because no job of their batch had their key or another result with that key came first.
    pub stray: u64,
    /// Jobs that a batcher left out of its batches; they were processed in a last batch of their own.
    pub left_out: u64,
    /// Answers that came after their time-out, or after a shutdown had settled the batch. They were dropped.
    pub late: u64,
    /// [`JobEvent`](crate::JobEvent)s that a subscriber's full mailbox did not take.
    pub lost_events: u64,
    /// Batches that left, by why they left.
    pub batches: BTreeMap<Trigger, u64>,
    /// Jobs per batch, by why the batch left.
    pub batch_size: BTreeMap<Trigger, Distribution>,
    /// How long the first job of each batch – the one that waits longest – waited for a worker, in microseconds.
    pub wait: Distribution,
    /// How long a worker took for a batch, in microseconds.
    pub processing: Distribution,
    /// Batches that wait for a worker.
    pub ready: usize,
    /// Batches that are with a worker.
    pub in_flight: usize,
    /// What the circuit breaker lets through; `None` where there is none.
    pub breaker: Option<BreakerState>,
    /// Whether the collector is paused.
    pub paused: bool,
    /// How often a worker was rebuilt after a panic, a stop or the death of its thread.
    pub restarts: u64,
    /// The workers.
    pub workers: WorkerStats,
}

impl Stats {
    /// What happened between an earlier snapshot and this one: counters and distributions are subtracted, levels (`pending`,
    /// `ready`, `in_flight`, `workers`, …) are those of now.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut since = self.clone();
        since.intake = self.intake.since(&earlier.intake);
        since.succeeded = self.succeeded.saturating_sub(earlier.succeeded);
        since.failed = self.failed.since(&earlier.failed);
        since.forgotten = self.forgotten.saturating_sub(earlier.forgotten);
        since.lost_dead_letters = self.lost_dead_letters.saturating_sub(earlier.lost_dead_letters);
        since.stray = self.stray.saturating_sub(earlier.stray);
        since.lost_events = self.lost_events.saturating_sub(earlier.lost_events);
        since.left_out = self.left_out.saturating_sub(earlier.left_out);
        since.late = self.late.saturating_sub(earlier.late);
        since.restarts = self.restarts.saturating_sub(earlier.restarts);
        for (trigger, batches) in &mut since.batches {
            *batches = batches.saturating_sub(earlier.batches.get(trigger).copied().unwrap_or(0));
        }
        for (trigger, sizes) in &mut since.batch_size {
            if let Some(earlier) = earlier.batch_size.get(trigger) {
                *sizes = sizes.since(earlier);
            }
        }
        since.wait = self.wait.since(&earlier.wait);
        since.processing = self.processing.since(&earlier.processing);
        since
    }
}

/// The workers of a pool.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerStats {
    /// Workers in the pool.
    pub total: usize,
    /// Workers that can work: prepared, and busy or free.
    pub able: usize,
    /// Workers that have failed to prepare since they last worked, or never can be prepared.
    pub unprepared: usize,
    /// Workers that rest because they failed too often (more than 5 times in 30 s), or because too many threads were lost.
    pub resting: usize,
}
