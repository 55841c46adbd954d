//! What activities are asked, and what they answer.

use std::{mem, time::Duration};

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
#[serde(from = "PlannedEnds", into = "PlannedEnds")]
pub struct Planned {
    pub(crate) identity: Value,
    pub(crate) ranges: Vec<SourceRange>,
}

/// [`Planned`] as it stands in the history: a range begins where the one before it ends.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PlannedEnds {
    identity: Value,
    /// Of the first range, as what follows.
    number: u64,
    from: Option<Value>,
    behind: u64,
    cursor_version: u32,
    ends: Vec<Option<Value>>,
}

impl From<Planned> for PlannedEnds {
    fn from(Planned { identity, ranges }: Planned) -> Self {
        let first = ranges.first().cloned();
        let first = first.map(|range| (range.number, range.from, range.behind, range.cursor_version));
        let (number, from, behind, cursor_version) = first.unwrap_or_default();
        let ends = ranges.into_iter().map(|range| range.to).collect();
        Self { identity, number, from, behind, cursor_version, ends }
    }
}

impl From<PlannedEnds> for Planned {
    fn from(planned: PlannedEnds) -> Self {
        let PlannedEnds { identity, number, mut from, behind, cursor_version, ends } = planned;
        let range = |(at, to): (u64, Option<Value>)| SourceRange {
            number: number + at,
            from: mem::replace(&mut from, to.clone()),
            // None comes after the last one, and one at least after any other.
            behind: if to.is_none() { 0 } else { behind.saturating_sub(at).max(1) },
            to,
            cursor_version,
            identity: Value::Null,
        };
        Self { identity, ranges: (0..).zip(ends).map(range).collect() }
    }
}

/// What `actix-batch.copy` is asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CopyInput {
    pub(crate) definition: String,
    pub(crate) configuration: Value,
    pub(crate) range: SourceRange,
}

/// What `actix-batch.copy` answers. What goes without saying is left out of the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Copied {
    /// How many were read; `None` if those that follow are all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    records: Option<u64>,
    written: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    filtered: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    rejected: u64,
    /// How long it took, in milliseconds, if no earlier attempt had begun the range.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) millis: Option<u64>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Copied {
    pub(super) fn new(report: &Report, elapsed: Duration) -> Self {
        let Report { written, filtered, rejected, .. } = *report;
        let (records, all) = (report.resumed_after + report.read, written + filtered + rejected);
        let millis = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        let millis = (report.resumed_after == 0).then_some(millis);
        Self { records: (records != all).then_some(records), written, filtered, rejected, millis }
    }

    pub(crate) fn totals(&self) -> Totals {
        let Self { records, written, filtered, rejected, .. } = *self;
        Totals { ranges: 1, records: records.unwrap_or(written + filtered + rejected), written, filtered, rejected }
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn planned_ranges_are_read_as_they_were_written_and_each_end_stands_there_once() {
        let range = |number: u64, from: Value, to: Value, behind| SourceRange {
            number,
            from: (!from.is_null()).then_some(from),
            to: (!to.is_null()).then_some(to),
            behind,
            cursor_version: 3,
            identity: Value::Null,
        };
        let begun = vec![range(0, Value::Null, json!("a"), 7), range(1, json!("a"), json!("b"), 6)];
        let ended = vec![range(8, json!("x"), json!("y"), 1), range(9, json!("y"), Value::Null, 0)];
        for ranges in [begun, ended, Vec::new()] {
            let planned = Planned { identity: json!({ "bytes": 1 }), ranges };
            let text = serde_json::to_string(&planned).unwrap();
            assert_eq!(serde_json::from_str::<Planned>(&text).unwrap(), planned);
            assert!(text.matches(r#""a""#).count() <= 1 && text.matches(r#""y""#).count() <= 1, "{text}");
        }
    }
}
