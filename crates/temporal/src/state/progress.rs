//! What was copied, and how far a run is.

use actix_batch_pipeline::SourceRange;
use serde::{Deserialize, Serialize};

/// What was copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Totals {
    /// Ranges that were copied.
    pub ranges: u64,
    /// Source records of these ranges.
    pub records: u64,
    /// Records that were written by the attempts that came to their ends. What earlier attempts had stored counts as a record alone.
    pub written: u64,
    /// Likewise records that a stage did not want.
    pub filtered: u64,
    /// Likewise records that were rejected.
    pub rejected: u64,
}

/// A range that failed for good.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FailedRange {
    /// The range.
    pub range: SourceRange,
    /// Why, with all causes.
    pub error: String,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outcome {
    /// What was copied.
    pub totals: Totals,
    /// The ranges that failed for good.
    pub failed: Vec<FailedRange>,
    /// Whether it was stopped.
    pub stopped: bool,
    /// Why it failed, if it did.
    pub error: Option<String>,
    /// Where a run that was stopped goes on: behind this range; `None` is the beginning.
    pub copied_up_to: Option<SourceRange>,
}

/// How far a run is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Progress {
    /// What was copied.
    pub totals: Totals,
    /// Ranges that are copied now.
    pub running: u64,
    /// Ranges that are still to be copied, as far as they are planned or estimated.
    pub left: u64,
    /// Ranges that failed for good.
    pub failed: u64,
    /// How many ranges may be copied at once.
    pub in_flight: usize,
    /// Whether nothing is begun until it is resumed.
    pub paused: bool,
    /// Whether it ends once what runs has ended.
    pub stopping: bool,
}
