//! A closure as a sink.

use std::{fmt, sync::Arc};

use actix_batch::Batch;

use super::{IntoSink, Promises, Sink, SinkError, Written};
use crate::{
    checkpoint::{RunId, Settled},
    record::Record,
};

/// Calls a closure for each record; made by [`for_each`].
pub struct ForEach<F>(Arc<F>);

/// Calls a closure for each record: for tests, for counting, for what has no sink of its own yet.
///
/// It promises nothing for a record that comes twice, so the pipeline asks for
/// [`accept_duplicates`](crate::PipelineBuilder::accept_duplicates).
pub fn for_each<T, F: Fn(&T) + Send + Sync + 'static>(f: F) -> ForEach<F> {
    ForEach(Arc::new(f))
}

impl<T: 'static, F: Fn(&T) + Send + Sync + 'static> IntoSink<T> for ForEach<F> {
    type Sink = Self;

    fn describe(&self) -> String {
        "closure".to_owned()
    }

    fn promises(&self) -> Promises {
        Promises::Append
    }

    fn sink(&self, _worker: usize, _run: &RunId, _settled: &Arc<Settled>) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: 'static, F: Fn(&T) + Send + Sync + 'static> Sink<T> for ForEach<F> {
    async fn write(&mut self, batch: &Batch<Record<T>>) -> Result<Written, SinkError> {
        batch.iter().for_each(|record| (self.0)(record));
        Ok(Written::all())
    }
}

impl<F> fmt::Debug for ForEach<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ForEach")
    }
}
