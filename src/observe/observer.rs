//! Hooks: code of the user's that hears what happens.

use std::sync::Arc;

use super::{Attempted, Dispatched, Flushed, Levels, Restarted, Retried, Settled, ShutdownReport, Split};
use crate::{dispatch::BreakerState, error::RejectReason, job::JobId};

/// Is told what happens in a collector. Every hook does nothing by default: implement the ones that you want.
///
/// A hook cannot change what happens. If one panics, the panic is logged and the other observers are still called. A slow hook
/// makes jobs wait, though none is lost: [`accepted`](Self::accepted) and [`rejected`](Self::rejected) run on the
/// submitter's thread, all others on the collector's, between two batches. Hand slow work to a thread or a task of your own.
///
/// A hook may submit jobs. For a job that `accepted` or `rejected` submits on its thread, these two are not called again, so that they
/// cannot recurse.
///
/// The hooks on the collector's thread are called in the order of events; `accepted` may be called later than the
/// [`flushed`](Self::flushed) of the job's batch. `collector` is the collector's name, so one observer can serve several.
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
    /// A job was accepted. Called once for each job, on its submitter's thread; for a job that was in the wait queue, on the
    /// collector's.
    fn accepted(&self, collector: &str, job: JobId) {
        let _ = (collector, job);
    }

    /// A job was refused. No processor has seen it.
    fn rejected(&self, collector: &str, reason: RejectReason) {
        let _ = (collector, reason);
    }

    /// A batch has left the intake. Those of retries and splits are told by [`retry`](Self::retried) and [`split`](Self::split).
    fn flushed(&self, collector: &str, batch: &Flushed) {
        let _ = (collector, batch);
    }

    /// A batch was handed to a worker.
    fn dispatched(&self, collector: &str, batch: &Dispatched) {
        let _ = (collector, batch);
    }

    /// An attempt to process a batch has ended, successfully or not. Its jobs may be tried again; [`settled`](Self::settled) is
    /// called when they have their replies.
    fn attempted(&self, collector: &str, attempt: &Attempted) {
        let _ = (collector, attempt);
    }

    /// Jobs have received their replies.
    fn settled(&self, collector: &str, settled: &Settled) {
        let _ = (collector, settled);
    }

    /// Jobs that failed will be tried again, as a batch of their own.
    fn retried(&self, collector: &str, retried: &Retried) {
        let _ = (collector, retried);
    }

    /// A batch was halved.
    fn split(&self, collector: &str, split: &Split) {
        let _ = (collector, split);
    }

    /// The circuit breaker has changed its state.
    fn breaker(&self, collector: &str, state: BreakerState) {
        let _ = (collector, state);
    }

    /// A worker panicked, was stopped or died, and will be rebuilt.
    fn restarted(&self, collector: &str, restarted: &Restarted) {
        let _ = (collector, restarted);
    }

    /// A worker rests, because it was restarted too often. It comes after the [`restart`](Self::restarted).
    fn resting(&self, collector: &str, restarted: &Restarted) {
        let _ = (collector, restarted);
    }

    /// A shutdown is complete: the last reply is out.
    fn drained(&self, collector: &str, report: &ShutdownReport) {
        let _ = (collector, report);
    }

    /// How things stand, after the collector has done all that was due. Called at least twice for each batch, and whenever the
    /// collector wakes.
    fn levels(&self, collector: &str, levels: &Levels) {
        let _ = (collector, levels);
    }
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

    fn attempted(&self, collector: &str, attempt: &Attempted) {
        (**self).attempted(collector, attempt);
    }

    fn settled(&self, collector: &str, settled: &Settled) {
        (**self).settled(collector, settled);
    }

    fn retried(&self, collector: &str, retried: &Retried) {
        (**self).retried(collector, retried);
    }

    fn split(&self, collector: &str, split: &Split) {
        (**self).split(collector, split);
    }

    fn breaker(&self, collector: &str, state: BreakerState) {
        (**self).breaker(collector, state);
    }

    fn restarted(&self, collector: &str, restarted: &Restarted) {
        (**self).restarted(collector, restarted);
    }

    fn resting(&self, collector: &str, restarted: &Restarted) {
        (**self).resting(collector, restarted);
    }

    fn drained(&self, collector: &str, report: &ShutdownReport) {
        (**self).drained(collector, report);
    }

    fn levels(&self, collector: &str, levels: &Levels) {
        (**self).levels(collector, levels);
    }
}
