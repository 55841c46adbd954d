//! Where jobs gather: the handle that callers hold, the actor behind it, and the open batch that they share.

use std::{fmt, sync::Arc};

use actix::Recipient;
use tokio::sync::oneshot;

mod actor;
mod batching;
mod builder;
#[cfg(feature = "cache")]
mod cache;
mod dead_letter_router;
mod handlers;
mod intake;
mod messages;
mod request;
mod service;
mod shared;
mod start;
mod submit_all;
mod submit_job;
mod weak;

pub use actor::CollectorActor;
pub use builder::CollectorBuilder;
#[cfg(feature = "cache")]
pub use cache::Cache;
pub use handlers::{Admission, Answer};
pub use intake::Submit;
pub use messages::{
    Barrier, Flush, GetJobState, GetStats, Pause, Resume, SetMaxInFlight, Shutdown, Subscribe, Unsubscribe,
};
pub use service::CollectorService;
pub use submit_all::SubmitAll;
pub use submit_job::SubmitJob;
pub use weak::WeakCollector;

#[cfg(feature = "test-util")]
pub(crate) use intake::Intake;

use self::{request::Ask, shared::Shared};
use crate::{
    error::{Closed, RecipientError, Rejected, WaitError},
    job::{Job, JobEvent, JobId, JobState},
    observe::{ShutdownReport, Stats},
    processor::BatchProcessor,
    reentry::is_processing,
};

/// The handle to a collector: cheap to clone, works from any thread and any runtime, and knows only the job.
///
/// While a handle exists the collector lives; when the last handle and address are dropped, it drains and ends.
///
/// ```
/// use actix_batch::prelude::*;
/// # struct Double(u64);
/// # impl Job for Double { type Output = u64; type Error = String; }
/// # struct Doubles;
/// # impl BatchProcessor for Doubles {
/// #     type Job = Double;
/// #     async fn process(&mut self, batch: &Batch<Double>) -> Result<Outcomes<Double>, String> {
/// #         Ok(Outcomes::in_order(batch.iter().map(|job| job.0 * 2)))
/// #     }
/// # }
/// # actix_rt::System::new().block_on(async {
/// let doubles = Collector::builder(|| Doubles).name("doubles").max_size(2).start().unwrap();
///
/// // Both join one batch; each gets its own reply.
/// let (four, six) = (doubles.submit(Double(2)), doubles.submit(Double(3)));
/// assert_eq!((four.await.unwrap(), six.await.unwrap()), (4, 6));
///
/// let report = doubles.shutdown(Shutdown::drain()).await.unwrap();
/// assert_eq!(report.shut_down, 0);
/// # });
/// ```
pub struct Collector<J: Job> {
    shared: Arc<Shared<J>>,
}

impl<J: Job> Collector<J> {
    /// Sets up a collector. The factory is called for each worker, and again after each failure.
    pub fn builder<P: BatchProcessor<Job = J>>(factory: impl Fn() -> P + Send + Sync + 'static) -> CollectorBuilder<P> {
        CollectorBuilder::new(move |_| factory())
    }

    /// As [`builder`](Self::builder), for processors that need to know their worker's seat: its place in the pool, from 0. A worker
    /// that replaces another one has the same seat, so a seat can stand for a file, a shard or a connection.
    pub fn builder_by_seat<P: BatchProcessor<Job = J>>(
        factory: impl Fn(usize) -> P + Send + Sync + 'static,
    ) -> CollectorBuilder<P> {
        CollectorBuilder::new(factory)
    }

    fn new(shared: Arc<Shared<J>>) -> Self {
        shared.add_handle();
        Self { shared }
    }

    /// The intake, for a watcher that must not count as a handle.
    #[cfg(feature = "test-util")]
    pub(crate) fn intake(&self) -> Arc<Intake<J>> {
        Arc::clone(&self.shared.intake)
    }

