//! The open batch as its policy sees it, and the policy's answers, with what holds for any policy.
//!
//! Invariants:
//! - A panic in the policy ends here and means "send now".
//! - `max_size` caps every policy.
//! - The clock is read once per batch, unless the policy reads it for each job.

use std::panic::{AssertUnwindSafe, catch_unwind};

use tokio::time::Instant;

use super::{Arrival, Decision, FlushPolicy, OnFree, OpenBatch, Timing};
use crate::batch::Trigger;

pub(crate) struct Gauge {
    open: OpenBatch,
    policy: Box<dyn FlushPolicy>,
    max_size: usize,
    reads_clock: bool,
    panics: u64,
}

impl Gauge {
    pub(crate) fn new(mut policy: Box<dyn FlushPolicy>, max_size: usize, now: Instant) -> Self {
        let reads_clock = policy.reads_clock();
        let started = catch_unwind(AssertUnwindSafe(|| policy.start(now)));
        Self { open: OpenBatch::default(), policy, max_size, reads_clock, panics: u64::from(started.is_err()) }
    }

    /// What the policy sees of a job that comes now.
    #[inline]
    pub(crate) fn arrival(&self, weight: u64, clock: impl FnOnce() -> Instant) -> Arrival {
        Arrival { weight, at: if self.reads_clock { Some(clock()) } else { None } }
    }

    #[inline]
    pub(crate) fn on_job(&mut self, job: &Arrival) -> Decision {
        let answer = catch_unwind(AssertUnwindSafe(|| self.policy.on_job(&self.open, job)));
        answer.unwrap_or_else(|_| self.panicked(Decision::AddAndSend(Trigger::Size)))
    }

    /// The job has joined. Returns why the batch leaves with it, if it does.
    #[inline]
    pub(crate) fn joined(&mut self, job: &Arrival, decision: Decision) -> Option<Trigger> {
        self.open.jobs += 1;
        self.open.weight = self.open.weight.saturating_add(job.weight);
        self.open.last_at = job.at;
        match decision {
            Decision::AddAndSend(trigger) => Some(trigger),
            _ if self.open.jobs >= self.max_size => Some(Trigger::Size),
            _ => None,
        }
    }

    /// Whether the next job is the first of its batch.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.open.jobs == 0
    }

    /// The batch has its first job, and stays.
    pub(crate) fn opened(&mut self, clock: impl FnOnce() -> Instant) {
        self.open.opened_at = Some(self.open.last_at.unwrap_or_else(clock));
    }

    /// The batch leaves: the next one is open, and empty. Returns when this one was opened, if that is known.
    pub(crate) fn left(&mut self) -> Option<Instant> {
        let left = self.open;
        self.open = OpenBatch { idle: left.idle, ..OpenBatch::default() };
        left.opened_at
    }

    /// When the batch leaves by time.
    pub(crate) fn due(&mut self) -> Option<Instant> {
        let opened_at = self.open.opened_at?;
        let answer = catch_unwind(AssertUnwindSafe(|| self.policy.due(&self.open)));
        answer.unwrap_or_else(|_| self.panicked(Some(opened_at)))
    }

    /// Whether a worker is free, with no batch waiting for it.
    pub(crate) fn set_idle(&mut self, idle: bool) {
        self.open.idle = idle;
    }

    /// Whether the batch leaves because a worker is free.
    pub(crate) fn leaves_when_free(&mut self) -> bool {
        if !self.open.idle || self.is_empty() {
            return false;
        }
        let answer = catch_unwind(AssertUnwindSafe(|| self.policy.on_free(&self.open)));
        answer.unwrap_or_else(|_| self.panicked(OnFree::Send)) == OnFree::Send
    }

    pub(crate) fn on_done(&mut self, timing: &Timing) {
        let heard = catch_unwind(AssertUnwindSafe(|| self.policy.on_done(timing)));
        heard.unwrap_or_else(|_| self.panicked(()));
    }

    /// How often the policy has panicked since this was last asked.
    pub(crate) fn take_panics(&mut self) -> u64 {
        std::mem::take(&mut self.panics)
    }

    #[cold]
    fn panicked<T>(&mut self, meaning: T) -> T {
        self.panics += 1;
        meaning
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flush::SizeOrInterval;

    /// Panics whatever it is asked.
    struct Hostile;

    impl FlushPolicy for Hostile {
        fn on_job(&mut self, _: &OpenBatch, _: &Arrival) -> Decision {
            panic!("on_job")
        }

        fn due(&self, _: &OpenBatch) -> Option<Instant> {
            panic!("due")
        }

        fn on_free(&mut self, _: &OpenBatch) -> OnFree {
            panic!("on_free")
        }

        fn on_done(&mut self, _: &Timing) {
            panic!("on_done")
        }

        fn start(&mut self, _: Instant) {
            panic!("start")
        }
    }

    #[test]
    fn a_panic_means_send_now() {
        let now = Instant::now();
        let mut gauge = Gauge::new(Box::new(Hostile), 10, now);
        let job = gauge.arrival(1, || now);
        assert_eq!(gauge.on_job(&job), Decision::AddAndSend(Trigger::Size));
        assert_eq!(gauge.joined(&job, Decision::Add), None);
        gauge.opened(|| now);
        assert_eq!(gauge.due(), Some(now));
        gauge.set_idle(true);
        assert!(gauge.leaves_when_free());
        gauge.on_done(&Timing::default());
        assert_eq!((gauge.take_panics(), gauge.take_panics()), (5, 0));
    }

    #[test]
    fn max_size_caps_every_policy() {
        let mut gauge = Gauge::new(Box::new(SizeOrInterval::new(100, None)), 2, Instant::now());
        let job = gauge.arrival(0, Instant::now);
        assert_eq!(gauge.joined(&job, Decision::Add), None);
        assert_eq!(gauge.joined(&job, Decision::Add), Some(Trigger::Size));
    }

    #[test]
    fn the_clock_is_left_alone_unless_the_policy_reads_it() {
        let gauge = Gauge::new(Box::new(SizeOrInterval::new(100, None)), 2, Instant::now());
        assert_eq!(gauge.arrival(0, || panic!("the clock was read")).at, None);
    }

    #[test]
    fn what_has_left_is_forgotten_but_not_whether_a_worker_is_free() {
        let now = Instant::now();
        let mut gauge = Gauge::new(Box::new(SizeOrInterval::new(100, None)), 10, now);
        gauge.set_idle(true);
        let job = gauge.arrival(3, || now);
        gauge.joined(&job, Decision::Add);
        gauge.opened(|| now);
        assert_eq!(gauge.left(), Some(now));
        assert_eq!(gauge.open, OpenBatch { idle: true, ..OpenBatch::default() });
    }
}
