//! Being able to see it: what a collector counts and measures, and [`Observer`], which hears what happens.

#[cfg(feature = "metrics")]
mod metrics;
mod observer;
mod shutdown_report;
mod stats;
#[cfg(feature = "record")]
mod trace;
mod tracker;

#[cfg(feature = "metrics")]
pub(crate) use metrics::Metrics;
pub(crate) use observer::Observers;
pub use observer::{Dispatched, Ended, Flushed, Halved, Observer, Outcome, Restarted, Retried, Settled};
pub use shutdown_report::ShutdownReport;
pub(crate) use stats::Recorder;
pub use stats::{Distribution, Levels, Stats, WorkerStats};
#[cfg(feature = "record")]
pub use trace::{Attempt, Trace, TraceError, TraceRecorder};
pub(crate) use tracker::Tracker;
