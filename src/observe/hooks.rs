//! What the observers' hooks are given.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{batch::Trigger, error::Failures};

/// A batch that has left the intake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Flushed {
    /// The batch's number.
    pub batch: u64,
    /// Why it left.
    pub trigger: Trigger,
    /// How many jobs it has.
    pub jobs: usize,
    /// How long its first job had waited.
    pub oldest_wait: Duration,
}

/// A batch that was handed to a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Dispatched {
    /// The batch's number.
    pub batch: u64,
    /// Why it left the intake.
    pub trigger: Trigger,
    /// How many jobs it has.
    pub jobs: usize,
    /// How often these jobs are being sent, from 1.
    pub attempt: u32,
    /// The worker's place in the pool, from 0.
    pub worker: usize,
    /// How long its first job has waited since it was accepted.
    pub waited: Duration,
}

/// An attempt that has status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Attempted {
    /// The batch's number.
    pub batch: u64,
    /// How many jobs it has.
    pub jobs: usize,
    /// Which attempt it was, from 1.
    pub attempt: u32,
    /// How it status.
    pub status: AttemptStatus,
    /// From the acceptance of its first job to the start of this attempt.
    pub waited: Duration,
    /// How long the worker took.
    pub took: Duration,
}

/// How an attempt status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AttemptStatus {
    /// The processor answered; some of the jobs may have failed.
    Answered,
    /// The whole batch failed: the processor's error, or a wrong number of results.
    Failed,
    /// The processor refused the batch as too large.
    TooLarge,
    /// The processor panicked.
    Panicked,
    /// It did not answer in time.
    TimedOut,
    /// The worker went away.
    Lost,
}

impl AttemptStatus {
    /// Its name in logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Failed => "failed",
            Self::TooLarge => "too_large",
            Self::Panicked => "panicked",
            Self::TimedOut => "timed_out",
            Self::Lost => "lost",
        }
    }
}

impl fmt::Display for AttemptStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Jobs that have received their replies together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Settled {
    /// How many of them received an output.
    pub succeeded: u64,
    /// How many received an error, by kind.
    pub failed: Failures,
}

/// Jobs that will be tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Retried {
    /// The number of their new batch.
    pub batch: u64,
    /// How many jobs.
    pub jobs: usize,
    /// Which attempt this will be, from 2.
    pub attempt: u32,
    /// How long until then.
    pub delay: Duration,
}

/// A batch that was halved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Split {
    /// The number of the batch that was split.
    pub batch: u64,
    /// The numbers of its halves.
    pub into: [u64; 2],
    /// How many jobs each half has.
    pub jobs: [usize; 2],
}

/// A worker that will be rebuilt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Restarted {
    /// The worker's place in the pool, from 0.
    pub worker: usize,
    /// How long until it is rebuilt.
    pub back_in: Duration,
}
