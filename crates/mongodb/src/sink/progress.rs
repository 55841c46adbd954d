//! The progress of a pipeline as its document has it, brought forwards. Nothing of it is ever taken back.

use actix_batch_pipeline::{
    Position,
    checkpoint::{Checkpoint, Interval, Intervals, RangeCheckpoint},
};

/// Whether a record is stored already.
pub(super) fn is_held(stored: &Checkpoint, position: Position) -> bool {
    let range = stored.ranges.iter().find(|range| range.range == position.range);
    range.is_some_and(|range| position.record < range.record || range.beyond.contains(position))
}

/// Adds the records of a batch, and what has settled meanwhile.
pub(super) fn forward(stored: &mut Checkpoint, written: &[(u32, Interval)], settled: Option<&Checkpoint>) {
    for range in &mut stored.ranges {
        let own = written.iter().filter(|(number, _)| *number == range.range);
        own.for_each(|(_, interval)| range.beyond.insert(*interval));
        if let Some(moved) = settled.and_then(|settled| same(settled, range)) {
            go_on(range, &moved.clone());
        }
    }
}

/// A checkpoint with what is stored beyond it: the sink may have written more than the run knows.
pub(super) fn merged(stored: Option<&Checkpoint>, new: &Checkpoint) -> Checkpoint {
    let mut all = new.clone();
    for range in &mut all.ranges {
        if let Some(known) = stored.and_then(|stored| same(stored, range)) {
            range.beyond = join(&range.beyond, &known.beyond);
            go_on(range, &known.clone());
        }
    }
    all
}

/// The same piece of the source: another one under the same number counts its records anew.
fn same<'a>(checkpoint: &'a Checkpoint, range: &RangeCheckpoint) -> Option<&'a RangeCheckpoint> {
    let is_same =
        |known: &&RangeCheckpoint| known.range == range.range && known.from == range.from && known.to == range.to;
    checkpoint.ranges.iter().find(is_same)
}

fn join(some: &Intervals, others: &Intervals) -> Intervals {
    some.iter().chain(others.iter()).copied().collect()
}

/// Moves a range to where another state of it is, unless it is there already.
fn go_on(range: &mut RangeCheckpoint, to: &RangeCheckpoint) {
    if to.record > range.record || (to.record == range.record && to.done) {
        (range.record, range.done) = (to.record, to.done);
        range.cursor.clone_from(&to.cursor);
    }
    range.beyond.forget_before(range.record);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn at(record: u64) -> Checkpoint {
        let range = RangeCheckpoint { record, cursor: Some(json!(record)), ..RangeCheckpoint::new(0, None, None) };
        Checkpoint {
            plan: "a".into(),
            identity: Value::Null,
            cursor_version: 1,
            ranges: vec![range],
            sink: Value::Null,
        }
    }

    fn interval(first: u64, last: u64) -> (u32, Interval) {
        (0, Interval { first: (first, 0), last: (last, 0) })
    }

    fn position(record: u64) -> Position {
        Position { record, part: 0, range: 0 }
    }

    #[test]
    fn what_a_batch_has_stored_is_held_before_and_after_the_prefix_has_passed_it() {
        let mut stored = at(5);
        forward(&mut stored, &[interval(10, 19)], None);
        let held: Vec<_> = (0..30).filter(|record| is_held(&stored, position(*record))).collect();
        assert_eq!(held, (0..5).chain(10..20).collect::<Vec<_>>());
        forward(&mut stored, &[interval(5, 9)], Some(&at(20)));
        assert_eq!(stored, at(20));
        assert!(!is_held(&stored, Position { range: 1, ..position(0) }));
    }

    #[test]
    fn progress_never_goes_back() {
        let mut stored = at(20);
        forward(&mut stored, &[], Some(&at(7)));
        assert_eq!(stored, at(20));
        assert_eq!(merged(Some(&at(20)), &at(7)), at(20));
        assert_eq!(merged(Some(&at(7)), &at(20)), at(20));
        let mut beyond = at(7);
        forward(&mut beyond, &[interval(30, 39)], None);
        assert!(is_held(&merged(Some(&beyond), &at(20)), position(35)));
    }

    #[test]
    fn another_piece_of_the_source_under_the_same_number_counts_anew() {
        let mut other = at(3);
        other.ranges[0].to = Some(json!(100));
        assert_eq!(merged(Some(&at(20)), &other), other);
        assert_eq!(merged(None, &at(3)), at(3));
    }
}