    /// The collector's name.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Submits a job. It is accepted now, or – while the collector is full – first in, first out as room comes; the returned
    /// future is the job's reply. A [`SubmitJob`] says more of it: its priority, and until when it is wanted.
    ///
    /// # Errors
    ///
    /// The future's: every [`JobError`](crate::JobError) but `Overloaded`.
    #[inline]
    pub fn submit(&self, job: impl Into<SubmitJob<J>>) -> Submit<J> {
        let (job, metadata) = job.into().into_parts();
        self.shared.intake.submit(job, metadata)
    }

    /// Submits a job if there is room now.
    ///
    /// # Errors
    ///
    /// [`Rejected`] hands the job back: the collector is full, or has been shut down, or the job's key stands for another one
    /// (see [`idempotent_by`](CollectorBuilder::idempotent_by)).
    #[inline]
    pub fn try_submit(&self, job: impl Into<SubmitJob<J>>) -> Result<Submit<J>, Rejected<J>> {
        let (job, metadata) = job.into().into_parts();
        self.shared.intake.try_submit(job, metadata)
    }

    /// Submits every job of an iterator and yields the replies in its order. Jobs are taken from the iterator as the stream is
    /// polled, a few batches ahead of the replies, so the iterator may be endless.
    ///
    /// ```
    /// # use actix_batch::prelude::*;
    /// # use futures_util::StreamExt;
    /// # struct Double(u64);
    /// # impl Job for Double { type Output = u64; type Error = String; }
    /// # struct Doubles;
    /// # impl BatchProcessor for Doubles {
    /// #     type Job = Double;
    /// #     async fn process(&mut self, batch: &Batch<Double>) -> Result<Outcomes<Double>, String> {
    /// #         Ok(Outcomes::in_order(batch.iter().map(|job| job.0 * 2)))
    /// #     }
    /// # }
    /// # actix_rt::System::new().block_on(async {
    /// let doubles = Collector::builder(|| Doubles).start().unwrap();
    /// let replies: Vec<u64> = doubles.submit_all((1..=3).map(Double)).map(Result::unwrap).collect().await;
    /// assert_eq!(replies, [2, 4, 6]);
    /// # });
    /// ```
    pub fn submit_all<I: IntoIterator<Item: Into<SubmitJob<J>>>>(&self, jobs: I) -> SubmitAll<J, I::IntoIter> {
        SubmitAll::new(self.clone(), jobs.into_iter())
    }

    /// Sends the open batch now. Answers with how many jobs it had.
    ///
    /// # Errors
    ///
    /// [`Closed`] when the collector has ended; so for all of these.
    pub async fn flush(&self) -> Result<usize, Closed> {
        self.ask(Flush).await
    }

    /// Sends the open batch now, and waits until every job that was accepted before has its reply. Jobs that come later are not awaited.
    /// While the collector is paused, this waits, too. A message that is still in the mailbox is not accepted yet: to come behind
    /// messages, send [`Barrier`](crate::Barrier) as one.
    ///
    /// ```
    /// use actix_batch::prelude::*;
    /// # struct Double(u64);
    /// # impl Job for Double { type Output = u64; type Error = String; }
    /// # struct Doubles;
    /// # impl BatchProcessor for Doubles {
    /// #     type Job = Double;
    /// #     async fn process(&mut self, batch: &Batch<Double>) -> Result<Outcomes<Double>, String> {
    /// #         Ok(Outcomes::in_order(batch.iter().map(|job| job.0 * 2)))
    /// #     }
    /// # }
    /// # actix_rt::System::new().block_on(async {
    /// let doubles = Collector::builder(|| Doubles).start().unwrap();
    /// let replies: Vec<_> = (0..1_000).map(|number| doubles.submit(Double(number))).collect();
    /// doubles.barrier().await.unwrap();
    /// assert_eq!(doubles.stats().await.unwrap().succeeded, 1_000);
    /// # });
    /// ```
    ///
    /// # Errors
    ///
    /// [`WaitError::Closed`] when the collector has ended; [`WaitError::FromProcessor`] inside `process`, where it could never end.
    pub async fn barrier(&self) -> Result<(), WaitError> {
        self.refuse_processor()?;
        Ok(self.ask(Barrier).await?)
    }

