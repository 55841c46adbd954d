//! Files as sinks: written under a temporary name, published by a rename, and resumable to the byte.
//!
//! What holds here:
//! - `<path>.partial` is written; `<path>` appears whole, when everything has been written, and not before.
//! - The checkpoint beside it holds the length of the partial file, and what the file holds beyond the settled prefix. Both were taken
//!   at the same moment, after the file was synced. A run that goes on cuts the file back to that length.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use actix_batch::Workers;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::{Defaults, IntoSink, Promises, Sink, SinkError};
use crate::checkpoint::{RunId, Settled, Store};

#[cfg(feature = "csv")]
mod csv;
mod json_lines;
mod store;
mod writer;

#[cfg(feature = "csv")]
pub use csv::{CsvFile, CsvSink};
pub use json_lines::{JsonLinesFile, JsonLinesSink};
pub use store::PartialFileStore;
use writer::PartialFile;

/// The file of one specification, shared by its sinks and its store.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(transparent)]
struct Target {
    path: PathBuf,
    #[serde(skip)]
    partial: Arc<Mutex<Option<PartialFile>>>,
}

impl Target {
    fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), partial: Arc::default() }
    }

    fn describe(&self, kind: &str) -> String {
        format!("{kind}:{}", self.path.display())
    }

    /// Where the file is now.
    #[cfg(feature = "csv")]
    fn readable(&self) -> PathBuf {
        let partial = beside(&self.path, "partial");
        if partial.exists() { partial } else { self.path.clone() }
    }

    fn store(&self) -> Box<dyn Store> {
        Box::new(PartialFileStore::new(self.clone()))
    }

    /// Gives the file its final name.
    fn publish(&self) -> Result<(), SinkError> {
        let mut partial = self.partial.lock();
        match partial.as_mut() {
            Some(partial) => partial.publish(&self.path),
            None => Ok(()),
        }
    }
}

/// The path with a suffix: `flights.jsonl.partial`.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    PathBuf::from(name)
}

/// One writer: a file has one end.
fn defaults() -> Defaults {
    Defaults { max_size: 2_000, workers: Workers::threads(1) }
}
