//! Hooks: code of the user's that hears what happens.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tracing::warn;

use super::{Levels, ShutdownReport};
use crate::error::Failures;
use crate::{batch::Trigger, dispatch::BreakerState, error::RejectReason, job::JobId, panics::discard};

/// Hears what happens in a collector. Every hook does nothing by default: write those that you want.
///
/// A hook changes no outcome. One that panics is contained and logged, and the other observers are told all the same. One that
/// is slow makes jobs wait, though none is lost: [`accepted`](Self::accepted) and [`rejected`](Self::rejected) run on the
/// submitter's thread, all others on the collector's, between two batches. Hand what takes time to a thread or a task of your own.
///
/// What the collector's thread tells comes in the order in which it happened; `accepted` may come later than the
/// [`flushed`](Self::flushed) of the job's batch. `collector` is the collector's name, so that one observer can serve several.
///
/// ```
/// use std::sync::{Arc, atomic::{AtomicU64, Ordering}};
///
/// use actix_batch::{Observer, observe::Flushed, prelude::*};
/// # struct Double(u64);
/// # impl Job for Double { type Output = u64; type Error = String; }
/// # struct Doubles;
/// # impl BatchProcessor for Doubles {
/// #     type Job = Double;
/// #     async fn process(&mut self, batch: &Batch<Double>) -> Result<Outcomes<Double>, String> {
/// #         Ok(Outcomes::in_order(batch.iter().map(|job| job.0 * 2)))
/// #     }
/// # }
///
/// #[derive(Default)]
/// struct LargestBatch(AtomicU64);
///
/// impl Observer for LargestBatch {
///     fn flushed(&self, _: &str, batch: &Flushed) {
///         self.0.fetch_max(batch.jobs as u64, Ordering::Relaxed);
///     }
/// }
///
/// # actix_rt::System::new().block_on(async {
/// let largest = Arc::new(LargestBatch::default());
/// let doubles = Collector::builder(|| Doubles).max_size(2).observer(Arc::clone(&largest)).start().unwrap();
/// let (two, four) = (doubles.submit(Double(1)), doubles.submit(Double(2)));
/// assert_eq!((two.await.unwrap(), four.await.unwrap()), (2, 4));
/// assert_eq!(largest.0.load(Ordering::Relaxed), 2);
/// # });
/// ```
pub trait Observer: Send + Sync + 'static {
    /// A job was accepted. Called once for each job, on its submitter's thread; for one that waited in line, on the collector's.
    fn accepted(&self, collector: &str, job: JobId) {
        let _ = (collector, job);
    }

    /// A job was refused. No processor has seen it.
    fn rejected(&self, collector: &str, reason: RejectReason) {
        let _ = (collector, reason);
    }

    /// A batch has left the open batch. Those of retries and splits are told by [`retry`](Self::retry) and [`split`](Self::split).
    fn flushed(&self, collector: &str, batch: &Flushed) {
        let _ = (collector, batch);
    }

    /// A batch has left for a worker.
    fn dispatched(&self, collector: &str, batch: &Dispatched) {
        let _ = (collector, batch);
    }

    /// An attempt has ended, well or not. Its jobs may be tried again: [`settled`](Self::settled) says what they got.
    fn outcome(&self, collector: &str, outcome: &Outcome) {
        let _ = (collector, outcome);
    }

    /// Jobs have got their replies.
    fn settled(&self, collector: &str, settled: &Settled) {
        let _ = (collector, settled);
    }

    /// Jobs that failed will be tried again, as a batch of their own.
    fn retry(&self, collector: &str, retry: &Retried) {
        let _ = (collector, retry);
    }

    /// A batch was halved.
    fn split(&self, collector: &str, split: &Halved) {
        let _ = (collector, split);
    }

    /// The circuit breaker lets through less, or more.
    fn breaker(&self, collector: &str, state: BreakerState) {
        let _ = (collector, state);
    }

    /// A worker panicked, was stopped or died, and will be built anew.
    fn restart(&self, collector: &str, restart: &Restarted) {
        let _ = (collector, restart);
    }

    /// A worker rests, because it was restarted too often. It comes after the [`restart`](Self::restart).
    fn resting(&self, collector: &str, restart: &Restarted) {
        let _ = (collector, restart);
    }

    /// A shutdown is complete: the last reply is out.
    fn drained(&self, collector: &str, report: &ShutdownReport) {
        let _ = (collector, report);
    }

    /// The collector has looked at everything, and this is how things stand. Called at least twice for each batch, and whenever
    /// else the collector wakes.
    fn levels(&self, collector: &str, levels: &Levels) {
        let _ = (collector, levels);
    }
}

/// A batch that has left the open batch.
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

