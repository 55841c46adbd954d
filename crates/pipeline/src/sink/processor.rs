//! A sink as the batch processor of a collector.

use std::{
    fmt,
    marker::PhantomData,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use actix_batch::{Batch, BatchProcessor, Blame, Job, Outcomes};
use parking_lot::Mutex;

use super::{Sink, SinkError, SinkErrorKind, Written};
use crate::record::Record;

/// Runs a [`Sink`] as the [`BatchProcessor`] of the pipeline's collector.
pub struct SinkProcessor<T, K> {
    sink: K,
    monitor: Arc<SinkMonitor>,
    records: PhantomData<fn(T)>,
}

/// What the run hears of its sinks besides their replies.
#[derive(Debug, Default)]
pub(crate) struct SinkMonitor {
    /// Batches that were written.
    pub(crate) batches: AtomicU64,
    /// The first error of a `close`.
    pub(crate) close_error: Mutex<Option<SinkError>>,
}

impl<T, K> SinkProcessor<T, K> {
    pub(crate) fn new(sink: K, monitor: Arc<SinkMonitor>) -> Self {
        Self { sink, monitor, records: PhantomData }
    }
}

/// A record is a job of the sink's collector: retries, splitting and dead letters are exact to the record.
impl<T: Send + Sync + 'static> Job for Record<T> {
    type Output = ();
    type Error = SinkError;
}

impl<T: Send + Sync + 'static, K: Sink<T>> BatchProcessor for SinkProcessor<T, K> {
    type Job = Record<T>;

    async fn prepare(&mut self) -> Result<(), SinkError> {
        self.sink.prepare().await
    }

    fn is_fatal(error: &SinkError) -> bool {
        error.kind() == SinkErrorKind::Fatal
    }

    fn blame(error: &SinkError) -> Blame {
        match error.kind() {
            SinkErrorKind::Record => Blame::Job,
            SinkErrorKind::Batch => Blame::Unknown,
            SinkErrorKind::Temporary | SinkErrorKind::Fatal => Blame::Downstream,
        }
    }

    async fn process(&mut self, batch: &Batch<Record<T>>) -> Result<Outcomes<Record<T>>, SinkError> {
        let written = self.sink.write(batch).await?;
        self.monitor.batches.fetch_add(1, Ordering::Relaxed);
        Ok(if written.refused().is_empty() { Outcomes::all(()) } else { each(written, batch.len()) })
    }

    async fn close(&mut self) {
        if let Err(error) = self.sink.close().await {
            self.monitor.close_error.lock().get_or_insert(error);
        }
    }
}

fn each<T: Send + Sync + 'static>(written: Written, records: usize) -> Outcomes<Record<T>> {
    let mut results: Vec<Result<(), SinkError>> = (0..records).map(|_| Ok(())).collect();
    for (position, error) in written.into_refused() {
        if let Some(result) = results.get_mut(position) {
            *result = Err(error);
        }
    }
    Outcomes::each(results)
}

impl<T, K> fmt::Debug for SinkProcessor<T, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SinkProcessor").finish_non_exhaustive()
    }
}
