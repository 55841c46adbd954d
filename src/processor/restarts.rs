//! How long a worker stays away after a failure.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

const FIRST_DELAY: Duration = Duration::from_millis(10);
const LONGEST_DELAY: Duration = Duration::from_secs(5);
/// More than this many restarts within the window, and the worker rests until the window has passed.
const INTENSITY: usize = 5;
const WINDOW: Duration = Duration::from_secs(30);

/// One worker's failures: pure, told the time.
#[derive(Debug, Default)]
pub(crate) struct Restarts {
    /// Panics, stops and deaths within the window.
    recent: VecDeque<Instant>,
    /// Failures since the last success.
    streak: u32,
}

/// When a worker may be built again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RestartDelay {
    pub(crate) until: Instant,
    /// Not a back-off, but a rest after too many restarts.
    pub(crate) resting: bool,
}

impl Restarts {
    /// The worker panicked, stopped, or its thread died.
    pub(crate) fn failed(&mut self, now: Instant) -> RestartDelay {
        self.recent.push_back(now);
        while self.recent.front().is_some_and(|first| *first + WINDOW <= now) {
            self.recent.pop_front();
        }
        let delay = self.unprepared(now);
        match self.recent.front() {
            Some(first) if self.recent.len() > INTENSITY => RestartDelay { until: *first + WINDOW, resting: true },
            _ => delay,
        }
    }

    /// The worker could not be prepared: it backs off, but does not count as a restart.
    pub(crate) fn unprepared(&mut self, now: Instant) -> RestartDelay {
        self.streak = self.streak.saturating_add(1);
        RestartDelay { until: now + delay(self.streak), resting: false }
    }

    /// It prepared, or processed a batch: the next failure starts from the first delay.
    pub(crate) fn succeeded(&mut self) {
        self.streak = 0;
    }
}

/// 10 ms after the first failure, doubling to 5 s.
fn delay(streak: u32) -> Duration {
    FIRST_DELAY.saturating_mul(2_u32.saturating_pow(streak.saturating_sub(1))).min(LONGEST_DELAY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_doubles_from_10_ms_to_5_s_and_a_success_resets_it() {
        let (mut restarts, now) = (Restarts::default(), Instant::now());
        let delays: Vec<_> = (0..11).map(|_| (restarts.unprepared(now).until - now).as_millis()).collect();
        assert_eq!(delays, [10, 20, 40, 80, 160, 320, 640, 1280, 2560, 5000, 5000]);
        restarts.succeeded();
        assert_eq!(restarts.unprepared(now).until, now + FIRST_DELAY);
    }

    #[test]
    fn the_sixth_restart_in_30_s_rests_the_worker_until_the_window_has_passed() {
        let (mut restarts, start) = (Restarts::default(), Instant::now());
        for second in 0..5 {
            assert!(!restarts.failed(start + Duration::from_secs(second)).resting);
        }
        assert_eq!(
            restarts.failed(start + Duration::from_secs(5)),
            RestartDelay { until: start + WINDOW, resting: true }
        );
        assert!(restarts.failed(start + WINDOW).resting, "five others are still in the window");
        assert!(!restarts.failed(start + WINDOW * 2).resting);
    }

    #[test]
    fn a_failing_prepare_never_rests_a_worker() {
        let (mut restarts, now) = (Restarts::default(), Instant::now());
        assert!((0..100).all(|_| !restarts.unprepared(now).resting));
    }
}
