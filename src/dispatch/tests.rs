//! The state machine, told what happens and asked what to do: who gets which batch when, and that every job ends once.

use super::*;
use crate::{batch::Blocks, batch::SlotRef};

#[derive(Debug)]
struct Number(u64);

impl Job for Number {
    type Output = u64;
    type Error = String;
}

/// A dispatch, and the slots of the jobs that went into it.
struct Bench {
    dispatch: Dispatch<Number>,
    blocks: Blocks<Number>,
    slots: Vec<SlotRef<Number>>,
    /// Batches that workers have.
    sent: Vec<(WorkerId, FlightId, Batch<Number>)>,
    now: Instant,
}

fn worker(seat: usize) -> WorkerId {
    WorkerId { seat, generation: 0 }
}

impl Bench {
    fn new(workers: usize) -> Self {
        Self::with_rules(workers, Rules::default())
    }

    fn with_rules(workers: usize, rules: Rules<String>) -> Self {
        let mut dispatch = Dispatch::new(rules);
        (0..workers).for_each(|seat| dispatch.worker_free(worker(seat)));
        let (blocks, now) = (Blocks::default(), Instant::now());
        Self { dispatch, blocks, slots: Vec::new(), sent: Vec::new(), now }
    }

    /// So many jobs leave the intake as a batch.
    fn ready(&mut self, jobs: usize) {
        let mut replies = Replies::default();
        let first = self.slots.len() as u64;
        for _ in 0..jobs {
            let (block, at) = self.blocks.take_slot();
            let block = Arc::clone(block);
            replies.push_slot(&block, at);
            self.slots.push(SlotRef::new(block, at));
        }
        let jobs = (first..first + jobs as u64).map(Number).collect();
        self.dispatch.batch_ready(Sealed {
            jobs,
            replies,
            trigger: Trigger::Size,
            opened_at: self.now,
            priority: Priority::Normal,
        });
    }

    /// Everything that is to be done now, in words.
    fn orders(&mut self) -> Vec<String> {
        let mut orders = Vec::new();
        while let Some(order) = self.dispatch.next(self.now) {
            orders.push(match order {
                Order::Send { worker, flight, batch, .. } => {
                    let numbers: Vec<_> = batch.iter().map(|job| job.0).collect();
                    self.sent.push((worker, flight, batch));
                    format!("{numbers:?} to {}", worker.seat)
                }
                Order::Settle { replies, verdict, jobs, past } => {
                    assert!(jobs.len() == replies.len() || jobs.is_empty());
                    let numbers: Vec<_> = jobs.iter().map(|job| job.0).collect();
                    let what = match verdict.whole_failure() {
                        Some(error) => format!("{error:?}"),
                        None => "answered".to_owned(),
                    };
                    format!("{} {numbers:?} {what} after {}", replies.len(), past.attempts)
                }
                Order::Cancel { worker, .. } => format!("cancel {}", worker.seat),
                Order::GiveUp { worker } => format!("give up {}", worker.seat),
                _ => "news".to_owned(),
            });
        }
        orders
    }

    /// The worker that has had its batch longest ends so, and is free again unless it is gone.
    fn ends(&mut self, fate: impl FnOnce(usize) -> Fate<Number>) {
        let (worker, flight, batch) = self.sent.remove(0);
        let fate = fate(batch.len());
        if !matches!(fate, Fate::Lost) {
            self.dispatch.worker_free(worker);
        }
        assert!(self.dispatch.landed(flight, fate, batch, self.now).is_some());
    }
}

fn answered(jobs: usize) -> Fate<Number> {
    Fate::Answered(crate::Outcomes::all(1).verdict(jobs))
}

#[test]
fn ready_batches_leave_in_order_to_the_worker_that_has_been_free_longest() {
    let mut bench = Bench::new(2);
    (0..4).for_each(|_| bench.ready(1));
    assert_eq!(bench.orders(), ["[0] to 0", "[1] to 1"]);
    bench.sent.swap(0, 1);
    bench.ends(answered);
    assert_eq!(bench.orders(), ["1 [1] answered after 1", "[2] to 1"]);
    bench.ends(answered);
    assert_eq!(bench.orders(), ["1 [0] answered after 1", "[3] to 0"]);
    assert_eq!((bench.dispatch.ready(), bench.dispatch.in_flight()), (0, 2));
}

#[test]
fn nothing_leaves_while_paused_and_all_of_it_after() {
    let mut bench = Bench::new(1);
    bench.dispatch.pause(true);
    bench.ready(2);
    assert!(bench.orders().is_empty());
    bench.dispatch.pause(false);
    assert_eq!(bench.orders(), ["[0, 1] to 0"]);
}

#[test]
fn a_drain_overrides_a_pause_that_came_before_and_one_that_comes_after() {
    let mut bench = Bench::new(1);
    bench.dispatch.pause(true);
    bench.ready(1);
    bench.dispatch.drain();
    bench.dispatch.pause(true);
    assert_eq!(bench.orders(), ["[0] to 0"]);
    assert!(!bench.dispatch.is_paused());
}

#[test]
fn a_batch_that_comes_back_unstarted_is_the_next_to_leave_and_has_spent_nothing() {
    let mut bench = Bench::new(1);
    (0..2).for_each(|_| bench.ready(1));
    assert_eq!(bench.orders(), ["[0] to 0"]);
    let (_, flight, batch) = bench.sent.remove(0);
    bench.dispatch.returned(flight, batch);
    assert_eq!(bench.dispatch.in_flight(), 0);
    bench.dispatch.worker_free(worker(7));
    assert_eq!(bench.orders(), ["[0] to 7"]);
    assert_eq!(bench.sent[0].2.attempt(), 1);
}

