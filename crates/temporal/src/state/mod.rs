//! What a run has planned, copied and been told: pure, so that a workflow that is replayed decides the same again.
//!
//! What holds here:
//! - A range is in one place: waiting, running, copied, or failed.
//! - Nothing is begun while the run is paused, stopping, or has failed.
//! - A run continues as new only when nothing is running or being planned.

use std::collections::{BTreeMap, VecDeque};

use actix_batch_pipeline::SourceRange;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use self::range_size::RangeSize;
pub(crate) use self::{
    progress::Outcome,
    range_size::{Cuts, MOST_FIRST, first_rows},
    settings::check_in_flight,
};
pub use self::{
    progress::{FailedRange, Progress, Totals},
    settings::Settings,
};

mod progress;
mod range_size;
mod settings;

/// Ranges that are planned at once: 200 of them are some 15 KB of history.
pub(crate) const PLANNED_AT_ONCE: usize = 200;
/// The next ones are planned once so few are left, while these are copied. The first ones are as few, because nothing is copied before they are
/// planned.
const AHEAD: usize = 16;

/// As much of an error as is carried along.
const ERROR_CHARACTERS: usize = 1_000;

/// The state of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(crate) struct State {
    settings: Settings,
    totals: Totals,
    failed: Vec<FailedRange>,
    /// What the source was when it was cut: the same for all ranges, which are kept without it.
    identity: Value,
    /// Planned and not begun.
    waiting: VecDeque<SourceRange>,
    /// The last range that was planned.
    planned: Option<SourceRange>,
    all_planned: bool,
    paused: bool,
    stopping: bool,
    /// Why nothing more is begun: planning failed.
    broken: Option<String>,
    /// Ranges that this run of the workflow has begun.
    begun: u64,
    #[serde(default)]
    range_size: RangeSize,
    #[serde(skip)]
    running: BTreeMap<u64, SourceRange>,
    #[serde(skip)]
    planning: bool,
}

/// Ranges to be planned.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Plan {
    /// Those behind this one, as many as it says.
    pub(crate) after: Option<SourceRange>,
    /// Rows of a range, about, if they are the first ones; without a number, they are few.
    pub(crate) rows_per_range: Option<u64>,
    pub(crate) at_most: usize,
}

/// What is to be done next.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Next {
    /// Plan ranges.
    Plan(Plan),
    /// Copy a range.
    Copy(SourceRange),
    /// Continue as new.
    Continue,
    /// Nothing is left.
    End(Outcome),
    /// Until something has ended, or a signal comes.
    Wait,
}

impl State {
    /// A run of the ranges behind `after`.
    pub(crate) fn new(settings: Settings, after: Option<SourceRange>) -> Self {
        Self {
            settings,
            totals: Totals::default(),
            failed: Vec::new(),
            identity: after.as_ref().map_or(Value::Null, |range| range.identity.clone()),
            waiting: VecDeque::new(),
            all_planned: after.as_ref().is_some_and(SourceRange::is_last),
            planned: after.map(|range| SourceRange { identity: Value::Null, ..range }),
            paused: false,
            stopping: false,
            broken: None,
            begun: 0,
            range_size: RangeSize::default(),
            running: BTreeMap::new(),
            planning: false,
        }
    }

