//! What came, when, and how batches went: written while the collector works, and read to replay it.
//!
//! A trace is a file of JSON lines. The first line describes what was recorded; times count from then on, in microseconds:
//!
//! ```text
//! {"trace":{"version":1,"started_at":1767225600000,"own_policy":false,"config":{"name":"users","max_size":100, …}}}
//! {"arrivals":[1200,3,0,15]}     four jobs: the first at 1,200 µs, each other one so long after the one before it
//! {"batch":{"id":0,"at":14020,"jobs":4,"attempt":1,"waited":5003,"took":7817,"status":"answered"}}
//! {"lost":3}                     so many jobs and batches were not written, because the disk could not keep up
//! ```

use std::{
    io,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{AttemptStatus, Attempted};
use crate::config::CollectorConfig;

mod reader;
mod recorder;
mod tape;

pub use reader::{Attempt, Trace};
pub use recorder::TraceRecorder;

/// The version of the format.
const VERSION: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Line {
    Trace(Header),
    Arrivals(Vec<u64>),
    Batch(BatchLine),
    Lost(u64),
}

#[derive(Debug, Serialize, Deserialize)]
struct Header {
    version: u32,
    /// In milliseconds since 1970.
    started_at: u64,
    /// The policy was not that of the configuration's strategy.
    own_policy: bool,
    config: CollectorConfig,
}

impl Header {
    fn new(config: &CollectorConfig, own_policy: bool) -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let started_at = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        Self { version: VERSION, started_at, own_policy, config: config.clone() }
    }
}

/// An attempt that has ended; times in microseconds.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct BatchLine {
    id: u64,
    at: u64,
    jobs: usize,
    attempt: u32,
    waited: u64,
    took: u64,
    status: AttemptStatus,
}

impl BatchLine {
    fn new(outcome: &Attempted, at: Duration) -> Self {
        let Attempted { batch: id, jobs, attempt, status, waited, took } = *outcome;
        Self { id, at: micros(at), jobs, attempt, waited: micros(waited), took: micros(took), status }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// Why a trace cannot be recorded or read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TraceError {
    /// The file system says no.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It is no trace, so it is not replaced either: its first line is not that of a trace.
    #[error("this is no trace: its first line does not begin with `{{\"trace\":`")]
    NoTrace,
    /// Another version wrote it.
    #[error("a trace of version {0}; this version of actix-batch reads version {VERSION}")]
    Version(u32),
    /// Another collector records to this file.
    #[error("another collector records to this file")]
    InUse,
    /// A line that is not valid. A torn last line is skipped without an error.
    #[error("line {line}: {problem}")]
    Line {
        /// Its number, from 1.
        line: usize,
        /// What is wrong with it.
        problem: String,
    },
}

#[cfg(test)]
mod tests;
