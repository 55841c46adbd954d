//! Stops calling a downstream that fails, and finds out when it is back.

use std::{collections::VecDeque, fmt, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::gate::Gate;
use crate::{
    error::{ConfigError, JobError},
    panics::catch,
};

/// A circuit breaker: after too many failures nothing is sent for a while, then a few probes, then everything again.
///
/// A call is a batch. It fails when the whole batch fails – with an error, a panic, a time-out, a wrong number of results – or takes
/// longer than `slow`. With [`split_poison`](crate::CollectorBuilder::split_poison) the failures of a batch that is split only count if
/// no part of it succeeds: a bad job does not open the breaker. While the breaker is open, jobs wait (`max_pending` pushes back), or are refused: see
/// [`reject_when_open`](Self::reject_when_open).
///
/// ```
/// use std::time::Duration;
///
/// use actix_batch::Breaker;
///
/// // Opens after 5 failures in a row, or when half of at least 20 calls within 10 s fail or take over 2 s.
/// let breaker: Breaker<std::io::Error> = Breaker::consecutive(5)
///     .rate(0.5, Duration::from_secs(10), 20)
///     .slow(Duration::from_secs(2))
///     .open_for(Duration::from_secs(5))
///     .probes(2);
/// ```
pub struct Breaker<E> {
    consecutive: Option<u32>,
    rate: Option<Rate>,
    slow: Option<Duration>,
    open_for: Duration,
    probes: u32,
    reject: bool,
    when: Option<Arc<Blames<E>>>,
}

type Blames<E> = dyn Fn(&E) -> bool + Send + Sync;

#[derive(Debug, Clone, Copy)]
struct Rate {
    share: f64,
    window: Duration,
    min_calls: usize,
}

impl<E> Clone for Breaker<E> {
    fn clone(&self) -> Self {
        Self { when: self.when.clone(), ..*self }
    }
}

impl<E> fmt::Debug for Breaker<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Breaker")
            .field("open_for", &self.open_for)
            .field("probes", &self.probes)
            .finish_non_exhaustive()
    }
}

/// What a breaker lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BreakerState {
    /// Everything.
    Closed,
    /// A few probes.
    HalfOpen,
    /// Nothing.
    Open,
}

impl BreakerState {
    /// The state's name in logs and events.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::HalfOpen => "half-open",
            Self::Open => "open",
        }
    }
}

impl<E> Breaker<E> {
    const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

    /// Opens after so many failures in a row.
    pub fn consecutive(failures: u32) -> Self {
        Self { consecutive: Some(failures), ..Self::defaults() }
    }

    /// Opens when this share (above 0, up to 1) of the calls within the window (up to 24 hours) failed, once
    /// there were at least `min_calls`. The window slides in steps of a thousandth.
    pub fn failure_rate(share: f64, window: Duration, min_calls: usize) -> Self {
        Self::defaults().rate(share, window, min_calls)
    }

    fn defaults() -> Self {
        let open_for = Duration::from_secs(5);
        Self { consecutive: None, rate: None, slow: None, open_for, probes: 1, reject: false, when: None }
    }

    /// Opens by failure rate as well; see [`failure_rate`](Self::failure_rate).
    pub fn rate(mut self, share: f64, window: Duration, min_calls: usize) -> Self {
        self.rate = Some(Rate { share, window, min_calls });
        self
    }

    /// A call that takes longer than this counts as failed, whatever it answered. Default: no call is slow.
    pub fn slow(mut self, limit: Duration) -> Self {
        self.slow = Some(limit);
        self
    }

    /// How long it stays open before it sends probes, up to 24 hours. Default: 5 s.
    pub fn open_for(mut self, time: Duration) -> Self {
        self.open_for = time;
        self
    }

    /// How many batches are sent, and must succeed, before it closes. Default: 1.
    pub fn probes(mut self, probes: u32) -> Self {
        self.probes = probes;
        self
    }

    /// Whether jobs fail with [`JobError::CircuitOpen`](crate::JobError::CircuitOpen) while the breaker is open, instead of
    /// waiting. Default: `false`.
    pub fn reject_when_open(mut self, reject: bool) -> Self {
        self.reject = reject;
        self
    }

