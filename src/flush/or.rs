//! Whichever comes first.

use tokio::time::Instant;

use super::{Arrival, Decision, FlushPolicy, OnFree, OpenBatch, Timing};

/// Two policies, of which the one sends that sends first; made by [`FlushPolicy::or`]. Where only one of them wants the batch
/// to leave before the arriving job, it does.
///
/// ```
/// use std::time::Duration;
///
/// use actix_batch::flush::{FixedInterval, FlushPolicy, Idle, OnFree, OpenBatch};
///
/// // A free worker takes what is there; what waits for one is cut every second.
/// let mut policy = Idle.or(FixedInterval::new(Duration::from_secs(1)));
/// assert_eq!(policy.on_free(&OpenBatch::default()), OnFree::Send);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Or<A, B> {
    a: A,
    b: B,
}

impl<A, B> Or<A, B> {
    pub(super) fn new(a: A, b: B) -> Self {
        Self { a, b }
    }
}

// Both are told everything, whatever the other one says: a policy may count.
impl<A: FlushPolicy, B: FlushPolicy> FlushPolicy for Or<A, B> {
    fn on_job(&mut self, open: &OpenBatch, job: &Arrival) -> Decision {
        match (self.a.on_job(open, job), self.b.on_job(open, job)) {
            (first @ Decision::SendThenAdd(_), _) | (_, first @ Decision::SendThenAdd(_)) => first,
            (Decision::Add, decision) | (decision, _) => decision,
        }
    }

    fn due(&self, open: &OpenBatch) -> Option<Instant> {
        [self.a.due(open), self.b.due(open)].into_iter().flatten().min()
    }

    fn on_free(&mut self, open: &OpenBatch) -> OnFree {
        match (self.a.on_free(open), self.b.on_free(open)) {
            (OnFree::Wait, OnFree::Wait) => OnFree::Wait,
            _ => OnFree::Send,
        }
    }

    fn on_done(&mut self, timing: &Timing) {
        self.a.on_done(timing);
        self.b.on_done(timing);
    }

    fn start(&mut self, now: Instant) {
        self.a.start(now);
        self.b.start(now);
    }

    fn reads_clock(&self) -> bool {
        self.a.reads_clock() || self.b.reads_clock()
    }

    fn reads_weight(&self) -> bool {
        self.a.reads_weight() || self.b.reads_weight()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        batch::Trigger,
        flush::{Debounce, FixedInterval, Idle, SizeOrInterval, Weight},
    };

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn whichever_sends_first_sends() {
        let mut policy = SizeOrInterval::new(3, None).or(Weight::new(10));
        let mut decide = |jobs, weight, arriving| {
            let open = OpenBatch { jobs, weight, ..OpenBatch::default() };
            policy.on_job(&open, &Arrival { weight: arriving, ..Arrival::default() })
        };
        assert_eq!(decide(1, 1, 1), Decision::Add);
        assert_eq!(decide(2, 1, 1), Decision::AddAndSend(Trigger::Size));
        assert_eq!(decide(1, 1, 9), Decision::AddAndSend(Trigger::Weight));
        assert_eq!(decide(2, 1, 10), Decision::SendThenAdd(Trigger::Weight));
    }

    #[test]
    fn the_earlier_time_counts() {
        let now = Instant::now();
        let open = OpenBatch { jobs: 1, opened_at: Some(now), last_at: Some(now), ..OpenBatch::default() };
        let quiet = Debounce::new(ms(3));
        assert_eq!(SizeOrInterval::new(9, Some(ms(5))).or(quiet).due(&open), Some(now + ms(3)));
        assert_eq!(quiet.or(SizeOrInterval::new(9, Some(ms(2)))).due(&open), Some(now + ms(2)));
        assert_eq!(Idle.or(SizeOrInterval::new(9, None)).due(&open), None);
    }

    #[test]
    fn both_are_started_and_what_one_needs_both_have() {
        let start = Instant::now();
        let mut policy = FixedInterval::new(ms(10)).or(FixedInterval::new(ms(4)));
        policy.start(start);
        let open = OpenBatch { jobs: 1, opened_at: Some(start + ms(9)), ..OpenBatch::default() };
        assert_eq!(policy.due(&open), Some(start + ms(10)));
        assert!(Idle.or(Debounce::new(ms(1))).reads_clock() && Weight::new(1).or(Idle).reads_weight());
        assert!(!Idle.or(Weight::new(1)).reads_clock() && !Debounce::new(ms(1)).or(Idle).reads_weight());
    }
}
