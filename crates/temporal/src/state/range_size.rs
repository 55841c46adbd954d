//! How many rows a range has when the user has not said: so many that copying them takes about five seconds.
//!
//! What holds here:
//! - The first ranges have [a hundredth of the source](first_rows). What they took decides the size of the next ones, and so on until a size fits; until then only
//!   as many ranges are planned as are copied at once.
//! - A size that fits is kept until ranges take less than half as long as they should, or more than twice as long.
//! - Only the results of activities decide, so a replay decides the same.
//! - Decisions are kept: a range has a checkpoint by its number, so another run of the same name must cut the same ranges.

use serde::{Deserialize, Serialize};

use super::PLANNED_AT_ONCE;

/// The first ranges have at least so many rows. A large source gets larger ones: some sources take a query for each range to be cut.
const FEWEST_FIRST: u64 = 200;
/// The first ranges have at most so many rows: it is not known yet what a row costs.
pub(crate) const MOST_FIRST: u64 = 20_000;
/// A range never has more.
const MOST_ROWS: u64 = 1_000_000;
/// The next ranges have at most so many times the rows of those that were measured.
const MOST_GROWTH: u64 = 16;
/// How long a range should take, in milliseconds: a worker that is told to end can finish it, and what it costs beside its rows is little.
const LONGEST: u64 = 5_000;
/// When little is left, ranges are shorter, so that all that may run have something to do; but not shorter than this.
const SHORTEST: u64 = 500;
/// Ranges that each of those in flight should still get.
const RANGES_EACH: u64 = 2;

/// The size of the ranges.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RangeSize {
    cuts: Cuts,
    /// The first range of this size.
    since: u64,
    measured: Measured,
    fits: bool,
}

/// Ranges of one size that were each copied in one go.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Measured {
    ranges: u64,
    rows: u64,
    milliseconds: u64,
}

/// What is planned at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cut {
    /// Into how many ranges the rest of the source is cut.
    pub(crate) rest: u64,
    /// How many of them are planned now.
    pub(crate) at_most: usize,
}

/// How a source was cut, from its beginning to the last plan.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Cuts {
    /// The plans that did not go on with the size before them: the number of the first range, into how many ranges the rest was cut, and how
    /// many of them were planned.
    changes: Vec<(u64, u64, usize)>,
    /// The number of the first range of the last plan.
    last: Option<u64>,
}

/// Rows of the first ranges of a source that has about so many.
pub(crate) fn first_rows(all: u64) -> u64 {
    (all / 100).clamp(FEWEST_FIRST, MOST_FIRST)
}

impl RangeSize {
    /// As an earlier run was cut.
    pub(crate) fn as_before(cuts: Cuts) -> Self {
        Self { cuts, ..Self::default() }
    }

    pub(crate) fn cuts(&self) -> &Cuts {
        &self.cuts
    }

    /// The plan of the ranges from this number on, of which there would be so many if they had the size of those before them. `None` if what
    /// runs has to be measured first.
    pub(crate) fn plan(&mut self, first: u64, rest: u64, in_flight: usize, is_idle: bool) -> Option<Cut> {
        if let Some(cut) = self.cuts.at(first, rest) {
            self.since = first;
            return Some(cut);
        }
        let enough = in_flight.min(PLANNED_AT_ONCE).div_ceil(2) as u64;
        if !self.fits && self.measured.ranges < enough && !is_idle {
            return None;
        }
        let measured = std::mem::take(&mut self.measured);
        let fitting = measured.fitting(rest, in_flight);
        if let Some(fitting) = fitting {
            self.fits = fitting < 2 * rest && rest < 2 * fitting;
        }
        let rest = fitting.filter(|_| !self.fits).inspect(|_| self.since = first).unwrap_or(rest);
        let at_most = if self.fits { PLANNED_AT_ONCE } else { in_flight.min(PLANNED_AT_ONCE) };
        let cut = Cut { rest, at_most };
        self.cuts.keep(first, cut, self.fits);
        Some(cut)
    }

    /// A range was copied in one go.
    pub(crate) fn copied(&mut self, number: u64, rows: u64, milliseconds: u64) {
        if number >= self.since && rows > 0 {
            self.measured.ranges += 1;
            self.measured.rows += rows;
            self.measured.milliseconds += milliseconds;
        }
    }
}

