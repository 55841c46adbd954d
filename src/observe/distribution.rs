//! A histogram in constant memory.

use std::{fmt, time::Duration};

use hdrhistogram::Histogram;

/// How values were distributed: a histogram that keeps two significant digits (an error of at most 1 %).
#[derive(Clone, PartialEq)]
pub struct Distribution(Histogram<u64>);

impl Distribution {
    /// The largest value that is told apart: about 71 minutes in microseconds, or as many jobs. Larger ones count as it.
    const LARGEST: u64 = 1 << 32;

    pub(super) fn new() -> Self {
        Self(Histogram::new_with_bounds(1, Self::LARGEST, 2).expect("constant bounds, known to be valid"))
    }

    pub(super) fn record(&mut self, value: u64) {
        self.0.saturating_record(value);
    }

    pub(super) fn record_time(&mut self, time: Duration) {
        self.record(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }

    pub(super) fn since(&self, earlier: &Self) -> Self {
        let mut since = self.clone();
        // Only fails when `earlier` is no earlier snapshot of the same collector; then the difference has no meaning.
        if since.0.subtract(&earlier.0).is_err() {
            return self.clone();
        }
        since
    }

    /// Values recorded.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The value that the given share of all values (0.0 to 1.0) does not exceed; 0 when there are none.
    pub fn quantile(&self, share: f64) -> u64 {
        self.0.value_at_quantile(share)
    }

    /// The largest value; 0 when there are none.
    pub fn max(&self) -> u64 {
        self.0.max()
    }

    /// The mean; 0 when there are none.
    pub fn mean(&self) -> f64 {
        self.0.mean()
    }

    /// Each value that was recorded (as far as values are told apart), and how often, in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.0.iter_recorded().map(|step| (step.value_iterated_to(), step.count_at_value()))
    }
}

impl fmt::Debug for Distribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Distribution")
            .field("count", &self.count())
            .field("p50", &self.quantile(0.5))
            .field("p99", &self.quantile(0.99))
            .field("max", &self.max())
            .finish()
    }
}