/// A batch that has left for a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Dispatched {
    /// The batch's number.
    pub batch: u64,
    /// Why it left the open batch.
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

/// An attempt that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outcome {
    /// The batch's number.
    pub batch: u64,
    /// How many jobs it has.
    pub jobs: usize,
    /// Which attempt it was, from 1.
    pub attempt: u32,
    /// How it ended.
    pub ended: Ended,
    /// From the acceptance of its first job to the start of this attempt.
    pub waited: Duration,
    /// How long the worker took.
    pub took: Duration,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Ended {
    /// The processor answered; single jobs may have failed.
    Answered,
    /// The whole batch failed: the processor's error, or a wrong number of results.
    Failed,
    /// The processor wants smaller batches.
    TooLarge,
    /// The processor panicked.
    Panicked,
    /// It did not answer in time.
    TimedOut,
    /// The worker went away.
    Lost,
}

impl Ended {
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

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Jobs that have got their replies at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Settled {
    /// How many of them got an output.
    pub succeeded: u64,
    /// How many got which error.
    pub failed: Failures,
}

/// Jobs that will be tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Retried {
    /// The number of the batch that they are now.
    pub batch: u64,
    /// How many they are.
    pub jobs: usize,
    /// Which attempt comes, from 2.
    pub attempt: u32,
    /// How long until then.
    pub delay: Duration,
}

/// A batch that was halved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Halved {
    /// The number of the batch that was.
    pub batch: u64,
    /// The numbers of its halves.
    pub into: [u64; 2],
    /// How many jobs each half has.
    pub jobs: [usize; 2],
}

/// A worker that will be built anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Restarted {
    /// The worker's place in the pool, from 0.
    pub worker: usize,
    /// How long until it is built.
    pub back_in: Duration,
}

impl<O: Observer + ?Sized> Observer for Arc<O> {
    fn accepted(&self, collector: &str, job: JobId) {
        (**self).accepted(collector, job);
    }

    fn rejected(&self, collector: &str, reason: RejectReason) {
        (**self).rejected(collector, reason);
    }

    fn flushed(&self, collector: &str, batch: &Flushed) {
        (**self).flushed(collector, batch);
    }

    fn dispatched(&self, collector: &str, batch: &Dispatched) {
        (**self).dispatched(collector, batch);
    }

    fn outcome(&self, collector: &str, outcome: &Outcome) {
        (**self).outcome(collector, outcome);
    }

    fn settled(&self, collector: &str, settled: &Settled) {
        (**self).settled(collector, settled);
    }

    fn retry(&self, collector: &str, retry: &Retried) {
        (**self).retry(collector, retry);
    }

    fn split(&self, collector: &str, split: &Halved) {
        (**self).split(collector, split);
    }

    fn breaker(&self, collector: &str, state: BreakerState) {
        (**self).breaker(collector, state);
    }

    fn restart(&self, collector: &str, restart: &Restarted) {
        (**self).restart(collector, restart);
    }

    fn resting(&self, collector: &str, restart: &Restarted) {
        (**self).resting(collector, restart);
    }

    fn drained(&self, collector: &str, report: &ShutdownReport) {
        (**self).drained(collector, report);
    }

    fn levels(&self, collector: &str, levels: &Levels) {
        (**self).levels(collector, levels);
    }
}

/// Everybody who wants to hear. Nobody, mostly: then telling is one branch.
#[derive(Clone, Default)]
pub(crate) struct Observers(Option<Arc<Audience>>);

struct Audience {
    collector: Arc<str>,
    observers: Vec<Box<dyn Observer>>,
}

impl Observers {
    pub(crate) fn new(collector: &Arc<str>, observers: Vec<Box<dyn Observer>>) -> Self {
        let audience = Audience { collector: Arc::clone(collector), observers };
        Self(if audience.observers.is_empty() { None } else { Some(Arc::new(audience)) })
    }

    /// Whether anybody wants to hear.
    #[inline]
    pub(crate) fn listen(&self) -> bool {
        self.0.is_some()
    }

    /// Tells everyone. Never under a lock.
    #[inline]
    pub(crate) fn tell(&self, hook: impl Fn(&dyn Observer, &str)) {
        if let Some(audience) = &self.0 {
            audience.tell(hook);
        }
    }
}

impl Audience {
    #[cold]
    fn tell(&self, hook: impl Fn(&dyn Observer, &str)) {
        for observer in &self.observers {
            let told = catch_unwind(AssertUnwindSafe(|| hook(&**observer, &self.collector)));
            if let Err(panic) = told {
                warn!(collector = &*self.collector, "an observer panicked");
                discard(panic);
            }
        }
    }
}
