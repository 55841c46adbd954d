//! On a fixed grid of ticks.

use std::time::Duration;

use tokio::time::Instant;

use super::{Arrival, Decision, FlushPolicy, OpenBatch};

/// Sends whatever is there on a fixed grid of ticks, one every `period` since the collector was set up; an empty tick sends
/// nothing.
///
/// A job waits for a period at most, for half of one on average, and batches of several collectors that were set up together
/// leave together. A job that comes exactly with a tick waits for the next one. The largest size is the collector's `max_size`.
///
/// ```
/// use std::time::Duration;
///
/// use actix_batch::flush::{FixedInterval, FlushPolicy, OpenBatch};
/// use tokio::time::Instant;
///
/// let start = Instant::now();
/// let at = |ms| start + Duration::from_millis(ms);
///
/// let mut policy = FixedInterval::new(Duration::from_millis(10));
/// policy.start(start);
///
/// let mut open = OpenBatch::default();
/// (open.jobs, open.opened_at) = (1, Some(at(27)));
/// assert_eq!(policy.due(&open), Some(at(30)));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FixedInterval {
    period: Duration,
    start: Option<Instant>,
}

impl FixedInterval {
    /// A tick every `period`; at 0 each job leaves at once.
    pub fn new(period: Duration) -> Self {
        Self { period, start: None }
    }

    /// From tick to tick.
    pub fn period(&self) -> Duration {
        self.period
    }

    /// How long before `time` the last tick was. A policy that was never started has its first tick when a job comes.
    fn since_tick(&self, time: Instant) -> Duration {
        let since_start = time.saturating_duration_since(self.start.unwrap_or(time));
        nanos(since_start).checked_rem(nanos(self.period)).map_or(self.period, Duration::from_nanos)
    }
}

/// 2⁶⁴ nanoseconds are 584 years.
fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl FlushPolicy for FixedInterval {
    fn on_job(&mut self, _: &OpenBatch, _: &Arrival) -> Decision {
        Decision::Add
    }

    fn due(&self, open: &OpenBatch) -> Option<Instant> {
        let opened_at = open.opened_at?;
        opened_at.checked_add(self.period.saturating_sub(self.since_tick(opened_at)))
    }

    fn start(&mut self, now: Instant) {
        self.start = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(period: Duration, start: Instant, opened_at: Instant) -> Duration {
        let mut policy = FixedInterval::new(period);
        policy.start(start);
        let open = OpenBatch { jobs: 1, opened_at: Some(opened_at), ..OpenBatch::default() };
        policy.due(&open).unwrap() - start
    }

    #[test]
    fn a_batch_leaves_with_the_next_tick_and_with_a_tick_waits_for_the_one_after() {
        let (start, period) = (Instant::now(), Duration::from_millis(10));
        let just_before = Duration::from_nanos(9_999_999);
        for (opened, leaves) in
            [(0, 10), (1, 10), (9, 10), (10, 20), (11, 20), (29, 30), (30, 40), (86_400_001, 86_400_010)]
        {
            let opened_at = start + Duration::from_millis(opened);
            assert_eq!(due(period, start, opened_at), Duration::from_millis(leaves), "opened at {opened} ms");
        }
        assert_eq!(due(period, start, start + just_before), period);
    }

    #[test]
    fn no_period_and_an_endless_one_are_no_panic() {
        let start = Instant::now();
        assert_eq!(due(Duration::ZERO, start, start + Duration::from_millis(3)), Duration::from_millis(3));
        let endless = FixedInterval::new(Duration::MAX);
        assert_eq!(endless.due(&OpenBatch { jobs: 1, opened_at: Some(start), ..OpenBatch::default() }), None);
        assert_eq!(endless.due(&OpenBatch::default()), None);
    }

    #[test]
    fn size_is_not_its_business() {
        let open = OpenBatch { jobs: usize::MAX, ..OpenBatch::default() };
        assert_eq!(FixedInterval::new(Duration::ZERO).on_job(&open, &Arrival::default()), Decision::Add);
    }
}
