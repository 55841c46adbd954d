//! How things stand at one moment.

use super::{IntakeCounts, WorkerStats};
use crate::dispatch::BreakerState;

/// How things stand, as [`Observer::levels`](super::Observer::levels) is told; [`Stats`](super::Stats) has the same figures and
/// more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Levels {
    /// What came in since the start, and what is inside now.
    pub intake: IntakeCounts,
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
