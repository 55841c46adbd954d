//! What `actix-batch` already has as a sink: any batch processor, and a collector of the user's.

use std::{
    fmt::{self, Display},
    sync::Arc,
};

use actix_batch::{Batch, BatchProcessor, Blame, Collector, Job, JobError, JobResult};
use futures_util::future::join_all;

use super::{IntoSink, Promises, Sink, SinkError, SinkErrorKind, Written};
use crate::{
    checkpoint::{RunId, Settled},
    record::Record,
};

type ErrorOf<P> = <<P as BatchProcessor>::Job as Job>::Error;

/// A batch processor as a sink; made by [`processor`].
pub struct Processor<F, G> {
    factory: Arc<F>,
    to_job: Arc<G>,
    promises: Promises,
}

/// Writes by a [`BatchProcessor`] that exists already: each record becomes a job, and each batch of records a batch of jobs. The
/// processor's outputs are dropped, its errors belong to their records, and [`BatchProcessor::blame`] decides whether a failure is the
/// record's, the batch's or the downstream's.
///
/// It promises nothing for a record that comes twice, unless you say that it [overwrites](Processor::overwrites).
///
/// ```
/// use actix_batch::{Batch, BatchProcessor, Job, Outcomes};
/// use actix_batch_pipeline::{prelude::*, sink::processor};
///
/// struct Mail(String);
/// impl Job for Mail {
///     type Output = ();
///     type Error = String;
/// }
///
/// struct Outbox;
/// impl BatchProcessor for Outbox {
///     type Job = Mail;
///     async fn process(&mut self, batch: &Batch<Mail>) -> Result<Outcomes<Mail>, String> {
///         Ok(Outcomes::each(batch.iter().map(|mail| if mail.0.contains('@') { Ok(()) } else { Err("no address".to_owned()) })))
///     }
/// }
///
/// # actix_rt::System::new().block_on(async {
/// let report = Pipeline::named("mails")
///     .read(from_iter("addresses", || ["ann@example.org", "bob"]))
///     .write(processor(|| Outbox, |address: &&str| Mail((*address).to_owned())))
///     .accept_duplicates(true)
///     .run()
///     .await?;
/// assert_eq!((report.written, report.rejected), (1, 1));
/// # Ok::<(), RunError>(())
/// # }).unwrap();
/// ```
pub fn processor<T, P, F, G>(factory: F, to_job: G) -> Processor<F, G>
where
    P: BatchProcessor,
    F: Fn() -> P + Send + Sync + 'static,
    G: Fn(&T) -> P::Job + Send + Sync + 'static,
{
    Processor { factory: Arc::new(factory), to_job: Arc::new(to_job), promises: Promises::Append }
}

impl<F, G> Processor<F, G> {
    /// A record that is written again overwrites the first one. Default: it is stored twice.
    pub fn overwrites(mut self, overwrites: bool) -> Self {
        self.promises = if overwrites { Promises::Keyed } else { Promises::Append };
        self
    }
}

/// Writes by a batch processor.
pub struct ProcessorSink<P, G> {
    processor: P,
    to_job: Arc<G>,
}

impl<T, P, F, G> IntoSink<T> for Processor<F, G>
where
    T: 'static,
    P: BatchProcessor,
    F: Fn() -> P + Send + Sync + 'static,
    G: Fn(&T) -> P::Job + Send + Sync + 'static,
{
    type Sink = ProcessorSink<P, G>;

    fn describe(&self) -> String {
        "processor".to_owned()
    }

    fn promises(&self) -> Promises {
        self.promises
    }

    fn sink(&self, _worker: usize, _run: &RunId, _settled: &Arc<Settled>) -> Self::Sink {
        ProcessorSink { processor: (self.factory)(), to_job: Arc::clone(&self.to_job) }
    }
}

impl<T, P, G> Sink<T> for ProcessorSink<P, G>
where
    T: 'static,
    P: BatchProcessor,
    G: Fn(&T) -> P::Job + 'static,
{
    async fn prepare(&mut self) -> Result<(), SinkError> {
        let kind = |error: &_| if P::is_fatal(error) { SinkErrorKind::Fatal } else { SinkErrorKind::Temporary };
        self.processor.prepare().await.map_err(|error| SinkError::new(kind(&error), error.to_string()))
    }

    async fn write(&mut self, batch: &Batch<Record<T>>) -> Result<Written, SinkError> {
        let jobs = Batch::from(batch.iter().map(|record| (self.to_job)(record)).collect::<Vec<_>>());
        let outcomes = self.processor.process(&jobs).await.map_err(|error| whole::<P>(&error))?;
        let results = outcomes.into_results(&jobs);
        if results.iter().any(|result| matches!(result, Err(JobError::TooLarge))) && jobs.len() > 1 {
            return Err(SinkError::batch("the batch is too large"));
        }
        Ok(written::<P::Job>(results, |error| blamed(P::blame(error), SinkErrorKind::Record)))
    }

    async fn close(&mut self) -> Result<(), SinkError> {
        self.processor.close().await;
        Ok(())
    }
}