    /// Which of the processor's errors speak of the downstream. A batch that fails with another one counts as a success: the
    /// downstream is up and refused it. Panics and time-outs always count. The closure must not call the collector; if it panics, the
    /// error counts. Default: all errors.
    pub fn when(mut self, blames: impl Fn(&E) -> bool + Send + Sync + 'static) -> Self {
        self.when = Some(Arc::new(blames));
        self
    }

    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        if self.consecutive == Some(0) {
            return Err(ConfigError::new("breaker.consecutive", 0, "at least 1"));
        }
        if let Some(Rate { share, window, min_calls }) = self.rate {
            if !(share > 0.0 && share <= 1.0) {
                return Err(ConfigError::new("breaker.rate", share, "a share above 0 and up to 1"));
            }
            if window.is_zero() || window > Self::LONGEST || min_calls == 0 {
                return Err(ConfigError::new(
                    "breaker.rate",
                    format_args!("{min_calls} calls in {window:?}"),
                    "at least 1 call, within more than 0 and at most 24 hours",
                ));
            }
        }
        if self.open_for > Self::LONGEST {
            return Err(ConfigError::new("breaker.open_for", format_args!("{:?}", self.open_for), "at most 24 hours"));
        }
        if self.probes == 0 {
            return Err(ConfigError::new("breaker.probes", 0, "at least 1"));
        }
        Ok(())
    }
}

/// A breaker at work: pure, told the time.
pub(super) struct Circuit<E> {
    rules: Breaker<E>,
    phase: Phase,
    /// How often it has been half-open.
    rounds: u32,
    in_a_row: u32,
    /// Calls within the window, in order.
    recent: VecDeque<Calls>,
    calls: usize,
    failed_calls: usize,
}

/// Calls that are close together in time: they enter and leave the window as one, so that it has a bounded number of entries.
#[derive(Debug, Clone, Copy)]
struct Calls {
    since: Instant,
    all: usize,
    failed: usize,
}

impl Calls {
    /// Closer together than this share of the window.
    const SHARE: u32 = 1024;
}

#[derive(Debug)]
enum Phase {
    Closed,
    Open { until: Instant },
    HalfOpen { sent: u32, succeeded: u32 },
}

/// A batch that tries whether the breaker may close, and the half-open time that it belongs to: when the breaker has opened
/// again since, it says nothing any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Probe(u32);

impl<E> Circuit<E> {
    pub(super) fn new(rules: Breaker<E>) -> Self {
        Self { rules, phase: Phase::Closed, rounds: 0, in_a_row: 0, recent: VecDeque::new(), calls: 0, failed_calls: 0 }
    }

