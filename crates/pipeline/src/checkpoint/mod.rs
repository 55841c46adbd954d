//! What a run has settled, and where that is kept.
//!
//! A checkpoint never passes a record that has not settled, and its cursor always stands after the last record of a chunk.

use std::{
    fmt,
    future::Future,
    hash::{BuildHasher, RandomState},
    pin::Pin,
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{dead_letters::DeadRecord, source::Identity};

mod error;
mod file;
mod interval;
mod memory;
mod settled;

pub use error::{CheckpointError, CheckpointErrorKind};
pub use file::FileStore;
#[cfg(feature = "sqlite")]
pub(crate) use interval::IntervalBuilder;
pub use interval::{Interval, Intervals};
pub use memory::MemoryStore;
pub use settled::Settled;

/// What the progress beside a sink's data belongs to: a pipeline and its sink, in one run.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct RunId {
    /// The pipeline's name; for a second sink of the same pipeline, and so on, with its number: `flights#2`. So several sinks of one
    /// pipeline may write to one database.
    pub pipeline: String,
    name: String,
    sink: usize,
    token: u64,
}

impl RunId {
    /// The first sink of the pipeline with this name, in a new run.
    pub fn new(pipeline: impl Into<String>) -> Self {
        let name = pipeline.into();
        // Each state has keys of its own, from the system's randomness.
        let token = RandomState::new().hash_one(0);
        Self { pipeline: name.clone(), name, sink: 0, token }
    }

    /// A number that no other run has, also one on another machine. A store notes it when it takes its lease, and a sink that finds another one
    /// there has lost that lease: it must not write.
    pub fn token(&self) -> u64 {
        self.token
    }

    /// The pipeline's name alone: dead letters belong to it, whichever sink keeps them.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The sink that stands so many further.
    pub(crate) fn behind(&self, sinks: usize) -> Self {
        let (name, sink) = (self.name.clone(), self.sink + sinks);
        let pipeline = if sink == 0 { name.clone() } else { format!("{name}#{}", sink + 1) };
        Self { pipeline, name, sink, token: self.token }
    }
}

/// Everything that a run needs to go on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The fingerprint of the plan: source, stages by name and version, sink, key.
    pub plan: String,
    /// What makes the cursors valid.
    pub identity: Identity,
    /// The version of the source's cursors.
    pub cursor_version: u32,
    /// The ranges of the source, in its order.
    pub ranges: Vec<RangeCheckpoint>,
    /// What a sink that keeps the checkpoint needs besides: the length of a file, for instance. `null` for the others.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub sink: Value,
}

/// What has settled of one range.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RangeCheckpoint {
    /// Its number, from 0.
    pub range: u32,
    /// Where it begins: after this cursor.
    pub from: Option<Value>,
    /// Where it ends: with this cursor.
    pub to: Option<Value>,
    /// How many source records of it have settled, from its beginning and without a gap.
    pub record: u64,
    /// Where to go on: after those records.
    pub cursor: Option<Value>,
    /// Whether it has been read to its end and everything has settled.
    pub done: bool,
    /// What has been written beyond the prefix, because batches overtook each other.
    pub beyond: Intervals,
}

/// A future of a [`Store`].
pub type StoreFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, CheckpointError>> + 'a>>;

/// Where checkpoints are kept: a file, memory, or beside the data of a transactional sink.
///
/// Saving is atomic: after a crash the store holds the checkpoint before or the one after, never a mixture, and never nothing.
pub trait Store: fmt::Debug {
    /// Takes the lease: two runs of one pipeline must not write together. It ends with the store, also when the process is killed.
    ///
    /// # Errors
    ///
    /// [`CheckpointErrorKind::Leased`] if another run holds it.
    fn lease(&mut self) -> StoreFuture<'_, ()>;

    /// The last checkpoint; `None` if there never was one.
    ///
    /// # Errors
    ///
    /// If what is stored cannot be used: it is never taken for a first run.
    fn load(&mut self) -> StoreFuture<'_, Option<Checkpoint>>;

    /// Replaces the checkpoint. Everything that it calls settled is durable when this returns.
    ///
    /// # Errors
    ///
    /// If it cannot be stored. The one before is still there.
    fn save<'a>(&'a mut self, checkpoint: &'a Checkpoint) -> StoreFuture<'a, ()>;

    /// Forgets the checkpoint, for a run that starts again.
    ///
    /// # Errors
    ///
    /// If it cannot be removed.
    fn clear(&mut self) -> StoreFuture<'_, ()>;

    /// Whether it keeps dead letters, too: then the run hands them over, here and to the sink by [`Settled::dead_letters`].
    fn keeps_dead_letters(&self) -> bool {
        false
    }

    /// Stores dead letters; those that are there already, by pipeline, position and what rejected them, stay as they are. The run calls it
    /// before it saves the checkpoint that passes them.
    ///
    /// # Errors
    ///
    /// If they cannot be stored.
    fn save_dead_letters<'a>(&'a mut self, _letters: &'a [&'a DeadRecord]) -> StoreFuture<'a, ()> {
        Box::pin(std::future::ready(Ok(())))
    }
}

impl Checkpoint {
    /// Whether nothing has settled yet.
    pub fn is_untouched(&self) -> bool {
        self.ranges.iter().all(|range| range.record == 0 && range.beyond.is_empty() && !range.done)
    }
}

impl RangeCheckpoint {
    /// A range of which nothing has been read.
    pub fn new(range: u32, from: Option<Value>, to: Option<Value>) -> Self {
        Self { range, cursor: from.clone(), from, to, record: 0, done: false, beyond: Intervals::default() }
    }
}
