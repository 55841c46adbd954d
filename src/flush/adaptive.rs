//! A size and an interval that follow a target latency.

use std::{ops::RangeInclusive, time::Duration};

use tokio::time::Instant;

use super::{Arrival, Decision, FlushPolicy, OpenBatch, Timing};
use crate::batch::Trigger;

/// Sends the batch at a size, or after an interval, that grow and shrink between bounds so that a job is answered within a
/// target latency, with batches as large as that allows.
///
/// After each answer, where `took` is the time that the worker needed:
///
/// - **The size** follows additive increase, multiplicative decrease: a full batch that took no longer than the target adds
///   1/32 of the largest size (at least 1); a batch that took longer takes away a tenth (at least 1). A batch that waited for
///   longer than the interval counts as full, whatever the size has become since it was cut: there is more to do than
///   batches of its size get done. One larger than the present size was cut before the last decrease, and says nothing.
/// - **The interval** is what the work leaves of the target: `target − mean`, where `mean` moves by an eighth of the difference
///   with each answer: `mean += (took − mean) / 8`.
///
/// Both stay between their bounds. They begin with the smallest size and the longest interval. Batches that fail as a whole
/// change nothing. Waiting for a busy worker never makes the size smaller: where the downstream cannot keep up, smaller batches
/// would only make it slower.
///
/// Sources: for the size, Crankshaw et al., *Clipper: A Low-Latency Online Prediction Serving System*, NSDI 2017, section 4.3
/// (increase by a constant, back off by 10 %), after Chiu and Jain, *Analysis of the Increase and Decrease Algorithms for
/// Congestion Avoidance in Computer Networks*, 1989; for the mean, the smoothed round-trip time of RFC 6298 (α = 1/8).
///
/// ```
/// use std::time::Duration;
///
/// use actix_batch::flush::{Adaptive, FlushPolicy, Timing};
///
/// let ms = Duration::from_millis;
/// let mut policy = Adaptive::new(ms(20), 10..=320, ms(1)..=ms(15));
/// assert_eq!((policy.size(), policy.interval()), (10, ms(15)));
///
/// let mut timing = Timing::default();
/// (timing.jobs, timing.took) = (10, ms(12)); // a full batch, well within the target
/// policy.on_done(&timing);
/// assert_eq!((policy.size(), policy.interval()), (20, ms(8)));
///
/// (timing.jobs, timing.took) = (20, ms(28)); // too slow
/// policy.on_done(&timing);
/// assert_eq!((policy.size(), policy.interval()), (18, ms(6)));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adaptive {
    target: Duration,
    sizes: RangeInclusive<usize>,
    intervals: RangeInclusive<Duration>,
    size: usize,
    /// How long batches took, lately.
    mean: Option<Duration>,
}

impl Adaptive {
    /// So many full batches lead from nothing to the largest size.
    const STEPS: usize = 32;
    /// The part of the size that a slow batch takes away.
    const BACK_OFF: usize = 10;
    /// The part of the difference by which the mean moves.
    const SMOOTHING: u32 = 8;

    /// A job is to be answered within `target`, by batches of `sizes` jobs whose first job waits for `intervals`.
    ///
    /// Where a bound's end is before its start, the end counts.
    pub fn new(target: Duration, sizes: RangeInclusive<usize>, intervals: RangeInclusive<Duration>) -> Self {
        let size = within(0, &sizes);
        Self { target, sizes, intervals, size, mean: None }
    }

    /// The present size.
    pub fn size(&self) -> usize {
        self.size
    }

    /// The present interval.
    pub fn interval(&self) -> Duration {
        within(self.target.saturating_sub(self.mean.unwrap_or_default()), &self.intervals)
    }

    fn resize(&mut self, timing: &Timing) {
        if timing.jobs > self.size {
            return;
        }
        let is_full = timing.jobs == self.size || timing.waited > self.interval();
        let size = if timing.took > self.target {
            self.size - (self.size / Self::BACK_OFF).max(1).min(self.size)
        } else if is_full {
            self.size.saturating_add((self.sizes.end() / Self::STEPS).max(1))
        } else {
            self.size
        };
        self.size = within(size, &self.sizes);
    }

    fn learn(&mut self, took: Duration) {
        self.mean = Some(match self.mean {
            None => took,
            Some(mean) if took > mean => mean.saturating_add(took.saturating_sub(mean) / Self::SMOOTHING),
            Some(mean) => mean.saturating_sub(mean.saturating_sub(took) / Self::SMOOTHING),
        });
    }
}

