//! Whether what failed is tried again, and when.

use std::{fmt, sync::Arc, time::Duration};

use backon::{BackoffBuilder, ExponentialBuilder};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::{
    error::{ConfigError, JobError},
    panics::{catch, discard},
};

/// Tries failed jobs again: only those that failed, as a batch of their own, at the front of the ready queue.
///
/// A delay holds no worker. A job that is tried again reaches the downstream more than once.
///
/// ```
/// use std::time::Duration;
///
/// use actix_batch::Retry;
///
/// // 4 attempts in all: up to 50 ms, 100 ms and 200 ms apart, and only while the database is busy.
/// let retry = Retry::exponential(Duration::from_millis(50))
///     .attempts(4)
///     .give_up_after(Duration::from_secs(2))
///     .when(|error: &std::io::Error| error.kind() == std::io::ErrorKind::WouldBlock);
/// ```
pub struct Retry<E> {
    first: Duration,
    longest: Duration,
    factor: f32,
    attempts: u32,
    give_up_after: Option<Duration>,
    jitter: Option<Arc<Mutex<fastrand::Rng>>>,
    when: Option<Arc<Worth<E>>>,
    after: Option<Arc<RetryAfter<E>>>,
    panics: bool,
    timeouts: bool,
}

type Worth<E> = dyn Fn(&E) -> bool + Send + Sync;
type RetryAfter<E> = dyn Fn(&E) -> Option<Duration> + Send + Sync;

impl<E> Retry<E> {
    /// After this many doublings a nanosecond has become the longest `Duration`.
    const DOUBLINGS: u32 = 94;

    /// Delays that double, from `first` to 30 s, each with *full jitter*: a random time between 0 and the delay, so that batches
    /// that failed together do not come back together (AWS Architecture Blog, "Exponential Backoff And Jitter", 2015).
    pub fn exponential(first: Duration) -> Self {
        let jitter = Some(Arc::new(Mutex::new(fastrand::Rng::new())));
        Self { factor: 2.0, jitter, longest: Duration::from_secs(30), ..Self::fixed(first) }
    }

    /// The same delay before every attempt, without jitter.
    pub fn fixed(delay: Duration) -> Self {
        Self {
            first: delay,
            longest: delay,
            factor: 1.0,
            attempts: 3,
            give_up_after: None,
            jitter: None,
            when: None,
            after: None,
            panics: false,
            timeouts: false,
        }
    }

