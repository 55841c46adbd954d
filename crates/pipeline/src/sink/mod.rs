//! Where records go.

use std::{future::Future, sync::Arc};

use actix_batch::{Batch, Workers};

use crate::{
    checkpoint::{RunId, Settled, Store},
    record::Record,
};

mod batches;
mod error;
mod file;
mod for_each;
mod processor;
#[cfg(feature = "sqlite")]
mod sqlite;

pub use batches::{CollectorSink, Processor, ProcessorSink, collector, processor};
pub use error::{SinkError, SinkErrorKind};
#[cfg(feature = "csv")]
pub use file::{CsvFile, CsvSink};
pub use file::{JsonLinesFile, JsonLinesSink, PartialFileStore};
pub use for_each::{ForEach, for_each};
pub(crate) use processor::SinkMonitor;
pub use processor::SinkProcessor;
#[cfg(feature = "sqlite")]
pub use sqlite::{Sqlite, SqliteSink, SqliteStore};

/// The specification of a sink: it names no record type, and becomes a [`Sink`] for the records that arrive.
///
/// It is shared by all workers, and opens nothing until the pipeline runs.
pub trait IntoSink<T>: Send + Sync + 'static {
    /// What writes.
    type Sink: Sink<T>;

    /// What it writes to, and by which key, for people and for the plan's fingerprint: `sqlite:flights.db/departures by day, carrier`.
    fn describe(&self) -> String;

    /// What it can promise.
    fn promises(&self) -> Promises;

    /// The settings that suit this sink's collector. A user's own settings outrank them.
    fn defaults(&self) -> Defaults {
        Defaults::default()
    }

    /// The writer of one worker. It is called again whenever a worker is replaced.
    ///
    /// A transactional sink stores what [`settled`](Settled) holds together with the rows that it writes.
    fn sink(&self, worker: usize, run: &RunId, settled: &Arc<Settled>) -> Self::Sink;

    /// Where a transactional sink keeps the checkpoint: beside the data. It outranks any other place.
    fn store(&self, _run: &RunId) -> Option<Box<dyn Store>> {
        None
    }

    /// Whether it writes one file as a whole, so that only one process can write to it. Default: `false`.
    fn is_whole(&self) -> bool {
        false
    }

    /// Called once, when everything has been written and all workers have closed: a file gets its final name here.
    ///
    /// # Errors
    ///
    /// The run fails with it, and can go on from its checkpoint.
    fn publish(&self) -> impl Future<Output = Result<(), SinkError>> {
        async { Ok(()) }
    }
}

/// Writes batches of records.
pub trait Sink<T>: 'static {
    /// Connects. It is called before the first batch, and again on a new sink after a failure.
    ///
    /// # Errors
    ///
    /// [`SinkError::fatal`] if it can never get better (a wrong schema): the run ends. Everything else is tried again.
    fn prepare(&mut self) -> impl Future<Output = Result<(), SinkError>> {
        async { Ok(()) }
    }

    /// Writes a batch. A batch whose answer was lost may come again: a transactional sink skips what it has committed.
    ///
    /// # Errors
    ///
    /// An error of the whole batch. Its kind decides what happens: see [`SinkErrorKind`]. The errors of single records are part of
    /// [`Written`], and only records that are stored may be missing there.
    fn write(&mut self, batch: &Batch<Record<T>>) -> impl Future<Output = Result<Written, SinkError>>;

    /// A record as text, for the dead letters: JSON, as a rule. By default it is not shown.
    fn show(_record: &T) -> Option<String> {
        None
    }

    /// Called when the worker leaves for good; never after a panic or a time-out.
    ///
    /// # Errors
    ///
    /// The run fails with it.
    fn close(&mut self) -> impl Future<Output = Result<(), SinkError>> {
        async { Ok(()) }
    }
}

/// What became of a batch: every record was written, but for those that were refused.
#[derive(Debug, Default)]
pub struct Written {
    refused: Vec<(usize, SinkError)>,
}

/// What a sink can promise for a record that is sent to it twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Promises {
    /// Rows and progress are stored in one transaction, so each record takes effect once.
    Transactional,
    /// A record overwrites an earlier one with the same key, so writing it again changes nothing.
    Keyed,
    /// A record that is written again is stored twice.
    Append,
}

/// The settings that suit a sink's collector.
#[derive(Debug, Clone)]
pub struct Defaults {
    /// Records in a batch at most. Default: 500.
    pub max_size: usize,
    /// The workers. Default: one, on the pipeline's thread.
    pub workers: Workers,
}

impl Default for Defaults {
    fn default() -> Self {
        Self { max_size: 500, workers: Workers::local(1) }
    }
}

impl Written {
    /// Every record was written.
    pub fn all() -> Self {
        Self::default()
    }

    /// The record at this position of the batch was not written, and will be rejected.
    pub fn refuse(&mut self, position: usize, error: SinkError) {
        self.refused.push((position, error));
    }

    /// The positions of the records that were refused, and why.
    pub fn refused(&self) -> &[(usize, SinkError)] {
        &self.refused
    }

    /// The same, to pass them on.
    pub fn into_refused(self) -> Vec<(usize, SinkError)> {
        self.refused
    }
}