    /// Forgets the outcome that [`idempotent_by`](CollectorBuilder::idempotent_by) remembers for the key of this job: the next job of the
    /// key is processed. A job of it that is on its way goes on, and its outcome will be remembered.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use actix_batch::prelude::*;
    /// # #[derive(Hash)]
    /// # struct Payment(u64);
    /// # impl Job for Payment { type Output = u64; type Error = String; }
    /// # struct Payments;
    /// # impl BatchProcessor for Payments {
    /// #     type Job = Payment;
    /// #     async fn process(&mut self, batch: &Batch<Payment>) -> Result<Outcomes<Payment>, String> {
    /// #         Ok(Outcomes::in_order(batch.iter().map(|payment| payment.0)))
    /// #     }
    /// # }
    /// # actix_rt::System::new().block_on(async {
    /// let payments = Collector::builder(|| Payments)
    ///     .idempotent_by(|payment: &Payment| payment.0, Duration::from_secs(3600))
    ///     .start()
    ///     .unwrap();
    /// payments.submit(Payment(7)).await.unwrap();
    /// payments.forget(&Payment(7));
    /// payments.submit(Payment(7)).await.unwrap();
    /// assert_eq!(payments.stats().await.unwrap().intake.replayed, 0);
    /// # });
    /// ```
    pub fn forget(&self, job: &J) {
        self.shared.intake.forget(job);
    }

    /// A handle that does not keep the collector alive, for a processor that submits to its own collector, for instance.
    ///
    /// ```
    /// use actix_batch::prelude::*;
    /// # struct Double(u64);
    /// # impl Job for Double { type Output = u64; type Error = String; }
    /// # struct Doubles;
    /// # impl BatchProcessor for Doubles {
    /// #     type Job = Double;
    /// #     async fn process(&mut self, batch: &Batch<Double>) -> Result<Outcomes<Double>, String> {
    /// #         Ok(Outcomes::in_order(batch.iter().map(|job| job.0 * 2)))
    /// #     }
    /// # }
    /// # actix_rt::System::new().block_on(async {
    /// let doubles = Collector::builder(|| Doubles).start().unwrap();
    /// let weak = doubles.downgrade();
    /// assert_eq!(weak.upgrade().unwrap().submit(Double(2)).await.unwrap(), 4);
    /// doubles.shutdown(Shutdown::drain()).await.unwrap();
    /// assert!(weak.upgrade().is_none());
    /// # });
    /// ```
    pub fn downgrade(&self) -> WeakCollector<J> {
        WeakCollector(Arc::downgrade(&self.shared))
    }

    /// Goes on accepting, but hands no batch to a worker until [`resume`](Self::resume).
    ///
    /// # Errors
    ///
    /// [`Closed`] when the collector has ended.
    pub async fn pause(&self) -> Result<(), Closed> {
        self.ask(Pause).await
    }

    /// Ends a pause.
    ///
    /// # Errors
    ///
    /// [`Closed`] when the collector has ended.
    pub async fn resume(&self) -> Result<(), Closed> {
        self.ask(Resume).await
    }

    /// Changes how many batches may be with workers at once; 0 holds everything.
    ///
    /// # Errors
    ///
    /// [`Closed`] when the collector has ended.
    pub async fn set_max_in_flight(&self, batches: usize) -> Result<(), Closed> {
        self.ask(SetMaxInFlight(batches)).await
    }

    /// What the collector has counted and measured.
    ///
    /// # Errors
    ///
    /// [`Closed`] when the collector has ended.
    pub async fn stats(&self) -> Result<Stats, Closed> {
        self.ask(GetStats).await
    }

    /// Where a job is; the builder has to have said [`track_jobs`](CollectorBuilder::track_jobs). `None`: there is no such job, it has
    /// been forgotten, or jobs are not tracked.
    ///
    /// # Errors
    ///
    /// [`Closed`] when the collector has ended.
    pub async fn job_state(&self, job: JobId) -> Result<Option<JobState>, Closed> {
        self.ask(GetJobState(job)).await
    }