    /// Cuts the source as an earlier run of this name did.
    pub(crate) fn cut_as(mut self, cuts: Cuts) -> Self {
        self.range_size = RangeSize::as_before(cuts);
        self
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// How the source was cut, if that was measured.
    pub(crate) fn cuts(&self) -> Option<&Cuts> {
        self.settings.rows_per_range.is_none().then(|| self.range_size.cuts())
    }

    /// What is to be done next. What it says is taken to be begun.
    pub(crate) fn next(&mut self) -> Next {
        let (is_idle, is_ending) = (self.running.is_empty() && !self.planning, self.is_ending());
        if is_idle && (is_ending || (self.all_planned && self.waiting.is_empty())) {
            return Next::End(self.outcome());
        }
        if is_ending {
            return Next::Wait;
        }
        if self.begun >= self.settings.ranges_per_run {
            // A run that is paused waits here, too: its history does not grow.
            return if is_idle { Next::Continue } else { Next::Wait };
        }
        if self.paused {
            return Next::Wait;
        }
        // Behind copies, a plan would wait for a free worker.
        if let Some(plan) = self.plan() {
            self.planning = true;
            return Next::Plan(plan);
        }
        let has_room = self.running.len() < self.settings.in_flight;
        match has_room.then(|| self.waiting.pop_front()).flatten() {
            Some(range) => {
                self.begun += 1;
                let whole = self.whole(range.clone());
                self.running.insert(range.number, range);
                Next::Copy(whole)
            }
            None => Next::Wait,
        }
    }

    /// The ranges to be planned, if it is time.
    fn plan(&mut self) -> Option<Plan> {
        let rows_per_range = self.settings.rows_per_range;
        // Unless the user has set the size of the ranges, those that run are measured before more are planned.
        let ahead = if rows_per_range.is_some() { AHEAD } else { 0 };
        if self.waiting.len() > ahead || self.all_planned || self.planning {
            return None;
        }
        let after = self.planned.clone().map(|range| self.whole(range));
        if rows_per_range.is_some() {
            let at_most = if after.is_none() { AHEAD } else { PLANNED_AT_ONCE };
            return Some(Plan { after, rows_per_range, at_most });
        }
        let (first, rest) = after.as_ref().map_or((0, 0), |range| (range.number + 1, range.behind));
        let cut = self.range_size.plan(first, rest, self.settings.in_flight, self.running.is_empty())?;
        let after = after.map(|range| SourceRange { behind: cut.rest, ..range });
        Some(Plan { after, rows_per_range, at_most: cut.at_most })
    }

    /// A range with what the source was.
    fn whole(&self, range: SourceRange) -> SourceRange {
        SourceRange { identity: self.identity.clone(), ..range }
    }

    /// Whether nothing more is begun.
    fn is_ending(&self) -> bool {
        self.stopping || self.error().is_some()
    }

    /// Why the run fails.
    fn error(&self) -> Option<String> {
        if let Some(broken) = &self.broken {
            return Some(broken.clone());
        }
        if self.failed.len() > self.settings.max_failed_ranges {
            let first = self.failed.first().map(|failed| format!("range {}: {}", failed.range.number, failed.error));
            let (failed, most) = (self.failed.len(), self.settings.max_failed_ranges);
            let what =
                format!("{failed} ranges failed for good, and {most} may; the first is {}", first.unwrap_or_default());
            return Some(what);
        }
        let most = self.settings.max_rejected.filter(|most| self.totals.rejected > *most)?;
        Some(format!("{} records were rejected, and {most} may be", self.totals.rejected))
    }

    fn outcome(&self) -> Outcome {
        Outcome {
            totals: self.totals,
            failed: self.failed.clone(),
            stopped: self.stopping,
            error: self.error(),
            copied_up_to: self.copied_up_to(),
        }
    }

    /// The last range that was begun; nothing is running when this is asked.
    fn copied_up_to(&self) -> Option<SourceRange> {
        let Some(first) = self.waiting.front() else { return self.planned.clone().map(|range| self.whole(range)) };
        // The cursor before the first one that waits is all that is needed of its neighbour.
        let number = first.number.checked_sub(1)?;
        let behind = SourceRange { number, to: first.from.clone(), behind: first.behind + 1, ..first.clone() };
        Some(self.whole(behind))
    }

    /// Ranges were planned; none are left if there are none.
    pub(crate) fn planned(&mut self, identity: Value, ranges: Vec<SourceRange>) {
        self.planning = false;
        if !ranges.is_empty() {
            self.identity = identity;
        }
        self.all_planned = ranges.last().is_none_or(SourceRange::is_last);
        self.planned = ranges.last().cloned().or(self.planned.take());
        self.waiting.extend(ranges);
    }

    /// Planning failed for good.
    pub(crate) fn planning_failed(&mut self, error: &str) {
        self.planning = false;
        self.broken = Some(format!("the ranges cannot be planned: {error}"));
    }

    /// A range was copied; the milliseconds are known if that was in one go.
    pub(crate) fn copied(&mut self, number: u64, copied: Totals, milliseconds: Option<u64>) {
        if self.running.remove(&number).is_none() {
            return;
        }
        if let Some(milliseconds) = milliseconds {
            self.range_size.copied(number, copied.records, milliseconds);
        }
        self.totals.ranges += 1;
        self.totals.records += copied.records;
        self.totals.written += copied.written;
        self.totals.filtered += copied.filtered;
        self.totals.rejected += copied.rejected;
    }

    /// A range failed for good.
    pub(crate) fn copying_failed(&mut self, number: u64, error: &str) {
        if let Some(range) = self.running.remove(&number) {
            let end = error.char_indices().nth(ERROR_CHARACTERS).map_or(error.len(), |(at, _)| at);
            self.failed.push(FailedRange { range, error: error[..end].to_owned() });
        }
    }

    pub(crate) fn pause(&mut self) {
        self.paused = true;
    }

    pub(crate) fn resume(&mut self) {
        self.paused = false;
    }

    pub(crate) fn stop(&mut self) {
        self.stopping = true;
    }

    pub(crate) fn set_in_flight(&mut self, ranges: usize) {
        self.settings.in_flight = ranges;
    }

    /// The workflow begins nothing more before it continues as new.
    pub(crate) fn end_this_run(&mut self) {
        self.begun = self.begun.max(self.settings.ranges_per_run);
    }

    /// What the next run of the workflow begins with.
    pub(crate) fn carried_over(&self) -> Self {
        Self { begun: 0, ..self.clone() }
    }

    pub(crate) fn progress(&self) -> Progress {
        let behind = self.planned.as_ref().filter(|_| !self.all_planned).map_or(0, |range| range.behind);
        Progress {
            totals: self.totals,
            running: self.running.len() as u64,
            left: self.waiting.len() as u64 + behind,
            failed: self.failed.len() as u64,
            in_flight: self.settings.in_flight,
            paused: self.paused,
            stopping: self.stopping,
        }
    }
}

#[cfg(test)]
mod tests;
