//! What a collector tells about itself: statistics to ask for, and [`Observer`], whose hooks are called as things happen.

mod counts;
mod distribution;
mod hooks;
mod journal;
mod levels;
mod measurements;
#[cfg(feature = "metrics")]
mod metrics;
mod observer;
mod observers;
mod reporting;
mod shutdown_report;
mod stats;
#[cfg(feature = "record")]
mod trace;
mod tracker;

pub use counts::IntakeCounts;
pub use distribution::Distribution;
pub use hooks::{AttemptStatus, Attempted, Dispatched, Flushed, Restarted, Retried, Settled, Split};
pub(crate) use journal::{Event, Journal};
pub use levels::Levels;
pub(crate) use measurements::Measurements;
#[cfg(feature = "metrics")]
pub(crate) use metrics::Metrics;
pub use observer::Observer;
pub(crate) use observers::Observers;
pub(crate) use reporting::{log_submit, notify_submit};
pub use shutdown_report::ShutdownReport;
pub use stats::{Stats, WorkerStats};
#[cfg(feature = "record")]
pub use trace::{Attempt, Trace, TraceError, TraceRecorder};
pub(crate) use tracker::Tracker;
