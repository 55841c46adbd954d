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

/// Ranges that are planned at once: a few hundred of them are some 100 KB of history.
pub(crate) const PLANNED_AT_ONCE: usize = 200;

/// As much of an error as is carried along.
const ERROR_CHARACTERS: usize = 1_000;

/// What is to be run, and how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The definition's name.
    pub definition: String,
    /// The definition's own data.
    pub configuration: Value,
    /// Rows of a range, about.
    pub rows_per_range: u64,
    /// Ranges that are copied at once, over all workers.
    pub in_flight: usize,
    /// Ranges after which the workflow continues as new, so that its history stays short.
    pub ranges_per_run: u64,
    /// Ranges that may fail for good before the run fails.
    pub max_failed_ranges: usize,
    /// Records that may be rejected before the run fails.
    pub max_rejected: Option<u64>,
}

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
    #[serde(skip)]
    running: BTreeMap<u64, SourceRange>,
    #[serde(skip)]
    planning: bool,
}

/// What is to be done next.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Next {
    /// Plan the ranges behind this one.
    Plan(Option<SourceRange>),
    /// Copy a range.
    Copy(SourceRange),
    /// Continue as new.
    Continue,
    /// Nothing is left.
    End(Outcome),
    /// Until something has ended, or a signal comes.
    Wait,
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
            running: BTreeMap::new(),
            planning: false,
        }
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
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
        let has_room = self.running.len() < self.settings.in_flight;
        if let Some(range) = has_room.then(|| self.waiting.pop_front()).flatten() {
            self.begun += 1;
            let whole = self.whole(range.clone());
            self.running.insert(range.number, range);
            return Next::Copy(whole);
        }
        if self.waiting.is_empty() && !self.all_planned && !self.planning {
            self.planning = true;
            return Next::Plan(self.planned.clone().map(|range| self.whole(range)));
        }
        Next::Wait
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

    /// A range was copied.
    pub(crate) fn copied(&mut self, number: u64, copied: Totals) {
        if self.running.remove(&number).is_none() {
            return;
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Next, PLANNED_AT_ONCE, Settings, SourceRange, State, Totals};

    fn settings(in_flight: usize, ranges_per_run: u64) -> Settings {
        Settings {
            definition: "copy".into(),
            configuration: json!({}),
            rows_per_range: 10,
            in_flight,
            ranges_per_run,
            max_failed_ranges: 0,
            max_rejected: None,
        }
    }

    fn range(number: u64, of: u64) -> SourceRange {
        let behind = of - number - 1;
        let cursor = |at: u64| (at > 0 && at < of).then(|| json!(at));
        SourceRange {
            number,
            from: cursor(number),
            to: cursor(number + 1),
            behind,
            cursor_version: 1,
            identity: json!("data"),
        }
    }

    fn planned(state: &mut State, numbers: std::ops::Range<u64>, of: u64) {
        assert!(matches!(state.next(), Next::Plan(_)));
        let ranges = numbers.map(|number| SourceRange { identity: json!(null), ..range(number, of) });
        state.planned(json!("data"), ranges.collect());
    }

    fn copy(state: &mut State) -> u64 {
        match state.next() {
            Next::Copy(range) => {
                assert_eq!(range.identity, json!("data"));
                range.number
            }
            other => panic!("{other:?}"),
        }
    }

    const TEN: Totals = Totals { ranges: 0, records: 10, written: 9, filtered: 0, rejected: 1 };

    #[test]
    fn no_more_ranges_run_than_may_and_all_of_them_are_copied() {
        let mut state = State::new(settings(2, 100), None);
        planned(&mut state, 0..3, 5);
        assert_eq!((copy(&mut state), copy(&mut state), state.next()), (0, 1, Next::Wait));
        state.copied(0, TEN);
        assert_eq!(copy(&mut state), 2);
        state.copied(1, TEN);
        planned(&mut state, 3..5, 5);
        assert_eq!(copy(&mut state), 3);
        state.copied(3, TEN);
        state.copied(2, TEN);
        assert_eq!(copy(&mut state), 4);
        state.copied(4, TEN);
        let Next::End(outcome) = state.next() else { panic!("not at its end") };
        assert_eq!(outcome.totals, Totals { ranges: 5, records: 50, written: 45, filtered: 0, rejected: 5 });
        assert_eq!((outcome.error, outcome.copied_up_to.unwrap().number), (None, 4));
    }

    #[test]
    fn a_range_that_is_reported_twice_counts_once() {
        let mut state = State::new(settings(1, 100), None);
        planned(&mut state, 0..2, 2);
        copy(&mut state);
        state.copied(0, TEN);
        state.copied(0, TEN);
        assert_eq!(state.progress().totals.ranges, 1);
    }

    #[test]
    fn a_stopped_run_finishes_what_runs_and_says_where_it_goes_on() {
        let mut state = State::new(settings(2, 100), None);
        planned(&mut state, 0..5, 5);
        copy(&mut state);
        copy(&mut state);
        state.stop();
        assert_eq!(state.next(), Next::Wait);
        state.copied(1, TEN);
        state.copied(0, TEN);
        let Next::End(outcome) = state.next() else { panic!("not at its end") };
        let behind = outcome.copied_up_to.unwrap();
        assert_eq!((outcome.stopped, behind.number, &behind.to, behind.behind), (true, 1, &Some(json!(2)), 3));
        let mut again = State::new(settings(2, 100), Some(behind.clone()));
        assert_eq!(again.next(), Next::Plan(Some(behind)));
    }

    #[test]
    fn a_run_that_is_stopped_before_its_first_range_goes_on_at_the_beginning() {
        let mut state = State::new(settings(2, 100), None);
        state.pause();
        state.stop();
        let Next::End(outcome) = state.next() else { panic!("not at its end") };
        assert_eq!(outcome.copied_up_to, None);
    }

    #[test]
    fn a_paused_run_begins_nothing() {
        let mut state = State::new(settings(2, 100), None);
        planned(&mut state, 0..5, 5);
        state.pause();
        assert_eq!(state.next(), Next::Wait);
        state.resume();
        assert_eq!(copy(&mut state), 0);
    }

    #[test]
    fn a_run_continues_as_new_once_nothing_runs_and_carries_everything_else() {
        let mut state = State::new(settings(2, 3), None);
        planned(&mut state, 0..5, 5);
        assert_eq!((copy(&mut state), copy(&mut state)), (0, 1));
        state.copied(0, TEN);
        assert_eq!((copy(&mut state), state.next()), (2, Next::Wait));
        state.copied(1, TEN);
        assert_eq!(state.next(), Next::Wait, "one still runs");
        state.copied(2, TEN);
        assert_eq!(state.next(), Next::Continue);
        state.set_in_flight(1);
        let carried = serde_json::to_value(state.carried_over()).unwrap();
        let mut next: State = serde_json::from_value(carried).unwrap();
        assert_eq!((copy(&mut next), next.progress().totals.ranges, next.next()), (3, 3, Next::Wait));
    }

    #[test]
    fn a_range_that_fails_for_good_ends_the_run_unless_some_may_fail() {
        for (may_fail, ends) in [(0, true), (1, false)] {
            let mut state = State::new(Settings { max_failed_ranges: may_fail, ..settings(1, 100) }, None);
            planned(&mut state, 0..3, 3);
            copy(&mut state);
            state.copying_failed(0, "the table is gone");
            match state.next() {
                Next::End(outcome) if ends => {
                    assert!(outcome.error.unwrap().contains("the first is range 0: the table is gone"));
                }
                Next::Copy(range) if !ends => assert_eq!(range.number, 1),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn too_many_rejected_records_end_the_run() {
        let mut state = State::new(Settings { max_rejected: Some(1), ..settings(1, 100) }, None);
        planned(&mut state, 0..5, 5);
        copy(&mut state);
        state.copied(0, TEN);
        copy(&mut state);
        state.copied(1, TEN);
        let Next::End(outcome) = state.next() else { panic!("not at its end") };
        assert_eq!(outcome.error.unwrap(), "2 records were rejected, and 1 may be");
    }

    #[test]
    fn the_carried_state_stays_small_however_many_ranges_there_are() {
        let mut state = State::new(settings(8, 500), None);
        let of = 1_000_000;
        planned(&mut state, 0..PLANNED_AT_ONCE as u64, of);
        while let Next::Copy(range) = state.next() {
            state.copied(range.number, TEN);
        }
        assert!(serde_json::to_vec(&state.carried_over()).unwrap().len() < 4_096);
    }
}