fn whole<P: BatchProcessor>(error: &ErrorOf<P>) -> SinkError {
    SinkError::new(blamed(P::blame(error), SinkErrorKind::Batch), error.to_string())
}

fn blamed(blame: Blame, unknown: SinkErrorKind) -> SinkErrorKind {
    match blame {
        Blame::Downstream => SinkErrorKind::Temporary,
        _ => unknown,
    }
}

/// What became of the records, from what became of their jobs.
fn written<J: Job>(results: Vec<JobResult<J>>, kind: impl Fn(&J::Error) -> SinkErrorKind) -> Written {
    let mut written = Written::all();
    for (position, result) in results.into_iter().enumerate() {
        if let Err(error) = result {
            written.refuse(position, refused(&error, &kind));
        }
    }
    written
}

fn refused<E: Display + fmt::Debug>(error: &JobError<E>, kind: impl Fn(&E) -> SinkErrorKind) -> SinkError {
    match error.processor_error() {
        Some(error) => SinkError::new(kind(error), error.to_string()),
        None if error.is_retryable() => SinkError::temporary(error.to_string()),
        None => SinkError::record(error.to_string()),
    }
}

/// A collector as a sink; made by [`collector`].
pub struct CollectorSink<J: Job, G> {
    collector: Collector<J>,
    to_job: Arc<G>,
    promises: Promises,
}

/// Writes by submitting each record as a job to a collector that exists already, and that other callers use, too. A record has been written
/// when its job has succeeded; a job that fails rejects its record.
///
/// The batches of the pipeline are those of the user's collector: this sink only hands over, and waits. It promises nothing for a record
/// that comes twice, unless you say that it [overwrites](CollectorSink::overwrites).
///
/// ```
/// use actix_batch::{Batch, BatchProcessor, Collector, Job, Outcomes};
/// use actix_batch_pipeline::{prelude::*, sink::collector};
/// # struct Put(u64);
/// # impl Job for Put { type Output = (); type Error = String; }
/// # struct Puts;
/// # impl BatchProcessor for Puts {
/// #     type Job = Put;
/// #     async fn process(&mut self, _: &Batch<Put>) -> Result<Outcomes<Put>, String> { Ok(Outcomes::all(())) }
/// # }
/// # actix_rt::System::new().block_on(async {
/// let puts = Collector::builder(|| Puts).start().unwrap();
/// let report = Pipeline::named("puts")
///     .read(from_iter("numbers", || 1..=1_000_u64))
///     .write(collector(&puts, |number: &u64| Put(*number)).overwrites(true))
///     .run()
///     .await?;
/// assert_eq!(report.written, 1_000);
/// assert_eq!(puts.stats().await.unwrap().succeeded, 1_000);
/// # Ok::<(), RunError>(())
/// # }).unwrap();
/// ```
pub fn collector<T, J: Job, G>(collector: &Collector<J>, to_job: G) -> CollectorSink<J, G>
where
    G: Fn(&T) -> J + Send + Sync + 'static,
{
    CollectorSink { collector: collector.clone(), to_job: Arc::new(to_job), promises: Promises::Append }
}

impl<J: Job, G> CollectorSink<J, G> {
    /// A record that is written again overwrites the first one. Default: it is stored twice.
    pub fn overwrites(mut self, overwrites: bool) -> Self {
        self.promises = if overwrites { Promises::Keyed } else { Promises::Append };
        self
    }
}

impl<T, J, G> IntoSink<T> for CollectorSink<J, G>
where
    T: 'static,
    J: Job,
    G: Fn(&T) -> J + Send + Sync + 'static,
{
    type Sink = Self;

    fn describe(&self) -> String {
        "collector".to_owned()
    }

    fn promises(&self) -> Promises {
        self.promises
    }

    fn sink(&self, _worker: usize, _run: &RunId, _settled: &Arc<Settled>) -> Self {
        Self { collector: self.collector.clone(), to_job: Arc::clone(&self.to_job), promises: self.promises }
    }
}

impl<T, J, G> Sink<T> for CollectorSink<J, G>
where
    T: 'static,
    J: Job,
    G: Fn(&T) -> J + Send + Sync + 'static,
{
    async fn write(&mut self, batch: &Batch<Record<T>>) -> Result<Written, SinkError> {
        let results = join_all(batch.iter().map(|record| self.collector.submit((self.to_job)(record)))).await;
        if results.iter().any(|result| matches!(result, Err(JobError::ShutDown))) {
            return Err(SinkError::temporary("the collector has been shut down"));
        }
        Ok(written::<J>(results, |_| SinkErrorKind::Record))
    }
}

impl<F, G> fmt::Debug for Processor<F, G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Processor").field("promises", &self.promises).finish_non_exhaustive()
    }
}

impl<P, G> fmt::Debug for ProcessorSink<P, G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessorSink").finish_non_exhaustive()
    }
}

impl<J: Job, G> fmt::Debug for CollectorSink<J, G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CollectorSink").field("promises", &self.promises).finish_non_exhaustive()
    }
}
