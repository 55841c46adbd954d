//! Not more than so much per second.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::{bell::Bell, error::ConfigError};

/// Limits jobs or batches per second. Clones share one limit, so several collectors can keep to one quota together.
///
/// The rule is the *leaky bucket as a meter* (ITU-T I.371, where it is also called the generic cell rate algorithm): what leaves
/// fills a bucket that leaks at the rate; a batch may leave while the bucket holds no more than the burst. A batch is never split
/// for it: one that is larger than the burst leaves, and the next one waits the longer. Timers tick in milliseconds and come late
/// on a busy machine; what was held back and leaves a few milliseconds after it might have is accounted as if it had left on time.
///
/// ```
/// use actix_batch::RateLimit;
///
/// let quota = RateLimit::jobs_per_second(500.0).burst(100.0);
/// let shared = quota.clone();
/// shared.set_per_second(200.0).unwrap(); // also while collectors run
/// assert_eq!(quota.per_second(), 200.0);
/// ```
#[derive(Debug, Clone)]
pub struct RateLimit {
    bucket: Arc<Mutex<Bucket>>,
    unit: Unit,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Jobs,
    Batches,
}

#[derive(Debug)]
struct Bucket {
    per_second: f64,
    burst: f64,
    /// A burst that was asked for and cannot be: a collector with this limit is refused at its start.
    refused_burst: Option<f64>,
    /// What it held at the time.
    level: f64,
    at: Option<Instant>,
    /// When a batch that was held back may try again.
    promised: Option<Instant>,
    /// The collectors that wait for it.
    bells: Vec<Weak<Bell>>,
}

impl RateLimit {
    /// How late a batch that was held back may try again without losing its share.
    pub(super) const LATE: Duration = Duration::from_millis(10);

    /// So many jobs per second, evenly spaced: a batch of 50 at 500 per second keeps the next one back for 100 ms.
    pub fn jobs_per_second(jobs: f64) -> Self {
        Self::new(jobs, Unit::Jobs)
    }

    /// So many batches per second, evenly spaced.
    pub fn batches_per_second(batches: f64) -> Self {
        Self::new(batches, Unit::Batches)
    }

    fn new(per_second: f64, unit: Unit) -> Self {
        let bucket = Bucket {
            per_second,
            burst: 0.0,
            refused_burst: None,
            level: 0.0,
            at: None,
            promised: None,
            bells: Vec::new(),
        };
        Self { bucket: Arc::new(Mutex::new(bucket)), unit }
    }

    /// Lets so many jobs (or batches) leave at once after a quiet time, ahead of the rate. Default: 0, evenly spaced.
    ///
    /// This changes the clones too, also of running collectors. A burst that is negative or not finite changes nothing for them;
    /// a collector that starts with it is refused.
    pub fn burst(self, ahead: f64) -> Self {
        let mut bucket = self.bucket.lock();
        if ahead >= 0.0 && ahead.is_finite() {
            (bucket.burst, bucket.refused_burst) = (ahead, None);
        } else {
            bucket.refused_burst = Some(ahead);
        }
        drop(bucket);
        self
    }

    /// The present rate.
    pub fn per_second(&self) -> f64 {
        self.bucket.lock().per_second
    }

    /// Changes the rate, for every collector that shares this limit. What has left already stays accounted for.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] for a rate that is not a positive, finite number; the rate stays as it was.
    pub fn set_per_second(&self, per_second: f64) -> Result<(), ConfigError> {
        positive("rate_limit.per_second", per_second)?;
        let mut bucket = self.bucket.lock();
        bucket.leak(Instant::now());
        bucket.per_second = per_second;
        let bells = bucket.bells.clone();
        drop(bucket);
        bells.iter().filter_map(Weak::upgrade).for_each(|bell| bell.ring());
        Ok(())
    }

    /// This collector is told when the rate changes.
    pub(crate) fn subscribe(&self, bell: &Arc<Bell>) {
        let mut bucket = self.bucket.lock();
        bucket.bells.retain(|bell| bell.strong_count() > 0);
        bucket.bells.push(Arc::downgrade(bell));
    }

    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        let bucket = self.bucket.lock();
        positive("rate_limit.per_second", bucket.per_second)?;
        let refused = bucket.refused_burst.map(|burst| ConfigError::new("rate_limit.burst", burst, "0 or more"));
        refused.map_or(Ok(()), Err)
    }

    /// Takes the room for a batch, or says when there will be some.
    #[allow(clippy::cast_precision_loss, reason = "a batch has at most 2³² jobs")]
    pub(super) fn take(&self, jobs: usize, now: Instant) -> Result<(), Instant> {
        let mut bucket = self.bucket.lock();
        if let Err(later) = bucket.look(now) {
            bucket.promised = Some(later);
            return Err(later);
        }
        bucket.promised = None;
        bucket.level += if self.unit == Unit::Jobs { jobs as f64 } else { 1.0 };
        Ok(())
    }

    /// Whether there is room for a batch, or when.
    pub(super) fn look(&self, now: Instant) -> Result<(), Instant> {
        self.bucket.lock().look(now)
    }
}

impl Bucket {
    /// Less than this is rounding.
    const SPILL: f64 = 1e-6;
    /// For this process.
    const NEVER: Duration = Duration::from_secs(24 * 60 * 60);

    fn look(&mut self, now: Instant) -> Result<(), Instant> {
        self.leak(now);
        let over = self.level - self.burst;
        if over > Self::SPILL {
            return Err(now.checked_add(self.time(over)).unwrap_or(now + Self::NEVER));
        }
        Ok(())
    }