    /// How often a job is sent at most, including the first time. Default: 3.
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts;
        self
    }

    /// The longest delay. Default: 30 s for delays that grow.
    pub fn max_delay(mut self, longest: Duration) -> Self {
        self.longest = longest;
        self
    }

    /// Fixes the jitter's randomness, for tests.
    pub fn seed(mut self, seed: u64) -> Self {
        self.jitter = self.jitter.map(|_| Arc::new(Mutex::new(fastrand::Rng::with_seed(seed))));
        self
    }

    /// How long after the acceptance of the batch's first job an attempt may still start. An attempt that would start later – it
    /// waited for the breaker, the rate or a worker – is not made, and the last error is the reply. Default: no limit.
    pub fn give_up_after(mut self, limit: Duration) -> Self {
        self.give_up_after = Some(limit);
        self
    }

    /// Which of the processor's errors are worth another attempt. Default: all of them. The closure must not call the collector;
    /// if it panics, the job is not tried again.
    pub fn when(mut self, worth: impl Fn(&E) -> bool + Send + Sync + 'static) -> Self {
        self.when = Some(Arc::new(worth));
        self
    }

    /// Takes the delay from the error, where the downstream said when to come back (HTTP's `Retry-After`, a broker's throttle
    /// time): that delay is used as it is, without growth, jitter or [`max_delay`](Self::max_delay). `None`: the delay is computed.
    /// Of several errors in a batch the longest delay counts. If the closure panics, the delay is computed. Default: always
    /// computed.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use actix_batch::Retry;
    ///
    /// struct Throttled { retry_after: Option<Duration> }
    ///
    /// let retry = Retry::exponential(Duration::from_millis(50)).retry_after(|error: &Throttled| error.retry_after);
    /// ```
    pub fn retry_after(mut self, delay: impl Fn(&E) -> Option<Duration> + Send + Sync + 'static) -> Self {
        self.after = Some(Arc::new(delay));
        self
    }

    /// Whether to try again after a panic. Default: `false`, because the same job is likely to panic again.
    pub fn on_panic(mut self, retry: bool) -> Self {
        self.panics = retry;
        self
    }

    /// Whether to try again after a time-out. Default: `false`, because a batch that timed out may still take effect.
    pub fn on_timeout(mut self, retry: bool) -> Self {
        self.timeouts = retry;
        self
    }

    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        if self.attempts == 0 {
            return Err(ConfigError::new("retry.attempts", 0, "at least 1: the first attempt counts"));
        }
        Ok(())
    }

    pub(crate) fn wants_timeouts(&self) -> bool {
        self.timeouts
    }

    /// When the attempt after this one starts; `None`: there is none.
    pub(super) fn next(
        &self,
        attempt: u32,
        accepted_at: Instant,
        now: Instant,
        asked: Option<Duration>,
    ) -> Option<Instant> {
        if attempt >= self.attempts {
            return None;
        }
        let next = now.checked_add(asked.unwrap_or_else(|| self.delay(attempt)))?;
        self.latest_start(accepted_at).is_none_or(|last| next <= last).then_some(next)
    }

    /// The longest delay that these errors ask for.
    pub(super) fn asked_delay<'e>(&self, errors: impl IntoIterator<Item = &'e JobError<E>>) -> Option<Duration>
    where
        E: 'e,
    {
        let after = self.after.as_ref()?;
        let asked = |error: &JobError<E>| catch(|| after(error.processor_error()?))?;
        errors.into_iter().filter_map(asked).max()
    }

    /// The latest time at which another attempt may start; `None`: there is no limit.
    pub(super) fn latest_start(&self, accepted_at: Instant) -> Option<Instant> {
        accepted_at.checked_add(self.give_up_after?)
    }

    /// Whether this error is worth another attempt.
    pub(super) fn is_worth(&self, error: &JobError<E>) -> bool {
        match error {
            JobError::Failed(error) => self.when.as_ref().is_none_or(|worth| {
                let worth = std::panic::AssertUnwindSafe(|| worth(error));
                std::panic::catch_unwind(worth).unwrap_or_else(|panic| {
                    discard(panic);
                    false
                })
            }),
            JobError::Panicked => self.panics,
            JobError::TimedOut => self.timeouts,
            _ => false,
        }
    }

    fn delay(&self, attempt: u32) -> Duration {
        let delays = ExponentialBuilder::new()
            .with_min_delay(self.first.min(self.longest))
            .with_max_delay(self.longest)
            .with_factor(self.factor)
            .without_max_times();
        let doublings = attempt.saturating_sub(1).min(Self::DOUBLINGS);
        let delay = delays.build().nth(doublings as usize).unwrap_or(self.longest);
        self.jitter.as_ref().map_or(delay, |random| delay.mul_f64(random.lock().f64()))
    }
}

impl<E> Clone for Retry<E> {
    fn clone(&self) -> Self {
        Self { jitter: self.jitter.clone(), when: self.when.clone(), after: self.after.clone(), ..*self }
    }
}

