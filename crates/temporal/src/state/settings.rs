//! What is to be run, and how.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What is to be run, and how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The definition's name.
    pub definition: String,
    /// The definition's own data.
    pub configuration: Value,
    /// Rows of a range, about. Without a number, it is measured how many are copied in about five seconds.
    pub rows_per_range: Option<u64>,
    /// Ranges that are copied at once, over all workers.
    pub in_flight: usize,
    /// Ranges after which the workflow continues as new, so that its history stays short.
    pub ranges_per_run: u64,
    /// Ranges that may fail for good before the run fails.
    pub max_failed_ranges: usize,
    /// Records that may be rejected before the run fails.
    pub max_rejected: Option<u64>,
}

/// The server allows a workflow 2,000 activities at once.
const MOST_IN_FLIGHT: usize = 1_000;

/// Why this is no number of ranges in flight.
pub(crate) fn check_in_flight(ranges: usize) -> Result<(), String> {
    if (1..=MOST_IN_FLIGHT).contains(&ranges) {
        Ok(())
    } else {
        Err(format!("`in_flight` must be from 1 to 1,000 (got {ranges})"))
    }
}