    pub(super) fn state(&self) -> BreakerState {
        match self.phase {
            Phase::Closed => BreakerState::Closed,
            Phase::Open { .. } => BreakerState::Open,
            Phase::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    /// Whether it is closed, and a call that succeeds leaves it so.
    pub(super) fn stays_closed_by_success(&self) -> bool {
        self.state() == BreakerState::Closed && self.rules.slow.is_none()
    }

    /// Whether a batch may be sent now.
    pub(super) fn ask(&mut self, now: Instant) -> Gate {
        if matches!(self.phase, Phase::Open { until } if until <= now) {
            self.phase = Phase::HalfOpen { sent: 0, succeeded: 0 };
            self.rounds = self.rounds.wrapping_add(1);
        }
        self.outlook(now)
    }

    /// What a batch would be told now.
    pub(super) fn outlook(&self, now: Instant) -> Gate {
        match self.phase {
            Phase::Open { until } if now < until => self.deny(Some(until), now),
            Phase::HalfOpen { sent, .. } if sent >= self.rules.probes => self.deny(None, now),
            _ => Gate::Open,
        }
    }

    fn deny(&self, until: Option<Instant>, now: Instant) -> Gate {
        if !self.rules.reject {
            return Gate::Closed(until);
        }
        Gate::Reject { retry_in: until.map_or(self.rules.open_for, |until| until - now) }
    }

    /// A batch is sent.
    pub(super) fn sent(&mut self) -> Option<Probe> {
        let Phase::HalfOpen { sent, .. } = &mut self.phase else { return None };
        *sent += 1;
        Some(Probe(self.rounds))
    }

    /// A probe came back without having been tried.
    pub(super) fn unsent(&mut self, probe: Option<Probe>) {
        if let (true, Phase::HalfOpen { sent, .. }) = (self.is_current(probe), &mut self.phase) {
            *sent -= 1;
        }
    }

    fn is_current(&self, probe: Option<Probe>) -> bool {
        probe == Some(Probe(self.rounds))
    }

    /// Whether a whole batch's failure speaks of the downstream.
    pub(super) fn blames(&self, error: &JobError<E>) -> bool {
        let (Some(when), Some(error)) = (&self.rules.when, error.processor_error()) else { return true };
        catch(|| when(error)).unwrap_or(true)
    }

    /// A batch was answered. What was sent before the breaker opened says nothing about the downstream of now.
    pub(super) fn answered(&mut self, failed: bool, took: Duration, probe: Option<Probe>, now: Instant) {
        let probe = self.is_current(probe);
        let failed = failed || self.rules.slow.is_some_and(|limit| took > limit);
        match &mut self.phase {
            Phase::Closed => {
                self.count(failed, now);
                if failed && self.is_too_much() {
                    self.open(now);
                }
            }
            Phase::HalfOpen { .. } if probe && failed => self.open(now),
            Phase::HalfOpen { succeeded, .. } if probe => {
                *succeeded += 1;
                if *succeeded >= self.rules.probes {
                    self.close();
                }
            }
            Phase::HalfOpen { .. } | Phase::Open { .. } => {}
        }
    }

    fn count(&mut self, failed: bool, now: Instant) {
        self.in_a_row = if failed { self.in_a_row.saturating_add(1) } else { 0 };
        let Some(Rate { window, .. }) = self.rules.rate else { return };
        let failed = usize::from(failed);
        match self.recent.back_mut().filter(|last| now < last.since + window / Calls::SHARE) {
            Some(last) => {
                last.all += 1;
                last.failed += failed;
            }
            None => self.recent.push_back(Calls { since: now, all: 1, failed }),
        }
        self.calls += 1;
        self.failed_calls += failed;
        while let Some(gone) = self.recent.front().copied().filter(|first| first.since + window <= now) {
            self.recent.pop_front();
            self.calls -= gone.all;
            self.failed_calls -= gone.failed;
        }
    }

    #[allow(clippy::cast_precision_loss, reason = "counts of calls within a window are far below 2⁵²")]
    fn is_too_much(&self) -> bool {
        let in_a_row = self.rules.consecutive.is_some_and(|limit| self.in_a_row >= limit);
        let by_rate = self.rules.rate.is_some_and(|Rate { share, min_calls, .. }| {
            self.calls >= min_calls && self.failed_calls as f64 >= share * self.calls as f64
        });
        in_a_row || by_rate
    }

    fn open(&mut self, now: Instant) {
        self.close();
        self.phase = Phase::Open { until: now + self.rules.open_for };
    }

    fn close(&mut self) {
        self.phase = Phase::Closed;
        self.in_a_row = 0;
        self.recent.clear();
        (self.calls, self.failed_calls) = (0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);
    const FAST: Duration = Duration::from_millis(1);

    fn fail(circuit: &mut Circuit<String>, times: usize, now: Instant) {
        (0..times).for_each(|_| circuit.answered(true, FAST, None, now));
    }

    #[test]
    fn it_opens_after_n_failures_in_a_row_and_a_success_restarts_the_count() {
        let (mut circuit, now) = (Circuit::<String>::new(Breaker::consecutive(3)), Instant::now());
        fail(&mut circuit, 2, now);
        circuit.answered(false, FAST, None, now);
        fail(&mut circuit, 2, now);
        assert_eq!(circuit.state(), BreakerState::Closed);
        fail(&mut circuit, 1, now);
        assert_eq!(circuit.state(), BreakerState::Open);
        assert_eq!(circuit.ask(now), Gate::Closed(Some(now + S * 5)));
    }

    #[test]
    fn it_opens_by_the_failure_rate_of_its_window_once_there_are_enough_calls() {
        let start = Instant::now();
        let mut circuit = Circuit::<String>::new(Breaker::failure_rate(0.5, S * 10, 4));
        fail(&mut circuit, 3, start);
        assert_eq!(circuit.state(), BreakerState::Closed, "three calls are too few");
        circuit.answered(false, FAST, None, start + S * 11);
        fail(&mut circuit, 2, start + S * 11);
        assert_eq!(circuit.state(), BreakerState::Closed, "the first three have left the window");
        fail(&mut circuit, 1, start + S * 12);
        assert_eq!(circuit.state(), BreakerState::Open);
    }

    #[test]
    fn a_long_window_with_many_calls_keeps_a_bounded_number_of_entries() {
        let (start, hour) = (Instant::now(), S * 3600);
        let mut circuit = Circuit::<String>::new(Breaker::failure_rate(0.5, hour, 10));
        for second in 0..7200 {
            (0..10).for_each(|call| circuit.answered(call >= 6, FAST, None, start + S * second));
        }
        assert!(circuit.recent.len() <= 1030, "{} entries", circuit.recent.len());
        assert!((35_900..=36_000).contains(&circuit.calls), "an hour of calls: {}", circuit.calls);
        assert_eq!((circuit.failed_calls * 10 / circuit.calls, circuit.state()), (4, BreakerState::Closed));
    }

    #[test]
    fn slow_calls_count_as_failures() {
        let (mut circuit, now) = (Circuit::<String>::new(Breaker::consecutive(2).slow(S)), Instant::now());
        circuit.answered(false, S, None, now);
        circuit.answered(false, S + FAST, None, now);
        circuit.answered(false, S + FAST, None, now);
        assert_eq!(circuit.state(), BreakerState::Open);
    }

    #[test]
    fn half_open_it_sends_its_probes_and_no_more_and_closes_when_all_succeed() {
        let start = Instant::now();
        let mut circuit = Circuit::<String>::new(Breaker::consecutive(1).open_for(S).probes(2));
        fail(&mut circuit, 1, start);
        let probes = [(); 2].map(|()| {
            assert_eq!(circuit.ask(start + S), Gate::Open);
            circuit.sent()
        });
        assert_eq!(circuit.ask(start + S), Gate::Closed(None));
        circuit.answered(false, FAST, probes[0], start + S);
        assert_eq!(circuit.state(), BreakerState::HalfOpen);
        circuit.answered(false, FAST, probes[1], start + S);
        assert_eq!(circuit.state(), BreakerState::Closed);
    }

    #[test]
    fn a_failed_probe_opens_it_again_and_an_old_answer_changes_nothing() {
        let start = Instant::now();
        let mut circuit = Circuit::<String>::new(Breaker::consecutive(1).open_for(S));
        fail(&mut circuit, 1, start);
        assert_eq!(circuit.ask(start + S), Gate::Open);
        let probe = circuit.sent();
        circuit.answered(false, FAST, None, start + S);
        assert_eq!(circuit.state(), BreakerState::HalfOpen, "sent before it opened: not a probe");
        circuit.answered(true, FAST, probe, start + S);
        assert_eq!(circuit.ask(start + S), Gate::Closed(Some(start + S * 2)));
    }

    #[test]
    fn a_probe_of_an_earlier_time_says_nothing_and_frees_no_place() {
        let start = Instant::now();
        let mut circuit = Circuit::<String>::new(Breaker::consecutive(1).open_for(S).probes(3));
        fail(&mut circuit, 1, start);
        assert_eq!(circuit.ask(start + S), Gate::Open);
        let old = [(); 3].map(|()| circuit.sent());
        circuit.answered(true, FAST, old[0], start + S);
        assert_eq!(circuit.ask(start + S * 2), Gate::Open);
        circuit.unsent(old[1]);
        circuit.answered(false, FAST, old[2], start + S * 2);
        for left in (0..3).rev() {
            let new = circuit.sent();
            circuit.answered(false, FAST, new, start + S * 2);
            assert_eq!(circuit.state() == BreakerState::Closed, left == 0, "{left} probes are still to succeed");
        }
    }

    #[test]
    fn it_rejects_with_the_time_that_is_left() {
        let start = Instant::now();
        let mut circuit = Circuit::<String>::new(Breaker::consecutive(1).open_for(S * 5).reject_when_open(true));
        fail(&mut circuit, 1, start);
        assert_eq!(circuit.ask(start + S * 2), Gate::Reject { retry_in: S * 3 });
    }

    #[test]
    fn rules_that_cannot_be_are_refused() {
        assert!(Breaker::<String>::consecutive(0).validate().is_err());
        assert!(Breaker::<String>::consecutive(1).probes(0).validate().is_err());
        assert!(Breaker::<String>::failure_rate(0.0, S, 1).validate().is_err());
        assert!(Breaker::<String>::failure_rate(f64::NAN, S, 1).validate().is_err());
        assert!(Breaker::<String>::failure_rate(1.0, Duration::ZERO, 1).validate().is_err());
        assert!(Breaker::<String>::failure_rate(1.0, Duration::MAX, 1).validate().is_err());
        assert!(Breaker::<String>::consecutive(1).open_for(Duration::MAX).validate().is_err());
        assert!(Breaker::<String>::failure_rate(1.0, S, 1).validate().is_ok());
    }
}
