use serde_json::json;

use super::{AHEAD, Next, PLANNED_AT_ONCE, Plan, Settings, SourceRange, State, Totals};

fn settings(in_flight: usize, ranges_per_run: u64) -> Settings {
    Settings {
        definition: "copy".into(),
        configuration: json!({}),
        rows_per_range: Some(10),
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
    planned(&mut state, 3..5, 5);
    assert_eq!((copy(&mut state), copy(&mut state), state.next()), (0, 1, Next::Wait));
    state.copied(0, TEN, None);
    assert_eq!(copy(&mut state), 2);
    state.copied(1, TEN, None);
    assert_eq!(copy(&mut state), 3);
    state.copied(3, TEN, None);
    state.copied(2, TEN, None);
    assert_eq!(copy(&mut state), 4);
    state.copied(4, TEN, None);
    let Next::End(outcome) = state.next() else { panic!("not at its end") };
    assert_eq!(outcome.totals, Totals { ranges: 5, records: 50, written: 45, filtered: 0, rejected: 5 });
    assert_eq!((outcome.error, outcome.copied_up_to.unwrap().number), (None, 4));
}

#[test]
fn the_next_ranges_are_planned_while_the_last_ones_are_copied_and_a_plan_comes_before_copies() {
    let mut state = State::new(settings(1, 1_000), None);
    let few = AHEAD as u64;
    planned(&mut state, 0..few, 500);
    assert!(matches!(state.next(), Next::Plan(plan) if plan.at_most == PLANNED_AT_ONCE));
    assert_eq!((copy(&mut state), state.next()), (0, Next::Wait), "nothing more is planned meanwhile");
    state.planned(json!("data"), (few..few + 200).map(|number| range(number, 500)).collect());
    for number in 0..199 {
        state.copied(number, TEN, None);
        assert_eq!(copy(&mut state), number + 1);
    }
    state.copied(199, TEN, None);
    assert!(matches!(state.next(), Next::Plan(Plan { after: Some(range), .. }) if range.number == few + 199));
}

#[test]
fn a_range_that_is_reported_twice_counts_once() {
    let mut state = State::new(settings(1, 100), None);
    planned(&mut state, 0..2, 2);
    copy(&mut state);
    state.copied(0, TEN, None);
    state.copied(0, TEN, None);
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
    state.copied(1, TEN, None);
    state.copied(0, TEN, None);
    let Next::End(outcome) = state.next() else { panic!("not at its end") };
    let behind = outcome.copied_up_to.unwrap();
    assert_eq!((outcome.stopped, behind.number, &behind.to, behind.behind), (true, 1, &Some(json!(2)), 3));
    let mut again = State::new(settings(2, 100), Some(behind.clone()));
    let plan = Plan { after: Some(behind), rows_per_range: Some(10), at_most: PLANNED_AT_ONCE };
    assert_eq!(again.next(), Next::Plan(plan));
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
    state.copied(0, TEN, None);
    assert_eq!((copy(&mut state), state.next()), (2, Next::Wait));
    state.copied(1, TEN, None);
    assert_eq!(state.next(), Next::Wait, "one still runs");
    state.copied(2, TEN, None);
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
    state.copied(0, TEN, None);
    copy(&mut state);
    state.copied(1, TEN, None);
    let Next::End(outcome) = state.next() else { panic!("not at its end") };
    assert_eq!(outcome.error.unwrap(), "2 records were rejected, and 1 may be");
}

#[test]
fn the_carried_state_stays_small_however_many_ranges_there_are() {
    let mut state = State::new(settings(8, 500), None);
    let of = 1_000_000;
    planned(&mut state, 0..PLANNED_AT_ONCE as u64, of);
    while let Next::Copy(range) = state.next() {
        state.copied(range.number, TEN, None);
    }
    assert!(serde_json::to_vec(&state.carried_over()).unwrap().len() < 4_096);
}

/// A run that finds the size of its ranges by itself.
fn measuring(in_flight: usize) -> State {
    State::new(Settings { rows_per_range: None, ..settings(in_flight, 100) }, None)
}

#[test]
fn a_run_that_measures_plans_few_ranges_and_sizes_the_next_by_what_they_took() {
    let mut state = measuring(2);
    assert_eq!(state.next(), Next::Plan(Plan { after: None, rows_per_range: None, at_most: 2 }));
    state.planned(json!("data"), vec![range(0, 1_000), range(1, 1_000)]);
    assert_eq!((copy(&mut state), copy(&mut state), state.next()), (0, 1, Next::Wait));
    state.copied(0, TEN, Some(500));
    let Next::Plan(plan) = state.next() else { panic!("no plan") };
    let after = plan.after.unwrap();
    // Ten rows took half a second, so 100 take five.
    assert_eq!((after.number, after.behind, after.identity, plan.at_most), (1, 100, json!("data"), 2));
}

#[test]
fn a_range_that_was_begun_twice_is_no_measurement_and_nothing_waits_for_one_when_nothing_runs() {
    let mut state = measuring(1);
    assert!(matches!(state.next(), Next::Plan(_)));
    state.planned(json!("data"), vec![range(0, 1_000)]);
    copy(&mut state);
    assert_eq!(state.next(), Next::Wait);
    state.copied(0, TEN, None);
    let Next::Plan(plan) = state.next() else { panic!("no plan") };
    assert_eq!((plan.after.unwrap().behind, plan.at_most), (999, 1));
}

#[test]
fn what_was_measured_is_carried_over() {
    let mut state = measuring(1);
    assert!(matches!(state.next(), Next::Plan(_)));
    state.planned(json!("data"), vec![range(0, 1_000)]);
    copy(&mut state);
    state.end_this_run();
    state.copied(0, TEN, Some(500));
    assert_eq!(state.next(), Next::Continue);
    let carried = serde_json::to_value(state.carried_over()).unwrap();
    let mut next: State = serde_json::from_value(carried).unwrap();
    let Next::Plan(plan) = next.next() else { panic!("no plan") };
    assert_eq!(plan.after.unwrap().behind, 100);
    assert_eq!(next.cuts().unwrap(), next.range_size.cuts());
}
