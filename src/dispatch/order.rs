//! What the machine tells the collector to do.

use std::time::Duration;

use tokio::time::Instant;

use super::{BreakerState, FlightId, WorkerId};
use crate::{
    batch::{Batch, JobResults, Replies},
    job::Job,
};

/// The next thing to do.
pub(crate) enum Order<J: Job> {
    /// Hand the batch to the worker.
    Send { worker: WorkerId, flight: FlightId, batch: Batch<J>, waited_since: Instant },
    /// Give these jobs their replies. `jobs` is empty while a worker still has them.
    Settle { replies: Replies<J>, results: JobResults<J>, jobs: Vec<J>, history: History },
    /// Stop what the worker does for this flight, and rebuild the worker.
    Cancel { worker: WorkerId, flight: FlightId },
    /// Give up a worker that was told to stop and did not, and its thread with it.
    GiveUp { worker: WorkerId },
    /// Tell that a flight timed out.
    TimedOut { batch: u64, jobs: usize, attempt: u32, waited: Duration, took: Duration },
    /// Tell that jobs of batch `from` will be tried again as a new batch.
    Retrying { from: u64, batch: u64, jobs: usize, attempt: u32, at: Instant },
    /// Tell that the back-off of a batch is over.
    Again { batch: u64 },
    /// Tell that a batch was split.
    Split { batch: u64, into: [u64; 2], jobs: [usize; 2], attempt: u32 },
    /// Tell that the breaker changed its state.
    Breaker(BreakerState),
}

/// The history of jobs that are settled.
#[derive(Debug, Clone, Copy)]
pub(crate) struct History {
    /// Their batch.
    pub(crate) batch: u64,
    /// The number of their last attempt; 0 if they were never sent.
    pub(crate) attempts: u32,
    /// When the first job of their batch was accepted.
    pub(crate) accepted_at: Instant,
}
