//! A batch: jobs that go downstream together, the outcomes that the processor returns for them, and the replies that it owes.

use std::{fmt, future::Future, mem, ops::Deref, sync::Arc};

use tokio::time::Instant;
use tracing::Span;

use crate::{
    job::{JobId, JobIds, Priority},
    panics::drop_each,
};

mod block;
mod callers;
mod deliveries;
mod departures;
mod heartbeat;
mod metadata;
mod outcomes;
mod replies;
mod run;
mod sealed;
mod slot;
mod tally;
mod trigger;

pub(crate) use block::{Block, Blocks, SlotRef};
pub(crate) use callers::CallerWatch;
pub(crate) use deliveries::Deliveries;
pub(crate) use departures::Departures;
pub(crate) use heartbeat::Heartbeat;
pub(crate) use metadata::{BatchMetadata, Keys, Metadata, SharedKey};
pub use outcomes::Outcomes;
pub(crate) use outcomes::{JobResults, Stray};
pub(crate) use replies::{Replies, Requester};
pub(crate) use sealed::Sealed;
pub(crate) use tally::Tally;
pub use trigger::Trigger;

/// Jobs that go downstream together. A batch derefs to a slice of its jobs. It also knows why it left and which attempt this is.
///
/// A test can make one from a `Vec`:
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
    priority: Priority,
    heartbeat: Option<Arc<Heartbeat>>,
    /// The spans in which its jobs were submitted.
    spans: Vec<Span>,
    callers: Option<Arc<dyn CallerWatch>>,
}

impl<T> Batch<T> {
    pub(crate) fn new(jobs: Vec<T>, id: u64, trigger: Trigger, attempt: u32, priority: Priority) -> Self {
        Self { jobs, id, trigger, attempt, priority, heartbeat: None, spans: Vec::new(), callers: None }
    }

    pub(crate) fn set_heartbeat(&mut self, heartbeat: Option<Arc<Heartbeat>>) {
        self.heartbeat = heartbeat;
    }

    pub(crate) fn set_callers(&mut self, callers: Option<Arc<dyn CallerWatch>>) {
        self.callers = callers;
    }

    pub(crate) fn set_priority(&mut self, priority: Priority) {
        self.priority = priority;
    }

    pub(crate) fn set_spans(&mut self, spans: Vec<Span>) {
        self.spans = spans;
    }

    /// Links the batch's span and the spans in which its jobs were submitted, in both directions.
    pub(crate) fn link(&self, span: &Span) {
        for origin in &self.spans {
            span.follows_from(origin);
            origin.follows_from(span);
        }
    }

    /// Restarts the time-out, to show that the processor is still working. It is cheap, and does nothing if no time-out is set.
    pub fn heartbeat(&self) {
        if let Some(heartbeat) = &self.heartbeat {
            heartbeat.beat(Instant::now());
        }
    }

    /// The numbers of its jobs, in order. In a batch made from a `Vec` they count from 0.
    pub fn ids(&self) -> JobIds {
        let numbers = || (0..self.jobs.len() as u64).map(JobId).collect();
        self.callers.as_ref().map_or_else(numbers, |callers| callers.ids())
    }

    /// Whether the caller of the job at this position has gone: it dropped its `Submit`.
    ///
    /// Always `false` for a job that was sent as a message, for a job that others may follow (`coalesce_by`, `idempotent_by`), in a
    /// batch made from a `Vec`, and for a position beyond the batch.
    pub fn is_abandoned(&self, position: usize) -> bool {
        self.callers.as_ref().is_some_and(|callers| callers.is_abandoned(position))
    }

    /// Resolves when every caller of this batch has gone, so that a processor can stop work that no caller waits for:
    ///
    /// ```
    /// use actix_batch::prelude::*;
    /// use futures_util::future::{Either, select};
    ///
    /// struct Prompt(String);
    /// impl Job for Prompt {
    ///     type Output = String;
    ///     type Error = String;
    /// }
    ///
    /// struct Model;
    /// impl Model {
    ///     async fn generate(&self, batch: &Batch<Prompt>) -> Vec<String> {
    ///         batch.iter().map(|prompt| format!("{} …", prompt.0)).collect()
    ///     }
    /// }
    ///
    /// impl BatchProcessor for Model {
    ///     type Job = Prompt;
    ///     async fn process(&mut self, batch: &Batch<Prompt>) -> Result<Outcomes<Prompt>, String> {
    ///         let work = std::pin::pin!(self.generate(batch));
    ///         match select(work, std::pin::pin!(batch.all_abandoned())).await {
    ///             Either::Left((texts, _)) => Ok(Outcomes::in_order(texts)),
    ///             Either::Right(_) => Err("every caller has gone".to_owned()),
    ///         }
    ///     }
    /// }
    /// ```
    ///
    /// It never resolves if one of the jobs was sent as a message, or if other jobs may follow one of them.
    pub fn all_abandoned(&self) -> impl Future<Output = ()> + Send + 'static + use<T> {
        callers::all_abandoned(self.callers.clone())
    }

    /// The batch's number. It is unique within its collector and counts from 0, in the order in which batches left.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Why the batch left the intake.
    pub fn trigger(&self) -> Trigger {
        self.trigger
    }

    /// Which attempt this is for these jobs, counted from 1.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// The priority of its jobs. All jobs of a batch have the same.
    pub fn priority(&self) -> Priority {
        self.priority
    }

    pub(crate) fn into_jobs(mut self) -> Vec<T> {
        mem::take(&mut self.jobs)
    }
}

impl<T> Drop for Batch<T> {
    fn drop(&mut self) {
        drop_each(&mut self.jobs);
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
        Self::new(jobs, 0, Trigger::Manual, 1, Priority::Normal)
    }
}

impl<T> fmt::Debug for Batch<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch")
            .field("id", &self.id)
            .field("len", &self.jobs.len())
            .field("trigger", &self.trigger)
            .field("attempt", &self.attempt)
            .finish_non_exhaustive()
    }
}
