//! The open batch as its policy sees it, and the policy's answers, with what holds for any policy.
//!
//! Invariants:
//! - A panic in the policy ends here and means "send now".
//! - `max_size` caps every policy.
//! - The clock is read once per batch, unless the policy reads it for each job.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
};

use tokio::time::Instant;

use super::{Arrival, Decision, FlushPolicy, OnFree, OpenBatch, Timing};
use crate::{batch::Trigger, panics::discard};

pub(crate) struct PolicyState {
    open: OpenBatch,
    /// The job that came last.
    job: Arrival,
    policy: Box<dyn FlushPolicy>,
    max_size: usize,
    reads_clock: bool,
    /// Whether there is more to a job than that it comes: a weight, or a time.
    tells_apart: bool,
    panics: u64,
}

impl PolicyState {
    /// `weighs` says whether jobs have a weight.
    pub(crate) fn new(mut policy: Box<dyn FlushPolicy>, max_size: usize, weighs: bool, now: Instant) -> Self {
        let reads_clock = policy.reads_clock();
        let started = catch_unwind(AssertUnwindSafe(|| policy.start(now)));
        Self {
            open: OpenBatch::default(),
            job: Arrival::default(),
            policy,
            max_size,
            reads_clock,
            tells_apart: reads_clock || weighs,
            panics: started.map_or_else(|panic| (discard(panic), 1).1, |()| 0),
        }
    }

    /// A job of this weight comes.
    #[expect(clippy::inline_always, reason = "a call would cost every job a tenth of what it costs to submit")]
    #[inline(always)]
    pub(crate) fn on_job(&mut self, weight: u64, clock: impl FnOnce() -> Instant) -> Decision {
        if self.tells_apart {
            self.look_at(weight, clock);
        }
        self.ask()
    }

    /// The job that came last is to be asked about again, because another batch is open now.
    #[cold]
    pub(crate) fn on_same_job(&mut self) -> Decision {
        self.ask()
    }

    #[inline(never)]
    fn look_at(&mut self, weight: u64, clock: impl FnOnce() -> Instant) {
        self.job.weight = weight;
        if self.reads_clock {
            self.job.at = Some(clock());
        }
    }

    #[expect(clippy::inline_always, reason = "as `on_job`")]
    #[inline(always)]
    fn ask(&mut self) -> Decision {
        let answer = catch_unwind(AssertUnwindSafe(|| self.policy.on_job(&self.open, &self.job)));
        answer.unwrap_or_else(|panic| self.panicked(panic, Decision::AddAndSend(Trigger::Size)))
    }

    /// The job that came last has joined. Returns whether that was all: the batch neither begins nor leaves with it.
    #[inline]
    pub(crate) fn joined(&mut self, decision: Decision) -> bool {
        let begins = self.is_empty();
        self.open.jobs += 1;
        if self.tells_apart {
            self.open.weight = self.open.weight.saturating_add(self.job.weight);
            self.open.last_at = self.job.at;
        }
        !begins && decision == Decision::Add && self.open.jobs < self.max_size
    }

    /// Why the batch leaves with the job that has joined, if it does.
    pub(crate) fn leaves(&self, decision: Decision) -> Option<Trigger> {
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
        let last_at = self.open.last_at;
        self.open.opened_at.get_or_insert_with(|| last_at.unwrap_or_else(clock));
    }

    /// The job that is about to join has waited since then.
    pub(crate) fn waits_since(&mut self, accepted_at: Instant) {
        let opened_at = self.open.opened_at.map_or(accepted_at, |opened_at| opened_at.min(accepted_at));
        self.open.opened_at = Some(opened_at);
    }

    /// Since when the batch has been open, if it is not empty.
    pub(crate) fn opened_at(&self) -> Option<Instant> {
        self.open.opened_at
    }

    /// Another open batch is in hand. Whether a worker is free is the same for all.
    pub(crate) fn exchange(&mut self, other: &mut OpenBatch) {
        other.idle = self.open.idle;
        std::mem::swap(&mut self.open, other);
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
        answer.unwrap_or_else(|panic| self.panicked(panic, Some(opened_at)))
    }

    /// Whether a worker is free, with no batch waiting for it.
    pub(crate) fn set_idle(&mut self, idle: bool) {
        self.open.idle = idle;
    }

    /// Whether one is.
    pub(crate) fn is_idle(&self) -> bool {
        self.open.idle
    }

    /// Whether the batch leaves because a worker is free.
    pub(crate) fn leaves_when_free(&mut self) -> bool {
        if !self.open.idle || self.is_empty() {
            return false;
        }
        let answer = catch_unwind(AssertUnwindSafe(|| self.policy.on_free(&self.open)));
        answer.unwrap_or_else(|panic| self.panicked(panic, OnFree::Send)) == OnFree::Send
    }

    pub(crate) fn on_done(&mut self, timing: &Timing) {
        let heard = catch_unwind(AssertUnwindSafe(|| self.policy.on_done(timing)));
        heard.unwrap_or_else(|panic| self.panicked(panic, ()));
    }

    /// How often the policy has panicked since this was last asked.
    pub(crate) fn take_panics(&mut self) -> u64 {
        std::mem::take(&mut self.panics)
    }

    #[cold]
    fn panicked<T>(&mut self, panic: Box<dyn Any + Send>, meaning: T) -> T {
        discard(panic);
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
        let mut policy = PolicyState::new(Box::new(Hostile), 10, true, now);
        assert_eq!(policy.on_job(1, || now), Decision::AddAndSend(Trigger::Size));
        policy.joined(Decision::Add);
        policy.opened(|| now);
        assert_eq!(policy.due(), Some(now));
        policy.set_idle(true);
        assert!(policy.leaves_when_free());
        policy.on_done(&Timing::default());
        assert_eq!((policy.take_panics(), policy.take_panics()), (5, 0));
    }

    #[test]
    fn max_size_caps_every_policy() {
        let mut policy = PolicyState::new(Box::new(SizeOrInterval::new(100, None)), 3, false, Instant::now());
        let passed: Vec<_> = (0..3).map(|_| (policy.joined(Decision::Add), policy.leaves(Decision::Add))).collect();
        assert_eq!(passed, [(false, None), (true, None), (false, Some(Trigger::Size))]);
    }

    #[test]
    fn the_clock_is_left_alone_unless_the_policy_reads_it() {
        let mut policy = PolicyState::new(Box::new(SizeOrInterval::new(100, None)), 2, true, Instant::now());
        assert_eq!(policy.on_job(0, || panic!("the clock was read")), Decision::Add);
    }

    #[test]
    fn what_has_left_is_forgotten_but_not_whether_a_worker_is_free() {
        let now = Instant::now();
        let mut policy = PolicyState::new(Box::new(SizeOrInterval::new(100, None)), 10, true, now);
        policy.set_idle(true);
        policy.on_job(3, || now);
        policy.joined(Decision::Add);
        policy.opened(|| now);
        assert_eq!(policy.left(), Some(now));
        assert_eq!(policy.open, OpenBatch { idle: true, ..OpenBatch::default() });
    }
}