fn within<T: Ord + Copy>(value: T, bounds: &RangeInclusive<T>) -> T {
    value.max(*bounds.start()).min(*bounds.end())
}

impl FlushPolicy for Adaptive {
    fn on_job(&mut self, open: &OpenBatch, _: &Arrival) -> Decision {
        if open.jobs + 1 >= self.size { Decision::AddAndSend(Trigger::Size) } else { Decision::Add }
    }

    fn due(&self, open: &OpenBatch) -> Option<Instant> {
        open.opened_at?.checked_add(self.interval())
    }

    fn on_done(&mut self, timing: &Timing) {
        self.resize(timing);
        self.learn(timing.took);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn policy() -> Adaptive {
        Adaptive::new(ms(20), 1..=100, ms(1)..=ms(15))
    }

    fn done(policy: &mut Adaptive, jobs: usize, took: Duration) {
        policy.on_done(&Timing { jobs, took, ..Timing::default() });
    }

    #[test]
    fn full_batches_within_the_target_grow_the_size_to_its_bound() {
        let mut policy = policy();
        let mut sizes = Vec::new();
        for _ in 0..40 {
            let full = policy.size();
            done(&mut policy, full, ms(20));
            sizes.push(policy.size());
        }
        assert_eq!(&sizes[..3], [4, 7, 10]);
        assert!(sizes.is_sorted() && sizes.ends_with(&[100, 100]));
    }

    #[test]
    fn slow_batches_shrink_the_size_by_a_tenth_to_its_bound() {
        let mut policy = policy();
        policy.size = 100;
        done(&mut policy, 40, ms(21));
        assert_eq!(policy.size(), 90);
        done(&mut policy, 100, ms(21)); // cut before the decrease
        assert_eq!(policy.size(), 90);
        for _ in 0..100 {
            done(&mut policy, 1, ms(21));
        }
        assert_eq!(policy.size(), 1);
    }

    #[test]
    fn a_batch_that_is_not_full_and_in_time_leaves_the_size_alone() {
        let mut policy = policy();
        policy.size = 50;
        done(&mut policy, 49, ms(1));
        assert_eq!(policy.size(), 50);
    }

    #[test]
    fn batches_that_were_cut_small_and_had_to_wait_for_a_worker_grow_the_size_too() {
        let mut policy = policy();
        for size in [4, 7, 10] {
            policy.on_done(&Timing { jobs: 1, took: ms(1), waited: ms(200) });
            assert_eq!(policy.size(), size);
        }
        policy.on_done(&Timing { jobs: 1, took: ms(1), waited: ms(2) });
        assert_eq!(policy.size(), 10);
    }

    #[test]
    fn the_interval_is_what_the_work_leaves_of_the_target() {
        let mut policy = policy();
        assert_eq!(policy.interval(), ms(15));
        for (took, interval) in [(12, 8), (12, 8), (20, 7), (5, 8)] {
            done(&mut policy, 1, ms(took));
            assert_eq!(policy.interval(), ms(interval), "after {took} ms");
        }
        for _ in 0..100 {
            done(&mut policy, 1, ms(500));
        }
        assert_eq!(policy.interval(), ms(1));
    }

    #[test]
    fn with_a_downstream_that_costs_by_the_job_the_latency_stays_at_the_target() {
        // 2 ms per batch and 500 µs per job: 36 jobs take 20 ms.
        let mut policy = policy();
        for round in 0..1_000 {
            let jobs = policy.size();
            let took = ms(2) + Duration::from_micros(500) * u32::try_from(jobs).unwrap();
            done(&mut policy, jobs, took);
            if round > 20 {
                assert!((30..=40).contains(&policy.size()), "round {round}: {}", policy.size());
            }
        }
    }

    #[test]
    fn nonsense_is_no_panic() {
        #[expect(clippy::reversed_empty_ranges)]
        let mut policy = Adaptive::new(Duration::MAX, 9..=0, ms(9)..=ms(1));
        done(&mut policy, 0, Duration::MAX);
        done(&mut policy, usize::MAX, Duration::ZERO);
        assert_eq!((policy.size(), policy.interval()), (0, ms(1)));
        let open = OpenBatch { opened_at: Some(Instant::now()), ..OpenBatch::default() };
        assert_eq!(policy.on_job(&open, &Arrival::default()), Decision::AddAndSend(Trigger::Size));
        assert!(Adaptive::new(Duration::MAX, 0..=usize::MAX, Duration::MAX..=Duration::MAX).due(&open).is_none());
    }
}
