//! Full, or the first job has waited long enough.

use std::time::Duration;

use tokio::time::Instant;

use super::{Arrival, Decision, FlushPolicy, OpenBatch};
use crate::batch::Trigger;

/// Sends the batch when it holds `size` jobs, or when its first job has waited for `interval`. The default.
///
/// Later jobs never push the interval back, so no job waits longer than it for its batch to leave.
///
/// ```
/// use std::time::Duration;
///
/// use actix_batch::flush::SizeOrInterval;
///
/// let policy = SizeOrInterval::new(100, Some(Duration::from_millis(5)));
/// assert_eq!(policy.size(), 100);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SizeOrInterval {
    size: usize,
    interval: Option<Duration>,
}

impl SizeOrInterval {
    /// `size` in jobs; without an interval only size flushes (and `Flush`, a full collector and a shutdown) send a batch.
    pub fn new(size: usize, interval: Option<Duration>) -> Self {
        Self { size, interval }
    }

    /// The size that sends a batch.
    pub fn size(&self) -> usize {
        self.size
    }

    /// How long a batch's first job waits at most.
    pub fn interval(&self) -> Option<Duration> {
        self.interval
    }
}

impl FlushPolicy for SizeOrInterval {
    fn on_job(&mut self, open: &OpenBatch, _: &Arrival) -> Decision {
        if open.jobs + 1 >= self.size { Decision::AddAndSend(Trigger::Size) } else { Decision::Add }
    }

    fn due(&self, open: &OpenBatch) -> Option<Instant> {
        open.opened_at?.checked_add(self.interval?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(jobs: usize, opened_at: Option<Instant>) -> OpenBatch {
        OpenBatch { jobs, opened_at, ..OpenBatch::default() }
    }

    #[test]
    fn the_job_that_fills_the_batch_sends_it() {
        let mut policy = SizeOrInterval::new(3, None);
        let decisions: Vec<_> = (0..3).map(|jobs| policy.on_job(&open(jobs, None), &Arrival::default())).collect();
        assert_eq!(decisions, [Decision::Add, Decision::Add, Decision::AddAndSend(Trigger::Size)]);
    }

    #[test]
    fn the_interval_counts_from_the_first_job_however_many_follow() {
        let policy = SizeOrInterval::new(10, Some(Duration::from_millis(5)));
        let first = Instant::now();
        assert_eq!(policy.due(&open(1, Some(first))), Some(first + Duration::from_millis(5)));
        assert_eq!(policy.due(&open(9, Some(first))), policy.due(&open(1, Some(first))));
    }

    #[test]
    fn an_empty_batch_and_a_policy_without_an_interval_are_never_due() {
        assert_eq!(SizeOrInterval::new(10, Some(Duration::from_millis(5))).due(&open(0, None)), None);
        assert_eq!(SizeOrInterval::new(10, None).due(&open(1, Some(Instant::now()))), None);
    }
}
