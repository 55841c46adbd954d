//! Being able to see it: what a collector counts and measures.

mod stats;

pub use stats::{Distribution, Failures, Stats, WorkerStats};
pub(crate) use stats::{Levels, Recorder};