impl Cuts {
    fn at(&self, first: u64, rest: u64) -> Option<Cut> {
        let change = self.changes.iter().find(|change| change.0 == first);
        match change {
            Some(&(_, rest, at_most)) => Some(Cut { rest, at_most }),
            None => self.last.is_some_and(|last| first <= last).then_some(Cut { rest, at_most: PLANNED_AT_ONCE }),
        }
    }

    fn keep(&mut self, first: u64, cut: Cut, goes_on: bool) {
        self.last = Some(first);
        if !goes_on {
            self.changes.push((first, cut.rest, cut.at_most));
        }
    }
}

impl Measured {
    /// Into how many ranges the rest should be cut, of which there would be so many of the measured size.
    fn fitting(self, rest: u64, in_flight: usize) -> Option<u64> {
        let milliseconds = self.milliseconds.checked_div(self.ranges)?.max(1);
        let rows = self.rows.checked_div(self.ranges)?.max(1);
        let share = rest.saturating_mul(milliseconds) / (RANGES_EACH * in_flight.max(1) as u64);
        let target = share.clamp(SHORTEST, LONGEST);
        let most = MOST_ROWS.min(rows.saturating_mul(MOST_GROWTH));
        let fitting = (rows.saturating_mul(target) / milliseconds).clamp(1, most);
        Some(rest.saturating_mul(rows).div_ceil(fitting).max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::{Cut, Cuts, MOST_ROWS, Measured, PLANNED_AT_ONCE, RangeSize, first_rows};

    /// So many ranges of so many rows and milliseconds.
    fn measured(ranges: u64, rows: u64, milliseconds: u64) -> Measured {
        Measured { ranges, rows: ranges * rows, milliseconds: ranges * milliseconds }
    }

    #[test]
    fn a_range_is_cut_so_that_it_takes_about_five_seconds() {
        // 1,000 rows a second.
        assert_eq!(measured(1, 1_000, 1_000).fitting(1_000, 4), Some(200));
        // One row a second.
        assert_eq!(measured(3, 200, 200_000).fitting(1_000, 4), Some(40_000));
    }

    #[test]
    fn ranges_are_shorter_when_little_is_left_but_take_half_a_second() {
        // 40 s are left for four at once: two ranges of 5 s for each.
        assert_eq!(measured(1, 1_000, 1_000).fitting(40, 4), Some(8));
        assert_eq!(measured(1, 1_000, 1_000).fitting(16, 4), Some(8));
        assert_eq!(measured(1, 1_000, 1_000).fitting(2, 4), Some(4));
    }

    #[test]
    fn ranges_neither_grow_at_once_nor_without_end_nor_become_nothing() {
        assert_eq!(measured(1, 200, 1).fitting(160_000, 1), Some(10_000), "16 times the rows");
        assert_eq!(measured(1, MOST_ROWS, 10).fitting(1_000_000, 1), Some(1_000_000), "the most rows");
        assert_eq!(measured(1, 2, 1_000_000).fitting(50, 1), Some(100), "one row");
        assert_eq!(measured(1, 1, 0).fitting(16, 1), Some(1));
        assert_eq!(Measured::default().fitting(7, 1), None);
        assert!(measured(1, u64::MAX / 2, 1).fitting(u64::MAX, 1).is_some());
    }

    /// Copies a source whose rows take so many microseconds, beside 100 ms for each range; returns rows and milliseconds of each plan's ranges.
    fn copy(size: &mut RangeSize, rows: u64, microseconds: u64, in_flight: usize) -> Vec<(u64, u64)> {
        let (mut first, mut begin, mut rest, mut plans) = (0, 0, rows.div_ceil(first_rows(rows)), Vec::new());
        while begin < rows {
            let cut = size.plan(first, rest, in_flight, true).unwrap();
            // The first plan is told the rows of a range, as nothing is known of the source.
            rest = if first == 0 { rest } else { cut.rest };
            let each = (rows - begin).div_ceil(rest);
            let milliseconds = 100 + each * microseconds / 1_000;
            let planned = rest.min(cut.at_most as u64);
            (first..first + planned).for_each(|number| size.copied(number, each, milliseconds));
            plans.push((each, milliseconds));
            (first, begin, rest) = (first + planned, begin + planned * each, rest - planned);
        }
        plans
    }

    #[test]
    fn a_size_that_fits_is_found_in_a_few_steps_whatever_a_row_costs() {
        for microseconds in [3, 100, 5_000, 200_000] {
            let plans = copy(&mut RangeSize::default(), 100_000_000, microseconds, 8);
            assert_eq!(plans[0].0, 20_000);
            let found = plans.iter().position(|plan| (2_500..=10_000).contains(&plan.1)).unwrap();
            assert!(found <= 3, "{microseconds}: {plans:?}");
        }
    }

    #[test]
    fn a_small_source_is_not_cut_into_more_than_its_time_is_worth() {
        assert_eq!((first_rows(0), first_rows(336_776), first_rows(u64::MAX)), (200, 3_367, 20_000));
        let plans = copy(&mut RangeSize::default(), 336_776, 3, 8);
        assert!(plans.len() < 6 && plans.last().unwrap().0 > 10_000, "{plans:?}");
    }

    #[test]
    fn what_fits_is_planned_in_large_parts_and_kept_while_it_fits() {
        let mut size = RangeSize::default();
        assert_eq!(size.plan(0, 0, 4, true), Some(Cut { rest: 0, at_most: 4 }));
        assert_eq!(size.plan(4, 1_000, 4, false), None, "nothing is measured");
        size.copied(0, 200, 4_000);
        assert_eq!(size.plan(4, 1_000, 4, false), None, "one of four");
        size.copied(1, 200, 4_000);
        assert_eq!(size.plan(4, 1_000, 4, false), Some(Cut { rest: 1_000, at_most: PLANNED_AT_ONCE }));
        // It need not be measured again while it fits.
        assert_eq!(size.plan(204, 800, 4, false), Some(Cut { rest: 800, at_most: PLANNED_AT_ONCE }));
        size.copied(204, 200, 20_000);
        assert_eq!(size.plan(404, 600, 4, false), Some(Cut { rest: 2_400, at_most: 4 }), "it takes too long now");
    }

    #[test]
    fn ranges_of_another_size_are_not_measured() {
        let mut size = RangeSize::default();
        size.plan(0, 0, 2, true);
        size.copied(0, 200, 100);
        size.plan(2, 1_600, 2, false);
        size.copied(1, 200, 100);
        assert_eq!(size.plan(4, 98, 2, false), None, "range 1 has the size before");
        size.copied(2, 3_200, 2_600);
        assert_eq!(size.plan(4, 98, 2, false), Some(Cut { rest: 98, at_most: PLANNED_AT_ONCE }));
    }

    #[test]
    fn another_run_of_the_name_cuts_the_same_whatever_its_ranges_take() {
        let mut size = RangeSize::default();
        let plans = copy(&mut size, 100_000_000, 100, 8);
        let carried = serde_json::to_value(size.cuts()).unwrap();
        let mut again = RangeSize::as_before(serde_json::from_value(carried).unwrap());
        let sizes = |plans: &[(u64, u64)]| plans.iter().map(|plan| plan.0).collect::<Vec<_>>();
        assert_eq!(sizes(&copy(&mut again, 100_000_000, 7_000, 3)), sizes(&plans));
        assert_eq!(again.cuts(), size.cuts());
    }

    #[test]
    fn a_run_that_got_half_way_is_cut_the_same_so_far_and_measured_from_there() {
        let mut size = RangeSize::as_before(Cuts { changes: vec![(0, 0, 2), (2, 500, 3)], last: Some(205) });
        assert_eq!(size.plan(0, 0, 8, false), Some(Cut { rest: 0, at_most: 2 }));
        assert_eq!(size.plan(2, 9_000, 8, false), Some(Cut { rest: 500, at_most: 3 }));
        assert_eq!(size.plan(5, 497, 8, false), Some(Cut { rest: 497, at_most: PLANNED_AT_ONCE }));
        assert_eq!(size.plan(205, 297, 8, false), Some(Cut { rest: 297, at_most: PLANNED_AT_ONCE }));
        assert_eq!(size.plan(405, 97, 8, false), None);
    }
}