    /// Sends the recipient a [`JobEvent`] each time that a batch's jobs come into another state. See [`Subscribe`].
    ///
    /// # Errors
    ///
    /// [`Closed`] when the collector has ended.
    pub async fn subscribe(&self, recipient: Recipient<JobEvent>) -> Result<(), Closed> {
        self.ask(Subscribe(recipient)).await
    }

    /// Ends the subscriptions of this recipient's actor, and returns how many there were. See [`Unsubscribe`].
    ///
    /// # Errors
    ///
    /// [`Closed`] when the collector has ended.
    pub async fn unsubscribe(&self, recipient: Recipient<JobEvent>) -> Result<usize, Closed> {
        self.ask(Unsubscribe(recipient)).await
    }

    /// Stops intake, sends what is buffered, awaits what is outstanding. See [`Shutdown`].
    ///
    /// # Errors
    ///
    /// [`WaitError::Closed`] when the collector ended without a shutdown, for instance with its `System`;
    /// [`WaitError::FromProcessor`] inside `process`, where it could never end.
    pub async fn shutdown(&self, shutdown: Shutdown) -> Result<ShutdownReport, WaitError> {
        self.refuse_processor()?;
        self.shared.intake.reject_submits();
        // Through the mailbox, so that messages that were sent before are accepted before.
        let request = self.shared.shutdown_recipient().map(|actor| actor.send(shutdown));
        if let Some(request) = request
            && let Ok(report) = request.await
        {
            return Ok(report);
        }
        Ok(self.ask(shutdown).await?)
    }

    /// A processor that waits for its own collector to finish would wait for itself.
    fn refuse_processor(&self) -> Result<(), WaitError> {
        if is_processing(&self.shared.name) { Err(WaitError::FromProcessor) } else { Ok(()) }
    }

    async fn ask<M: Ask<Result: Send>>(&self, message: M) -> Result<M::Result, Closed> {
        let (sender, answer) = oneshot::channel();
        self.shared.ask(message.request(Some(sender)));
        answer.await.map_err(|_| Closed)
    }

    /// An actix `Recipient` for [`SubmitJob`] messages. It keeps the actor alive as an address does.
    ///
    /// # Errors
    ///
    /// [`RecipientError`]: the actor was built and has not been started yet, or the collector has ended. After
    /// [`start`](CollectorBuilder::start) and [`start_on_thread`](CollectorBuilder::start_on_thread) there is always a recipient.
    pub fn recipient(&self) -> Result<Recipient<SubmitJob<J>>, RecipientError> {
        self.shared.recipient()
    }
}

/// What concerns a [cache](CollectorBuilder::cache). Without one they do nothing.
#[cfg(feature = "cache")]
impl<J: Job> Collector<J> {
    /// Keeps this as the result of jobs like this one, without asking the processor: what was just written, or what came along
    /// with something else. It replaces what was kept, and what jobs that were accepted before bring later does not replace it.
    pub fn prime(&self, job: &J, output: J::Output) {
        self.shared.intake.prime(job, output);
    }

    /// Forgets the result that is kept for jobs like this one, so that the next is processed: call it after a write.
    ///
    /// A job that was accepted before may have read the old value: its result is not cached when it comes, and with
    /// [`coalesce_by`](CollectorBuilder::coalesce_by) later jobs do not follow it.
    pub fn clear(&self, job: &J) {
        self.shared.intake.clear(Some(job));
    }

    /// Forgets all results, and as [`clear`](Self::clear) does those that are on their way.
    pub fn clear_all(&self) {
        self.shared.intake.clear(None);
    }
}

impl<J: Job> Clone for Collector<J> {
    fn clone(&self) -> Self {
        Self::new(Arc::clone(&self.shared))
    }
}

impl<J: Job> Drop for Collector<J> {
    fn drop(&mut self) {
        self.shared.drop_handle();
    }
}

impl<J: Job> fmt::Debug for Collector<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collector").field("name", &self.shared.name).finish_non_exhaustive()
    }
}
