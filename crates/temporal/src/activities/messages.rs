//! What activities are asked, and what they answer.

use std::time::Duration;

use actix_batch_pipeline::{Report, SourceRange};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::state::Totals;

/// What `actix-batch.plan` is asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanInput {
    pub(crate) definition: String,
    pub(crate) configuration: Value,
    pub(crate) after: Option<SourceRange>,
    /// Without a number, the first ranges have a hundredth of the source.
    pub(crate) rows_per_range: Option<u64>,
    pub(crate) at_most: usize,
}

/// What `actix-batch.plan` answers. The ranges come without what the source was, which is the same for all of them and may be long.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Planned {
    pub(crate) identity: Value,
    pub(crate) ranges: Vec<SourceRange>,
}

/// What `actix-batch.copy` is asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CopyInput {
    pub(crate) definition: String,
    pub(crate) configuration: Value,
    pub(crate) range: SourceRange,
}

/// What `actix-batch.copy` answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copied {
    pub(crate) records: u64,
    pub(crate) written: u64,
    pub(crate) filtered: u64,
    pub(crate) rejected: u64,
    /// How long it took, if no earlier attempt had begun the range.
    #[serde(default)]
    pub(crate) milliseconds: Option<u64>,
}

impl Copied {
    pub(super) fn new(report: &Report, elapsed: Duration) -> Self {
        let milliseconds = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        Self {
            records: report.resumed_after + report.read,
            written: report.written,
            filtered: report.filtered,
            rejected: report.rejected,
            milliseconds: (report.resumed_after == 0).then_some(milliseconds),
        }
    }

    pub(crate) fn totals(&self) -> Totals {
        let Self { records, written, filtered, rejected, .. } = *self;
        Totals { ranges: 1, records, written, filtered, rejected }
    }
}

impl Planned {
    pub(super) fn new(mut ranges: Vec<SourceRange>) -> Self {
        let mut identity = Value::Null;
        for range in &mut ranges {
            identity = range.identity.take();
        }
        Self { identity, ranges }
    }
}
