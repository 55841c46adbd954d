//! What a collector has counted and measured since it started.

use std::{collections::BTreeMap, fmt, time::Duration};

use hdrhistogram::Histogram;

use crate::{
    batch::{Stray, Tally, Trigger},
    dispatch::BreakerState,
    error::{Failures, Rejections},
};

/// What a collector has counted and measured since it started, as `GetStats` and `Collector::stats` answer it.
///
/// `accepted == succeeded + failed.total() + pending`, always. Two snapshots give the figures of the time between them:
/// see [`since`](Self::since).
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Stats {
    /// The collector's name.
    pub collector: String,
    /// Jobs accepted.
    pub accepted: u64,
    /// Jobs refused: the collector was full or had been shut down. No processor has seen them.
    pub rejected: u64,
    /// And why.
    pub rejections: Rejections,
    /// Jobs whose reply was an output.
    pub succeeded: u64,
    /// Jobs whose reply was an error, by cause.
    pub failed: Failures,
    /// Those of the failed jobs that nobody waited for: `do_send`s. They are logged too, unless they go to the dead letters.
    pub forgotten: u64,
    /// Failed jobs that the dead letters did not get: a worker still had them when they were settled, or the dead letters
    /// panicked. They are logged too.
    pub lost_dead_letters: u64,
    /// Results that reached nobody, because no job of their batch had their key or another result had it first.
    pub stray: u64,
    /// Jobs that a batcher left out of its batches; they came in a last one.
    pub left_out: u64,
    /// Jobs that rode on another with the same key, and got a copy of its reply. They count as accepted, and as it ended.
    pub coalesced: u64,
    /// Jobs that got the outcome of an earlier one with the same key. They count nowhere else.
    pub replayed: u64,
    /// Jobs that were answered from the cache (`CollectorBuilder::cache`). They count nowhere else.
    pub cache_hits: u64,
    /// Answers that came after their time-out, or after a shutdown had settled the batch: they reached nobody.
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
    /// Jobs accepted and not yet settled.
    pub pending: usize,
    /// Submitters that wait in line for room.
    pub waiting: usize,
    /// Batches that wait for a worker.
    pub ready: usize,
    /// Batches that are with a worker.
    pub in_flight: usize,
    /// What the circuit breaker lets through; `None` where there is none.
    pub breaker: Option<BreakerState>,
    /// Whether the collector is paused.
    pub paused: bool,
    /// How often a worker was built anew after a panic, a stop or the death of its thread.
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
        since.accepted = self.accepted.saturating_sub(earlier.accepted);
        since.rejected = self.rejected.saturating_sub(earlier.rejected);
        since.rejections = self.rejections.since(&earlier.rejections);
        since.succeeded = self.succeeded.saturating_sub(earlier.succeeded);
        since.failed = self.failed.since(&earlier.failed);
        since.forgotten = self.forgotten.saturating_sub(earlier.forgotten);
        since.lost_dead_letters = self.lost_dead_letters.saturating_sub(earlier.lost_dead_letters);
        since.stray = self.stray.saturating_sub(earlier.stray);
        since.lost_events = self.lost_events.saturating_sub(earlier.lost_events);
        since.left_out = self.left_out.saturating_sub(earlier.left_out);
        since.coalesced = self.coalesced.saturating_sub(earlier.coalesced);
        since.replayed = self.replayed.saturating_sub(earlier.replayed);
        since.cache_hits = self.cache_hits.saturating_sub(earlier.cache_hits);
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
    /// Those that can work: prepared, and busy or free.
    pub able: usize,
    /// Those that rest because they failed too often (more than 5 times in 30 s), or because too many threads were lost.
    pub resting: usize,
}

/// How values were distributed: a histogram that keeps two significant digits (an error of at most 1 %).
#[derive(Clone, PartialEq)]
pub struct Distribution(Histogram<u64>);

impl Distribution {
    /// The largest value that is told apart: about 71 minutes in microseconds, or as many jobs. Larger ones count as it.
    const LARGEST: u64 = 1 << 32;