#[test]
fn a_flight_ends_once_and_what_comes_later_finds_nothing() {
    let mut bench = Bench::new(1);
    bench.ready(1);
    bench.orders();
    let (_, flight, _) = bench.sent[0];
    bench.ends(answered);
    assert_eq!(bench.orders().len(), 1);
    assert!(bench.dispatch.landed(flight, answered(1), Batch::from(vec![Number(0)]), bench.now).is_none());
    bench.dispatch.returned(flight, Batch::from(vec![Number(0)]));
    assert!(bench.orders().is_empty());
    assert_eq!(bench.dispatch.ready(), 0);
}

#[test]
fn however_a_flight_ends_its_jobs_are_settled_with_that() {
    let ends: [(Fate<Number>, &str); 4] = [
        (answered(2), "2 [0, 1] answered after 1"),
        (Fate::Panicked, "2 [0, 1] Panicked after 1"),
        (Fate::Lost, "2 [0, 1] Lost after 1"),
        (Fate::Cancelled, "2 [0, 1] TimedOut after 1"),
    ];
    for (fate, expected) in ends {
        let mut bench = Bench::new(1);
        bench.ready(2);
        bench.orders();
        bench.ends(|_| fate);
        assert_eq!(bench.orders(), [expected]);
    }
}

#[test]
fn abandoned_jobs_are_taken_out_when_a_worker_is_free_for_the_others() {
    let mut bench = Bench::new(0);
    bench.ready(3);
    bench.slots[1].abandon();
    assert!(bench.orders().is_empty(), "whoever goes while they wait is skipped too");
    bench.slots[2].abandon();
    bench.dispatch.worker_free(worker(0));
    assert_eq!(bench.orders(), ["2 [1, 2] Abandoned after 0", "[0] to 0"]);
}

#[test]
fn a_batch_without_callers_takes_no_worker() {
    let mut bench = Bench::new(1);
    (0..2).for_each(|_| bench.ready(2));
    bench.slots[..2].iter().for_each(SlotRef::abandon);
    assert_eq!(bench.orders(), ["2 [0, 1] Abandoned after 0", "[2, 3] to 0"]);
}

#[test]
fn while_it_refuses_ready_batches_fail_and_those_in_flight_go_on() {
    let mut bench = Bench::new(1);
    (0..3).for_each(|_| bench.ready(1));
    assert_eq!(bench.orders(), ["[0] to 0"]);
    bench.dispatch.refuse(true);
    assert_eq!(bench.orders(), ["1 [1] NoWorkers after 0", "1 [2] NoWorkers after 0"]);
    bench.ends(answered);
    bench.dispatch.refuse(false);
    bench.ready(1);
    assert_eq!(bench.orders(), ["1 [0] answered after 1", "[3] to 0"]);
}

#[test]
fn a_worker_that_is_unable_gets_nothing() {
    let mut bench = Bench::new(2);
    bench.dispatch.worker_unable(worker(0));
    (0..2).for_each(|_| bench.ready(1));
    assert_eq!(bench.orders(), ["[0] to 1"]);
}

#[test]
fn no_more_batches_than_allowed_are_with_workers() {
    let mut bench = Bench::with_rules(3, Rules { max_in_flight: Some(2), ..Rules::default() });
    (0..4).for_each(|_| bench.ready(1));
    assert_eq!(bench.orders(), ["[0] to 0", "[1] to 1"]);
    bench.ends(answered);
    assert_eq!(bench.orders(), ["1 [0] answered after 1", "[2] to 2"]);
    bench.dispatch.limit_in_flight(0);
    bench.ends(answered);
    assert_eq!(bench.orders(), ["1 [1] answered after 1"]);
    bench.dispatch.drain();
    bench.ends(answered);
    assert_eq!(bench.orders(), ["1 [2] answered after 1", "[3] to 0"], "a drain lets one through at least");
}

#[test]
fn an_abort_settles_everything_and_tells_the_workers_to_stop() {
    let mut bench = Bench::new(1);
    (0..2).for_each(|_| bench.ready(2));
    bench.orders();
    let ended = bench.dispatch.abort(&JobError::ShutDown, &JobError::Lost, bench.now);
    assert_eq!(ended, 4);
    // The jobs of a flight are with the worker; only their replies are here.
    assert_eq!(bench.orders(), ["2 [2, 3] ShutDown after 0", "cancel 0", "2 [] Lost after 1"]);
    assert_eq!((bench.dispatch.ready(), bench.dispatch.in_flight()), (0, 0));
}

#[test]
fn a_worker_that_does_not_stop_when_told_is_given_up() {
    let mut bench = Bench::new(2);
    (0..2).for_each(|_| bench.ready(1));
    bench.orders();
    bench.dispatch.abort(&JobError::ShutDown, &JobError::ShutDown, bench.now);
    bench.orders();
    assert_eq!(bench.dispatch.due(), Some(bench.now + GRACE));
    bench.dispatch.worker_free(worker(0));
    bench.now += GRACE;
    assert_eq!(bench.orders(), ["give up 1"], "the other has stopped");
    assert_eq!(bench.dispatch.due(), None);
}

#[test]
fn a_ready_batch_and_a_free_worker_are_never_idle_together() {
    let mut bench = Bench::new(0);
    assert!(!bench.dispatch.is_idle() && !bench.dispatch.wants_workers());
    bench.ready(1);
    assert!(bench.dispatch.wants_workers());
    bench.dispatch.worker_free(worker(0));
    assert!(!bench.dispatch.is_idle() && !bench.dispatch.wants_workers());
    bench.orders();
    bench.ends(answered);
    bench.orders();
    assert!(bench.dispatch.is_idle());
}
