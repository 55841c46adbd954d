//! One sink for all records.

use std::{fmt, marker::PhantomData, sync::Arc, time::Duration};

use actix_batch::{Collector, CollectorBuilder, DeadLetter, JobError, Retry, StartError};
use futures_util::future::LocalBoxFuture;

use super::{Outlet, OutletContext};
use crate::{
    checkpoint::{RunId, Store},
    record::Record,
    rejection::Rejection,
    sink::{IntoSink, Promises, Sink, SinkError, SinkErrorKind, SinkProcessor},
};

type Configure<T, K> = dyn Fn(
        CollectorBuilder<SinkProcessor<T, <K as IntoSink<T>>::Sink>>,
    ) -> CollectorBuilder<SinkProcessor<T, <K as IntoSink<T>>::Sink>>
    + Send
    + Sync;

/// One sink, and the settings of its collector.
pub struct One<T: Send + Sync + 'static, K: IntoSink<T>> {
    sink: Arc<K>,
    configure: Option<Box<Configure<T, K>>>,
    records: PhantomData<fn(T)>,
}

impl<T: Send + Sync + 'static, K: IntoSink<T>> One<T, K> {
    /// This sink, with its default settings.
    pub fn new(sink: K) -> Self {
        Self { sink: Arc::new(sink), configure: None, records: PhantomData }
    }

    /// With changes to the settings of its collector: the whole builder of `actix-batch`.
    pub fn collector<F>(mut self, configure: F) -> Self
    where
        F: Fn(CollectorBuilder<SinkProcessor<T, K::Sink>>) -> CollectorBuilder<SinkProcessor<T, K::Sink>>
            + Send
            + Sync
            + 'static,
    {
        self.configure = Some(Box::new(configure));
        self
    }

    fn builder(&self, context: &OutletContext) -> CollectorBuilder<SinkProcessor<T, K::Sink>> {
        let defaults = self.sink.defaults();
        let (sink, letters) = (Arc::clone(&self.sink), Arc::clone(&context.letters));
        let OutletContext { run, settled, monitor, .. } = context.clone();
        let name = self.sink.describe();
        let factory = move |worker| SinkProcessor::new(sink.sink(worker, &run, &settled), Arc::clone(&monitor));
        Collector::builder_by_seat(factory)
            .name(format!("{} → {}", context.run.pipeline, self.sink.describe()))
            .max_pending(context.max_pending)
            .max_size(defaults.max_size.min(context.max_pending))
            .workers(defaults.workers)
            .interval(Duration::from_millis(50))
            .split_poison(true)
            .retry(default_retry())
            .dead_letters(move |letter: DeadLetter<Record<T>>| {
                if is_rejection(&letter.error) {
                    letters.push(&rejection(&name, &letter, K::Sink::show));
                }
            })
    }
}

/// Five attempts for what may pass, and none for anything else.
fn default_retry() -> Retry<SinkError> {
    Retry::exponential(Duration::from_millis(50))
        .attempts(5)
        .when(|error: &SinkError| error.kind() == SinkErrorKind::Temporary)
}

/// Whether an error is the record's own, so that the run goes on without it.
pub(crate) fn is_rejection(error: &JobError<SinkError>) -> bool {
    match error {
        JobError::Failed(error) => matches!(error.kind(), SinkErrorKind::Record | SinkErrorKind::Batch),
        JobError::Panicked
        | JobError::Mismatch { .. }
        | JobError::NoResult
        | JobError::DuplicateKey
        | JobError::TooLarge => true,
        _ => false,
    }
}

fn rejection<T: Send + Sync + 'static>(
    sink: &str,
    letter: &DeadLetter<Record<T>>,
    show: impl Fn(&T) -> Option<String>,
) -> Rejection {
    let error = match letter.error.processor_error() {
        Some(error) => error.to_string(),
        None => letter.error.to_string(),
    };
    Rejection {
        position: letter.job.position(),
        origin: letter.job.origin().clone(),
        by: sink.to_owned(),
        error,
        attempts: letter.attempts,
        record: show(&letter.job),
    }
}

impl<T: Send + Sync + 'static, K: IntoSink<T>> Outlet<T> for One<T, K> {
    fn describe(&self) -> Vec<String> {
        vec![self.sink.describe()]
    }

    fn promises(&self) -> Vec<Promises> {
        vec![self.sink.promises()]
    }

    fn stores(&self, run: &RunId) -> Vec<Option<Box<dyn Store>>> {
        vec![self.sink.store(run)]
    }

    fn start(&self, context: &OutletContext) -> Result<Vec<Collector<Record<T>>>, StartError> {
        let builder = self.builder(context);
        let builder = match &self.configure {
            Some(configure) => configure(builder),
            None => builder,
        };
        Ok(vec![builder.start()?])
    }

    fn send(&self, record: Record<T>, to: &mut dyn FnMut(usize, Record<T>)) -> Result<(), String> {
        to(0, record);
        Ok(())
    }

    fn whole(&self) -> Option<String> {
        self.sink.is_whole().then(|| self.sink.describe())
    }

    fn is_one(&self) -> bool {
        true
    }

    fn publish(&self) -> LocalBoxFuture<'_, Result<(), SinkError>> {
        Box::pin(self.sink.publish())
    }
}

impl<T: Send + Sync + 'static, K: IntoSink<T>> fmt::Debug for One<T, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("One").field("sink", &self.sink.describe()).finish_non_exhaustive()
    }
}
