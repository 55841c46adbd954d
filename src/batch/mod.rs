//! Jobs that go downstream together, what the processor says of them, and the replies that wait for it.

use std::{fmt, ops::Deref};

mod outcomes;
mod replies;

pub use outcomes::Outcomes;
pub(crate) use outcomes::{Stray, Verdict};
pub(crate) use replies::{Block, Blocks, Deliveries, Replies, Requester, SlotRef, Tally, contain};

/// Why a batch left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Trigger {
    /// It reached `max_size`.
    Size,
    /// Its time had come: the first job had waited for the interval, or whatever else the flush policy goes by.
    Interval,
    /// Its jobs weighed as much as may be.
    Weight,
    /// A worker was free.
    Idle,
    /// The collector held `max_pending` jobs: nothing more could have joined.
    Full,
    /// Somebody asked, by `flush` or a `Flush` message.
    Manual,
    /// The collector shut down.
    Drain,
}

impl Trigger {
    /// The trigger's name in logs, statistics and events.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Size => "size",
            Self::Interval => "interval",
            Self::Weight => "weight",
            Self::Idle => "idle",
            Self::Full => "full",
            Self::Manual => "manual",
            Self::Drain => "drain",
        }
    }
}

impl fmt::Display for Trigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Jobs that go downstream together: a slice of them that knows where it comes from.
///
/// Tests make one from a `Vec`:
///
/// ```
/// use actix_batch::{Batch, Trigger};
///
/// let batch = Batch::from(vec!["a", "b"]);
/// assert_eq!(batch.len(), 2);
/// assert_eq!(batch.attempt(), 1);
/// assert_eq!(batch.trigger(), Trigger::Manual);
/// ```
pub struct Batch<T> {
    jobs: Vec<T>,
    id: u64,
    trigger: Trigger,
    attempt: u32,
}

impl<T> Batch<T> {
    pub(crate) fn new(jobs: Vec<T>, id: u64, trigger: Trigger) -> Self {
        Self { jobs, id, trigger, attempt: 1 }
    }

    /// The batch's number: unique within its collector, in the order in which batches left, from 0.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Why it left.
    pub fn trigger(&self) -> Trigger {
        self.trigger
    }

    /// How often these jobs are being sent, from 1.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    pub(crate) fn jobs_mut(&mut self) -> &mut Vec<T> {
        &mut self.jobs
    }

    pub(crate) fn into_jobs(self) -> Vec<T> {
        self.jobs
    }
}

impl<T> Deref for Batch<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.jobs
    }
}

impl<'a, T> IntoIterator for &'a Batch<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.jobs.iter()
    }
}

impl<T> From<Vec<T>> for Batch<T> {
    fn from(jobs: Vec<T>) -> Self {
        Self::new(jobs, 0, Trigger::Manual)
    }
}

impl<T> fmt::Debug for Batch<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch")
            .field("id", &self.id)
            .field("len", &self.jobs.len())
            .field("trigger", &self.trigger)
            .field("attempt", &self.attempt)
            .finish()
    }
}