impl<E> fmt::Debug for Retry<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retry").field("first", &self.first).field("attempts", &self.attempts).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn failed() -> JobError<String> {
        JobError::Failed(Arc::new("busy".to_owned()))
    }

    fn delays(retry: &Retry<String>, attempts: std::ops::RangeInclusive<u32>) -> Vec<u128> {
        let now = Instant::now();
        let next = |attempt| retry.next(attempt, now, now, None).map_or(0, |next| (next - now).as_millis());
        attempts.map(next).collect()
    }

    #[test]
    fn a_fixed_delay_stays_and_attempts_are_bounded() {
        assert_eq!(delays(&Retry::fixed(MS * 20).attempts(3), 1..=4), [20, 20, 0, 0]);
        assert_eq!(delays(&Retry::fixed(MS * 60_000), 1..=2), [60_000, 60_000]);
    }

    #[test]
    fn exponential_delays_lie_between_nothing_and_a_doubling_bound() {
        let retry = Retry::exponential(MS * 100).attempts(100).max_delay(MS * 500).seed(7);
        for (attempt, bound) in [(1, 100), (2, 200), (3, 400), (4, 500), (60, 500)] {
            let drawn: Vec<_> = (0..200).flat_map(|_| delays(&retry, attempt..=attempt)).collect();
            assert!(drawn.iter().all(|delay| *delay <= bound), "{attempt}: {drawn:?}");
            assert!(drawn.iter().any(|delay| *delay < bound / 4) && drawn.iter().any(|delay| *delay > bound * 3 / 4));
        }
    }

    #[test]
    fn a_delay_costs_the_same_at_every_attempt_and_no_size_of_it_is_too_much() {
        let most =
            Retry::<String>::exponential(Duration::from_nanos(1)).attempts(u32::MAX).max_delay(Duration::MAX).seed(1);
        (0..10_000).for_each(|round| assert!(most.delay(u32::MAX - 1 - round) > Duration::from_secs(1 << 30)));
        let now = Instant::now();
        let endless: Retry<String> = Retry::fixed(Duration::MAX).attempts(u32::MAX);
        assert_eq!(endless.next(1, now, now, None), None, "it would never begin");
        let patient: Retry<String> = Retry::fixed(MS).give_up_after(Duration::MAX);
        assert!(patient.next(1, now, now, None).is_some());
        let hasty: Retry<String> = Retry::fixed(MS).give_up_after(Duration::ZERO);
        assert_eq!(hasty.next(1, now, now, None), None);
    }

    #[test]
    fn a_seed_repeats_the_jitter() {
        let drawn = || delays(&Retry::exponential(MS * 1000).attempts(10).seed(42), 1..=9);
        assert_eq!(drawn(), drawn());
    }

    #[test]
    fn nothing_begins_after_the_limit_from_acceptance() {
        let retry: Retry<String> = Retry::fixed(MS * 100).attempts(10).give_up_after(MS * 250);
        let accepted = Instant::now();
        let next = |after: u32| retry.next(1, accepted, accepted + MS * after, None);
        assert!(next(150).is_some());
        assert_eq!(next(151), None);
    }

    #[test]
    fn panics_and_time_outs_are_not_retried_unless_said() {
        let retried = |retry: &Retry<String>, error: &JobError<String>| retry.is_worth(error);
        let plain = Retry::fixed(MS);
        assert!(retried(&plain, &failed()));
        for error in [JobError::Panicked, JobError::TimedOut, JobError::NoResult, JobError::Lost] {
            assert!(!retried(&plain, &error), "{error}");
        }
        assert!(retried(&Retry::fixed(MS).on_panic(true), &JobError::Panicked));
        assert!(retried(&Retry::fixed(MS).on_timeout(true), &JobError::TimedOut));
    }

    #[test]
    fn the_predicate_decides_and_its_panic_means_no() {
        let picky = Retry::fixed(MS).when(|error: &String| error == "busy");
        assert!(picky.is_worth(&failed()));
        assert!(!picky.is_worth(&JobError::Failed(Arc::new("no".into()))));
        let broken = Retry::fixed(MS).when(|_: &String| panic!("the predicate's own"));
        assert!(!broken.is_worth(&failed()));
    }
}