    fn new() -> Self {
        Self(Histogram::new_with_bounds(1, Self::LARGEST, 2).expect("constant bounds, known to be valid"))
    }

    fn record(&mut self, value: u64) {
        self.0.saturating_record(value);
    }

    fn record_time(&mut self, time: Duration) {
        self.record(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }

    fn since(&self, earlier: &Self) -> Self {
        let mut since = self.clone();
        // Only fails when `earlier` is no earlier snapshot of the same collector; then the difference has no meaning.
        if since.0.subtract(&earlier.0).is_err() {
            return self.clone();
        }
        since
    }

    /// Values recorded.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The value that the given share of all values (0.0 to 1.0) does not exceed; 0 when there are none.
    pub fn quantile(&self, share: f64) -> u64 {
        self.0.value_at_quantile(share)
    }

    /// The largest value; 0 when there are none.
    pub fn max(&self) -> u64 {
        self.0.max()
    }

    /// The mean; 0 when there are none.
    pub fn mean(&self) -> f64 {
        self.0.mean()
    }

    /// Each value that was recorded (as far as values are told apart), and how often, in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.0.iter_recorded().map(|step| (step.value_iterated_to(), step.count_at_value()))
    }
}

impl fmt::Debug for Distribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Distribution")
            .field("count", &self.count())
            .field("p50", &self.quantile(0.5))
            .field("p99", &self.quantile(0.99))
            .field("max", &self.max())
            .finish()
    }
}

/// Where the collector's actor notes what happens.
#[derive(Debug)]
pub(crate) struct Recorder {
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

/// How things stand, as [`Observer::levels`](super::Observer::levels) hears it; [`Stats`] has the same figures and more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Levels {
    /// Jobs accepted since the start.
    pub accepted: u64,
    /// Jobs refused since the start.
    pub rejected: u64,
    /// And why.
    pub rejections: Rejections,
    /// Jobs that rode on another since the start.
    pub coalesced: u64,
    /// Jobs that got the outcome of an earlier one since the start.
    pub replayed: u64,
    /// Jobs that were answered from the cache since the start.
    pub cache_hits: u64,
    /// Jobs accepted and not yet settled.
    pub pending: usize,
    /// Submitters that wait in line for room.
    pub waiting: usize,
    /// Batches that wait for a worker, or for their next attempt.
    pub ready: usize,
    /// Batches that are with a worker.
    pub in_flight: usize,
    /// Whether the collector is paused.
    pub paused: bool,
    /// What the circuit breaker lets through; `None` where there is none.
    pub breaker: Option<BreakerState>,
    /// The workers.
    pub workers: WorkerStats,
}

impl Default for Recorder {
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

impl Recorder {
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
        self.stray += stray.unknown + stray.second;
    }

    pub(crate) fn snapshot(&self, collector: &str, levels: Levels) -> Stats {
        Stats {
            collector: collector.to_owned(),
            accepted: levels.accepted,
            rejected: levels.rejected,
            rejections: levels.rejections,
            succeeded: self.tally.succeeded,
            failed: self.tally.failed,
            forgotten: self.tally.forgotten,
            lost_dead_letters: self.lost_dead_letters,
            stray: self.stray,
            left_out: self.left_out,
            coalesced: levels.coalesced,
            replayed: levels.replayed,
            cache_hits: levels.cache_hits,
            late: self.late,
            lost_events: self.lost_events,
            batches: self.batch_size.iter().map(|(trigger, sizes)| (*trigger, sizes.count())).collect(),
            batch_size: self.batch_size.clone(),
            wait: self.wait.clone(),
            processing: self.processing.clone(),
            pending: levels.pending,
            waiting: levels.waiting,
            ready: levels.ready,
            in_flight: levels.in_flight,
            breaker: levels.breaker,
            paused: levels.paused,
            restarts: self.restarts,
            workers: levels.workers,
        }
    }
}
