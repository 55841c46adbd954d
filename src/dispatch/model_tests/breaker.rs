//! What a circuit breaker should do, put plainly: it looks at all calls since it closed.

use tokio::time::Instant;

use super::{MS, settings::BreakerSettings};
use crate::dispatch::BreakerState;

/// A failed batch, with its parts.
pub(super) struct PlainFamily {
    pub(super) failures: u32,
    pub(super) patience: u32,
    /// Whether the downstream is to blame, once that is known.
    pub(super) verdict: Option<bool>,
}

impl PlainFamily {
    /// How many failures count because of one more, if that is known.
    pub(super) fn failed(&mut self) -> Option<u32> {
        self.failures += 1;
        match self.verdict {
            Some(blamed) => Some(u32::from(blamed)),
            None if self.failures > self.patience => {
                self.verdict = Some(true);
                Some(self.failures)
            }
            None => None,
        }
    }
}

pub(super) struct PlainBreaker {
    rules: BreakerSettings,
    pub(super) state: BreakerState,
    until: Option<Instant>,
    /// Calls since it closed, and whether they failed.
    calls: Vec<(Instant, bool)>,
    /// Which time of being half-open this is; probes of another say nothing.
    round: u32,
    probes: u32,
    good: u32,
}

impl PlainBreaker {
    pub(super) fn new(rules: BreakerSettings) -> Self {
        Self { rules, state: BreakerState::Closed, until: None, calls: Vec::new(), round: 0, probes: 0, good: 0 }
    }

    pub(super) fn rejects(&self) -> bool {
        self.rules.reject && self.state != BreakerState::Closed
    }

    /// Dispatch says that it is half-open.
    pub(super) fn half_open(&mut self, now: Instant) {
        assert_eq!(self.state, BreakerState::Open);
        assert!(self.until <= Some(now), "half-open before its time");
        (self.state, self.probes, self.good) = (BreakerState::HalfOpen, 0, 0);
        self.round += 1;
    }

    /// Dispatch sends a batch. Returns the round that it is a probe of.
    pub(super) fn sent(&mut self) -> Option<u32> {
        assert_ne!(self.state, BreakerState::Open, "nothing is sent while the breaker is open");
        if self.state == BreakerState::Closed {
            return None;
        }
        self.probes += 1;
        assert!(self.probes <= self.rules.probes, "more probes than allowed");
        Some(self.round)
    }

    /// The batch came back untried.
    pub(super) fn unsent(&mut self, probe: Option<u32>) {
        if self.state == BreakerState::HalfOpen && probe == Some(self.round) {
            self.probes -= 1;
        }
    }

    pub(super) fn answered(&mut self, failed: bool, sent_at: Instant, probe: Option<u32>, now: Instant) {
        let failed = failed || self.rules.slow.is_some_and(|limit| now - sent_at > MS * limit);
        match self.state {
            BreakerState::Closed => {
                self.calls.push((now, failed));
                if failed && self.is_too_much(now) {
                    self.open(now);
                }
            }
            BreakerState::HalfOpen if probe == Some(self.round) && failed => self.open(now),
            BreakerState::HalfOpen if probe == Some(self.round) => {
                self.good += 1;
                if self.good == self.rules.probes {
                    self.state = BreakerState::Closed;
                    self.calls.clear();
                }
            }
            BreakerState::HalfOpen | BreakerState::Open => {}
        }
    }

    fn open(&mut self, now: Instant) {
        self.state = BreakerState::Open;
        self.until = Some(now + MS * self.rules.open_for);
    }

    #[allow(clippy::cast_precision_loss, reason = "a handful of calls")]
    fn is_too_much(&self, now: Instant) -> bool {
        let in_a_row = self.calls.iter().rev().take_while(|(_, failed)| *failed).count();
        let (share, window, least) = self.rules.rate;
        let recent: Vec<_> = self.calls.iter().filter(|(at, _)| now - *at < MS * window).collect();
        let failed = recent.iter().filter(|(_, failed)| *failed).count();
        self.rules.consecutive.is_some_and(|limit| in_a_row >= limit as usize)
            || (recent.len() >= least && failed as f64 >= share * recent.len() as f64)
    }
}
