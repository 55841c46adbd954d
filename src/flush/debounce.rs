//! Nothing new for a while.

use std::time::Duration;

use tokio::time::Instant;

use super::{Arrival, Decision, FlushPolicy, OpenBatch};
use crate::batch::Trigger;

/// Sends the batch when nothing new has come for `quiet`, but never later than `max_wait` after its first job.
///
/// Each job slides the window, so a burst stays together: a session of a user, the lookups of one page. The job that comes
/// `quiet` after the last one, or later, is the first of the next batch. The largest size is the collector's `max_size`. It
/// reads the clock for each job.
///
/// ```
/// use std::time::Duration;
///
/// use actix_batch::flush::{Debounce, FlushPolicy, OpenBatch};
/// use tokio::time::Instant;
///
/// let start = Instant::now();
/// let at = |ms| start + Duration::from_millis(ms);
///
/// let policy = Debounce::new(Duration::from_millis(5)).max_wait(Duration::from_millis(20));
/// let mut open = OpenBatch::default();
/// (open.jobs, open.opened_at, open.last_at) = (2, Some(at(0)), Some(at(3)));
/// assert_eq!(policy.due(&open), Some(at(8)));
///
/// (open.jobs, open.last_at) = (9, Some(at(18)));
/// assert_eq!(policy.due(&open), Some(at(20)));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Debounce {
    quiet: Duration,
    max_wait: Duration,
}

impl Debounce {
    /// `max_wait` in multiples of `quiet`, unless it is said.
    const PATIENCE: u32 = 10;

    /// Waits for `quiet` after each job, and for 10 × `quiet` after the first.
    pub fn new(quiet: Duration) -> Self {
        Self { quiet, max_wait: quiet.saturating_mul(Self::PATIENCE) }
    }

    /// How long a batch's first job waits at most, however many follow. Default: 10 × `quiet`.
    pub fn max_wait(self, max_wait: Duration) -> Self {
        Self { max_wait, ..self }
    }
}

impl FlushPolicy for Debounce {
    fn on_job(&mut self, open: &OpenBatch, job: &Arrival) -> Decision {
        // The alarm may be late; what belongs to the next batch does not join this one for that.
        match (job.at, self.due(open)) {
            (Some(at), Some(due)) if at >= due => Decision::SendThenAdd(Trigger::Interval),
            _ => Decision::Add,
        }
    }

    fn due(&self, open: &OpenBatch) -> Option<Instant> {
        let opened_at = open.opened_at?;
        let quiet = open.last_at.unwrap_or(opened_at).checked_add(self.quiet);
        [quiet, opened_at.checked_add(self.max_wait)].into_iter().flatten().min()
    }

    fn reads_clock(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Duration = Duration::from_secs(1);

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn open(origin: Instant, first: u64, last: u64) -> OpenBatch {
        let at = |millis| Some(origin + START + ms(millis));
        OpenBatch { jobs: 2, opened_at: at(first), last_at: at(last), ..OpenBatch::default() }
    }

    #[test]
    fn each_job_slides_the_window_up_to_max_wait() {
        let origin = Instant::now();
        let policy = Debounce::new(ms(5));
        for (last, due) in [(0, 5), (4, 9), (44, 49), (45, 50), (46, 50), (50, 50)] {
            assert_eq!(policy.due(&open(origin, 0, last)), Some(origin + START + ms(due)), "last job at {last} ms");
        }
    }

    #[test]
    fn a_job_that_comes_when_the_batch_is_due_is_the_next_ones() {
        let origin = Instant::now();
        let mut policy = Debounce::new(ms(5)).max_wait(ms(8));
        let mut decide = |last, at| {
            let job = Arrival { at: Some(origin + START + ms(at)), ..Arrival::default() };
            policy.on_job(&open(origin, 0, last), &job)
        };
        assert_eq!(decide(2, 6), Decision::Add);
        assert_eq!(decide(2, 7), Decision::SendThenAdd(Trigger::Interval));
        assert_eq!(decide(6, 7), Decision::Add);
        assert_eq!(decide(6, 8), Decision::SendThenAdd(Trigger::Interval));
    }

    #[test]
    fn an_empty_batch_is_never_due_and_an_endless_wait_is_no_panic() {
        assert_eq!(Debounce::new(ms(5)).due(&OpenBatch::default()), None);
        assert_eq!(Debounce::new(Duration::MAX).due(&open(Instant::now(), 0, 0)), None);
    }
}