    /// Collectors that share it may be a little behind each other: no time counts twice.
    fn leak(&mut self, now: Instant) {
        let at = self.at.map_or(now, |at| at.max(now));
        let since = self.at.replace(at).map_or(Duration::ZERO, |before| at - before);
        if !since.is_zero() {
            let late = self.promised.map_or(Duration::ZERO, |promised| at.saturating_duration_since(promised));
            let [leaked, credit] = [since, late.min(RateLimit::LATE)].map(|time| time.as_secs_f64() * self.per_second);
            self.level = (self.level - leaked).max(-credit);
        }
    }

    /// How long so much takes to leak, rounded up to a microsecond.
    fn time(&self, level: f64) -> Duration {
        let micros = (level / self.per_second * 1e6).ceil() / 1e6;
        Duration::try_from_secs_f64(micros).unwrap_or(Self::NEVER).min(Self::NEVER)
    }
}

fn positive(key: &str, number: f64) -> Result<(), ConfigError> {
    if number > 0.0 && number.is_finite() {
        return Ok(());
    }
    Err(ConfigError::new(key, number, "a positive number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// When each of so many batches leaves, in ms, if all wait from the start.
    fn departures(limit: &RateLimit, jobs: usize, batches: usize) -> Vec<u128> {
        let start = Instant::now();
        let mut now = start;
        (0..batches)
            .map(|_| {
                while let Err(later) = limit.take(jobs, now) {
                    now = later;
                }
                (now - start).as_millis()
            })
            .collect()
    }

    #[test]
    fn batches_are_evenly_spaced() {
        assert_eq!(departures(&RateLimit::batches_per_second(10.0), 7, 4), [0, 100, 200, 300]);
    }

    #[test]
    fn a_batch_takes_as_much_of_the_schedule_as_it_has_jobs() {
        assert_eq!(departures(&RateLimit::jobs_per_second(500.0), 50, 4), [0, 100, 200, 300]);
    }

    #[test]
    fn a_burst_leaves_ahead_of_the_schedule_and_a_larger_batch_still_leaves() {
        assert_eq!(departures(&RateLimit::batches_per_second(10.0).burst(2.0), 1, 5), [0, 0, 0, 100, 200]);
        assert_eq!(departures(&RateLimit::jobs_per_second(100.0).burst(10.0), 100, 3), [0, 900, 1900]);
    }

    #[test]
    fn a_running_limit_keeps_its_burst_when_a_clone_asks_for_one_that_cannot_be() {
        for wrong in [-5.0, f64::NAN, f64::INFINITY] {
            let limit = RateLimit::batches_per_second(10.0).burst(2.0);
            let clone = limit.clone().burst(wrong);
            assert!(clone.validate().unwrap_err().to_string().contains("rate_limit.burst"));
            assert_eq!(departures(&limit, 1, 4), [0, 0, 0, 100]);
            assert!(clone.burst(1.0).validate().is_ok());
        }
    }

    /// How many batches leave within a second, if each look comes so late.
    fn within_a_second(per_second: f64, late: Duration) -> u32 {
        let (limit, start) = (RateLimit::batches_per_second(per_second), Instant::now());
        let (mut now, mut left) = (start, 0);
        while now < start + MS * 1000 {
            match limit.take(1, now) {
                Ok(()) => left += 1,
                Err(later) => now = later + late,
            }
        }
        left
    }

    #[test]
    fn timers_that_come_late_cost_nothing_of_the_rate() {
        for per_second in [100.0, 500.0, 5_000.0] {
            for late in [MS, MS * 3, MS * 9] {
                let left = within_a_second(per_second, late);
                assert!(
                    (per_second * 0.98..=per_second * 1.02).contains(&f64::from(left)),
                    "{left} at {per_second}, {late:?}"
                );
            }
        }
    }

    #[test]
    fn a_quiet_time_is_no_credit() {
        let (limit, start) = (RateLimit::batches_per_second(100.0), Instant::now());
        assert_eq!(limit.take(1, start), Ok(()));
        assert_eq!(limit.take(1, start + MS * 5_000), Ok(()));
        assert_eq!(limit.take(1, start + MS * 5_000), Err(start + MS * 5_010));
        // Nor is being held back for something else meanwhile, beyond a moment.
        assert_eq!(limit.take(1, start + MS * 9_000), Ok(()));
        assert_eq!(limit.take(1, start + MS * 9_000), Ok(()));
        assert!(limit.take(1, start + MS * 9_000).is_err());
    }

    #[test]
    fn clones_share_one_bucket_and_the_rate_changes_for_all() {
        let (one, now) = (RateLimit::batches_per_second(10.0), Instant::now());
        let other = one.clone();
        assert_eq!(one.take(1, now), Ok(()));
        assert_eq!(other.take(1, now), Err(now + MS * 100));
        other.set_per_second(1000.0).unwrap();
        assert_eq!(one.take(1, now + MS * 100), Ok(()));
        assert_eq!(one.take(1, now + MS * 101), Ok(()));
    }

    #[test]
    fn a_clone_whose_time_is_behind_lets_no_time_count_twice() {
        let (one, start) = (RateLimit::batches_per_second(10.0), Instant::now());
        let other = one.clone();
        assert_eq!(one.take(1, start + MS * 100), Ok(()));
        assert!(other.take(1, start).is_err());
        assert!(one.take(1, start + MS * 199).is_err());
        assert_eq!(one.take(1, start + MS * 200), Ok(()));
    }

    #[test]
    fn rates_that_cannot_be_are_refused() {
        for rate in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(RateLimit::jobs_per_second(rate).validate().is_err());
            assert!(RateLimit::jobs_per_second(1.0).set_per_second(rate).is_err());
        }
        assert!(RateLimit::jobs_per_second(1.0).burst(-1.0).validate().is_err());
    }
}
