//! How far a run is, as data.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use serde::Serialize;

use crate::source::Size;

mod display;
#[cfg(feature = "metrics")]
mod metrics;
mod report;

pub(crate) use display::Display;
#[cfg(feature = "metrics")]
pub(crate) use metrics::Metrics;
pub use report::{Ended, Report};

/// What a run has done so far.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Progress {
    /// The pipeline's name.
    pub pipeline: String,
    /// Records that were read from the source, readable or not.
    pub read: u64,
    /// Records that stages made in addition: a `flat_map` that makes three of one adds two.
    pub produced: u64,
    /// Records that the sink has stored.
    pub written: u64,
    /// Records that a stage did not want.
    pub filtered: u64,
    /// Records that went to the dead letters.
    pub rejected: u64,
    /// Records that an earlier run had stored beyond its checkpoint.
    pub skipped: u64,
    /// Records that were read and have not settled.
    pub open: u64,
    /// Bytes or rows that reading has passed.
    pub passed: u64,
    /// How much there is to read, in the same unit, if the source knows.
    pub size: Option<Size>,
    /// How long the run has been going on.
    pub elapsed: Duration,
    /// How old the last checkpoint is; `None` before the first one.
    pub checkpoint_age: Option<Duration>,
    /// Whether the run is paused.
    pub paused: bool,
}

impl Progress {
    /// How much of the source this run has passed, from 0 to 1, if the source knows its size.
    #[expect(clippy::cast_precision_loss, reason = "a share is shown, not counted with")]
    pub fn share(&self) -> Option<f64> {
        let (Size::Bytes(all) | Size::Records(all)) = self.size?;
        (all > 0).then(|| (self.passed as f64 / all as f64).min(1.0))
    }
}

/// Counts what a run does; shared by its readers.
#[derive(Debug)]
pub(crate) struct Counters {
    pub(crate) pipeline: String,
    pub(crate) read: AtomicU64,
    pub(crate) produced: AtomicU64,
    pub(crate) written: AtomicU64,
    pub(crate) filtered: AtomicU64,
    pub(crate) rejected: AtomicU64,
    pub(crate) skipped: AtomicU64,
    pub(crate) passed: AtomicU64,
    pub(crate) began: Instant,
    pub(crate) size: Mutex<Option<Size>>,
    pub(crate) saved: Mutex<Option<Instant>>,
}

impl Counters {
    pub(crate) fn new(pipeline: &str) -> Self {
        Self {
            pipeline: pipeline.to_owned(),
            read: AtomicU64::new(0),
            produced: AtomicU64::new(0),
            written: AtomicU64::new(0),
            filtered: AtomicU64::new(0),
            rejected: AtomicU64::new(0),
            skipped: AtomicU64::new(0),
            passed: AtomicU64::new(0),
            began: Instant::now(),
            size: Mutex::new(None),
            saved: Mutex::new(None),
        }
    }

    pub(crate) fn progress(&self, paused: bool) -> Progress {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        // What has ended first: a record that settles meanwhile must not be counted as more than it was.
        let (written, filtered, rejected, skipped) =
            (get(&self.written), get(&self.filtered), get(&self.rejected), get(&self.skipped));
        let (produced, read) = (get(&self.produced), get(&self.read));
        Progress {
            pipeline: self.pipeline.clone(),
            read,
            produced,
            written,
            filtered,
            rejected,
            skipped,
            open: (read + produced).saturating_sub(written + filtered + rejected + skipped),
            passed: get(&self.passed),
            size: *self.size.lock(),
            elapsed: self.began.elapsed(),
            checkpoint_age: self.saved.lock().map(|saved| saved.elapsed()),
            paused,
        }
    }
}
