//! How many workers there should be: pure, told the time.
//!
//! The rule: grow by one when batches have waited for a worker for [`PATIENCE`] without a break; shrink by one when a worker has
//! been idle for [`IDLE`] without a break. Both clocks restart after each change, so the number follows the load in steps and
//! a load between two numbers keeps the larger one.

use std::time::Duration;

use tokio::time::Instant;

/// Batches must wait this long before another worker is started.
pub(super) const PATIENCE: Duration = Duration::from_millis(100);
/// A worker must be idle this long before one is retired.
pub(super) const IDLE: Duration = Duration::from_secs(10);

/// What is to be done about the number of workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scale {
    Grow,
    Shrink,
}

/// What the rule looks at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    /// Batches wait, and every worker is busy.
    pub(crate) waiting: bool,
    /// A worker is free, and no batch waits.
    pub(crate) idle: bool,
}

#[derive(Debug)]
pub(super) struct Scaling {
    min: usize,
    max: usize,
    waiting_since: Option<Instant>,
    idle_since: Option<Instant>,
}

impl Scaling {
    pub(super) fn new(min: usize, max: usize) -> Self {
        Self { min, max, waiting_since: None, idle_since: None }
    }

    /// What to do now with so many workers.
    pub(super) fn decide(&mut self, workers: usize, load: Load, now: Instant) -> Option<Scale> {
        self.waiting_since = if load.waiting { self.waiting_since.or(Some(now)) } else { None };
        self.idle_since = if load.idle { self.idle_since.or(Some(now)) } else { None };
        if workers < self.max && self.waiting_since.is_some_and(|since| now - since >= PATIENCE) {
            self.waiting_since = Some(now);
            return Some(Scale::Grow);
        }
        if workers > self.min && self.idle_since.is_some_and(|since| now - since >= IDLE) {
            self.idle_since = Some(now);
            return Some(Scale::Shrink);
        }
        None
    }

    /// When time alone would change the decision.
    pub(super) fn due(&self, workers: usize) -> Option<Instant> {
        let grow = self.waiting_since.filter(|_| workers < self.max).map(|since| since + PATIENCE);
        let shrink = self.idle_since.filter(|_| workers > self.min).map(|since| since + IDLE);
        [grow, shrink].into_iter().flatten().min()
    }
}

#[cfg(test)]
#[allow(clippy::cast_precision_loss, reason = "a handful of workers")]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const TICK: Duration = Duration::from_millis(10);

    /// Runs the rule against a load (in workers' worth of work, over time) and notes the number of workers at each tick.
    fn follow(min: usize, max: usize, ticks: u32, load: impl Fn(Duration) -> f64) -> Vec<usize> {
        let (mut scaling, start, mut workers) = (Scaling::new(min, max), Instant::now(), min);
        let mut backlog = 0.0_f64;
        (0..ticks)
            .map(|tick| {
                let at = TICK * tick;
                let offered = backlog + load(at);
                backlog = (offered - workers as f64).max(0.0);
                let load = Load { waiting: backlog > 0.0, idle: offered <= workers as f64 - 1.0 };
                match scaling.decide(workers, load, start + at) {
                    Some(Scale::Grow) => workers += 1,
                    Some(Scale::Shrink) => workers -= 1,
                    None => {}
                }
                workers
            })
            .collect()
    }

    #[test]
    fn it_grows_while_batches_wait_and_never_above_the_most() {
        let workers = follow(1, 4, 100, |_| 8.0);
        assert_eq!(workers.iter().max(), Some(&4));
        let first = workers.iter().position(|workers| *workers == 4).unwrap();
        assert!(TICK * u32::try_from(first).unwrap() >= PATIENCE * 3, "one step each {PATIENCE:?}");
    }

    #[test]
    fn it_shrinks_while_workers_idle_and_never_below_the_least() {
        let workers = follow(2, 8, 10_000, |at| if at < MS * 2_000 { 8.0 } else { 0.0 });
        assert_eq!(workers.iter().max(), Some(&8));
        assert_eq!((workers.last(), workers.iter().min()), (Some(&2), Some(&2)));
    }

    #[test]
    fn a_steady_load_settles_and_a_short_lull_changes_nothing() {
        let workers = follow(1, 8, 12_000, |at| if at.as_secs() % 7 == 6 { 0.0 } else { 2.5 });
        // Catching up with the backlog takes more workers; then they are retired, one every 10 s.
        let settled = &workers[6_000..];
        assert!(
            settled.iter().all(|workers| *workers == 3),
            "flapped: {:?}",
            (settled.iter().min(), settled.iter().max())
        );
    }

    #[test]
    fn a_load_curve_is_followed_up_and_down_without_flapping() {
        let day = |at: Duration| 1.0 + 5.0 * (at.as_secs_f64() / 200.0 * std::f64::consts::TAU).sin().max(0.0);
        let workers = follow(1, 8, 20_000, day);
        let changes = workers.windows(2).filter(|pair| pair[0] != pair[1]).count();
        assert!(workers.iter().max() >= Some(&6), "{:?}", workers.iter().max());
        assert_eq!(workers.last(), Some(&1));
        assert!(changes <= 16, "{changes} changes for one rise and one fall");
    }

    #[test]
    fn it_says_when_to_look_again() {
        let (mut scaling, now) = (Scaling::new(1, 2), Instant::now());
        assert_eq!(scaling.decide(1, Load { waiting: true, idle: false }, now), None);
        assert_eq!(scaling.due(1), Some(now + PATIENCE));
        assert_eq!(scaling.decide(2, Load { waiting: false, idle: true }, now), None);
        assert_eq!((scaling.due(2), scaling.due(1)), (Some(now + IDLE), None));
    }
}
