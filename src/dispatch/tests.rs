//! The state machine, told what happens and asked what to do: who gets which batch when, and that every job ends once.

use std::sync::Arc;

use super::*;
use crate::{
    batch::{Blocks, JobResults, Metadata, Replies, SlotRef},
    job::JobId,
};

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
        self.ready_until(jobs, None);
    }

    /// The same; the last one has a deadline.
    fn ready_until(&mut self, jobs: usize, deadline: Option<Instant>) {
        let mut replies = Replies::default();
        let first = self.slots.len() as u64;
        for _ in 0..jobs {
            let (block, at) = self.blocks.take_slot();
            let block = Arc::clone(block);
            replies.push_slot(&block, at);
            self.slots.push(SlotRef::new(block, at));
        }
        let mut metadata = Box::new(Metadata::default());
        metadata.deadline = deadline;
        replies.push_metadata(JobId(self.slots.len() as u64 - 1), metadata);
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
                Order::Settle { replies, results, jobs, history } => {
                    assert!(jobs.len() == replies.len() || jobs.is_empty());
                    let numbers: Vec<_> = jobs.iter().map(|job| job.0).collect();
                    let what = match results.whole_failure() {
                        Some(error) => format!("{error:?}"),
                        None => "answered".to_owned(),
                    };
                    format!("{} {numbers:?} {what} after {}", replies.len(), history.attempts)
                }
                Order::Cancel { worker, .. } => format!("cancel {}", worker.seat),
                Order::GiveUp { worker } => format!("give up {}", worker.seat),
                _ => "news".to_owned(),
            });
        }
        orders
    }

    /// The worker that has had its batch longest ends so, and is free again unless it is gone.
    fn ends(&mut self, fate: impl FnOnce(usize) -> AttemptEnd<Number>) {
        let (worker, flight, batch) = self.sent.remove(0);
        let fate = fate(batch.len());
        if !matches!(fate, AttemptEnd::Lost) {
            self.dispatch.worker_free(worker);
        }
        assert!(self.dispatch.landed(flight, fate, batch, self.now).is_some());
    }
}

fn answered(jobs: usize) -> AttemptEnd<Number> {
    AttemptEnd::Answered(crate::Outcomes::all(1).results(jobs))
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
fn a_probe_that_times_out_and_then_comes_back_unstarted_makes_room_for_one_probe() {
    let second = Duration::from_secs(1);
    let breaker = Some(Breaker::consecutive(1).open_for(second).probes(1));
    let rules = Rules { breaker, split_poison: true, timeout: Some(second), ..Rules::default() };
    let mut bench = Bench::with_rules(1, rules);
    bench.ready(1);
    bench.orders();
    bench.ends(|_| AttemptEnd::Panicked);
    bench.now += second;
    bench.ready(2);
    assert!(bench.orders().contains(&"[1, 2] to 0".to_owned()), "the probe");
    bench.now += second;
    assert!(bench.orders().contains(&"cancel 0".to_owned()), "the probe timed out");
    let (_, flight, batch) = bench.sent.remove(0);
    bench.dispatch.returned(flight, batch);
    bench.ready(1);
    (1..=2).for_each(|seat| bench.dispatch.worker_free(worker(seat)));
    assert_eq!(bench.orders(), ["[1, 2] to 1"], "one probe at a time");
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
    let ends: [(AttemptEnd<Number>, &str); 4] = [
        (answered(2), "2 [0, 1] answered after 1"),
        (AttemptEnd::Panicked, "2 [0, 1] Panicked after 1"),
        (AttemptEnd::Lost, "2 [0, 1] Lost after 1"),
        (AttemptEnd::Cancelled, "2 [0, 1] TimedOut after 1"),
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
    bench.dispatch.refuse(Some(JobError::NoWorkers));
    assert_eq!(bench.orders(), ["1 [1] NoWorkers after 0", "1 [2] NoWorkers after 0"]);
    bench.ends(answered);
    bench.dispatch.refuse(None);
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
    bench.dispatch.abort(&JobError::ShutDown, &JobError::Lost, bench.now);
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
fn halves_of_a_batch_that_was_too_large_have_been_sent() {
    let mut bench = Bench::new(1);
    bench.ready(2);
    bench.orders();
    bench.ends(|jobs| AttemptEnd::Answered(crate::Outcomes::too_large().results(jobs)));
    bench.dispatch.pause(true);
    assert_eq!(bench.orders(), ["news"]);
    bench.dispatch.abort(&JobError::ShutDown, &JobError::Lost, bench.now);
    assert_eq!(bench.orders(), ["1 [0] ShutDown after 1", "1 [1] ShutDown after 1"]);
}

#[test]
fn of_retries_that_are_due_at_one_time_the_first_that_failed_goes_first() {
    let retry = Retry::fixed(MILLISECOND * 10);
    let mut bench = Bench::with_rules(3, Rules { retry: Some(retry), ..Rules::default() });
    (0..3).for_each(|_| bench.ready(1));
    bench.orders();
    bench.sent.swap(0, 1);
    let failed = |jobs| AttemptEnd::Answered(JobResults::whole(JobError::Failed(Arc::new("down".to_owned())), jobs));
    (0..2).for_each(|_| bench.ends(failed));
    bench.now += MILLISECOND;
    bench.ends(failed);
    bench.orders();
    bench.ready(1);
    bench.now += MILLISECOND * 10;
    assert_eq!(bench.dispatch.due(), Some(bench.now - MILLISECOND));
    bench.dispatch.worker_free(worker(9));
    let sent: Vec<_> = bench.orders().into_iter().filter(|order| order != "news").collect();
    assert_eq!(sent, ["[1] to 1", "[0] to 0", "[2] to 2", "[3] to 9"]);
}

#[test]
fn jobs_that_are_wanted_back_are_awaited_after_their_time_out() {
    for (keeps_failed, expected) in [(false, "1 [] TimedOut after 1"), (true, "1 [0] TimedOut after 1")] {
        let rules = Rules { timeout: Some(MILLISECOND), keeps_failed, ..Rules::default() };
        let mut bench = Bench::with_rules(1, rules);
        bench.ready(1);
        bench.orders();
        bench.now += MILLISECOND;
        let mut said = bench.orders();
        let (worker, flight, batch) = bench.sent.remove(0);
        bench.dispatch.worker_unable(worker);
        assert_eq!(bench.dispatch.landed(flight, AttemptEnd::Cancelled, batch, bench.now).is_some(), keeps_failed);
        said.extend(bench.orders());
        assert_eq!(said, ["cancel 0", "news", expected]);
        assert_eq!(bench.dispatch.due(), None);
    }
}

/// Whether a batch would leave at once, and when to look again.
fn outlook(bench: &mut Bench) -> (bool, Option<Duration>) {
    bench.orders();
    (bench.dispatch.is_open(bench.now), bench.dispatch.due().map(|due| due - bench.now))
}

#[test]
fn while_a_gate_holds_what_comes_no_batch_is_asked_for() {
    let second = Duration::from_secs(1);
    let rate = RateLimit::batches_per_second(10.0);
    let mut bench = Bench::with_rules(2, Rules { rate_limit: Some(rate), ..Rules::default() });
    assert_eq!(outlook(&mut bench), (true, None));
    bench.ready(1);
    assert_eq!(outlook(&mut bench), (false, Some(second / 10)));
    bench.now += second / 10;
    assert_eq!(outlook(&mut bench), (true, None));

    let broken = |breaker: Breaker<String>| {
        let breaker = Some(breaker.open_for(second));
        let mut bench = Bench::with_rules(1, Rules { breaker, ..Rules::default() });
        bench.ready(1);
        bench.orders();
        bench.ends(|_| AttemptEnd::Panicked);
        bench
    };
    let mut bench = broken(Breaker::consecutive(1));
    assert_eq!(outlook(&mut bench), (false, Some(second)));
    bench.now += second;
    assert_eq!(outlook(&mut bench), (true, None));
    let mut bench = broken(Breaker::consecutive(1).reject_when_open(true));
    assert_eq!(outlook(&mut bench), (true, None), "what is rejected need not wait for that");
}

#[test]
fn a_gate_that_is_closed_asks_for_no_workers() {
    let breaker = Breaker::consecutive(1).open_for(Duration::from_secs(1));
    let mut bench = Bench::with_rules(1, Rules { breaker: Some(breaker), ..Rules::default() });
    (0..2).for_each(|_| bench.ready(1));
    bench.orders();
    assert!(bench.dispatch.wants_workers(bench.now));
    bench.ends(|_| AttemptEnd::Lost);
    bench.orders();
    assert!(!bench.dispatch.wants_workers(bench.now));
    bench.now += Duration::from_secs(1);
    assert!(bench.dispatch.wants_workers(bench.now));
}

#[test]
fn a_ready_batch_and_a_free_worker_are_never_idle_together() {
    let mut bench = Bench::new(0);
    assert!(!bench.dispatch.is_idle() && !bench.dispatch.wants_workers(bench.now));
    bench.ready(1);
    assert!(bench.dispatch.wants_workers(bench.now));
    bench.dispatch.worker_free(worker(0));
    assert!(!bench.dispatch.is_idle() && !bench.dispatch.wants_workers(bench.now));
    bench.orders();
    bench.ends(answered);
    bench.orders();
    assert!(bench.dispatch.is_idle());
}

#[test]
fn deadlines_of_jobs_that_have_gone_do_not_pile_up() {
    let mut bench = Bench::new(1_000);
    let deadline = Some(bench.now + Duration::from_secs(3_600));
    for _ in 0..1_000 {
        bench.ready_until(1, deadline);
        assert_eq!(bench.orders().len(), 1);
    }
    assert!(
        bench.dispatch.deadlines.len() <= 100,
        "{} deadlines of jobs that were sent",
        bench.dispatch.deadlines.len()
    );
    bench.ready_until(2, deadline);
    assert_eq!(bench.dispatch.due(), deadline);
    bench.now += Duration::from_secs(3_600);
    assert_eq!(bench.orders(), ["1 [1001] Expired after 0"]);
}

#[test]
fn a_deadline_wakes_nobody_once_its_job_has_been_sent() {
    let mut bench = Bench::new(1);
    let deadline = bench.now + MILLISECOND * 500;
    bench.ready_until(1, Some(deadline));
    assert_eq!(bench.dispatch.due(), Some(deadline));
    assert_eq!(bench.orders(), ["[0] to 0"]);
    assert_eq!(bench.dispatch.due(), None);
}

/// Prefetches the next batch for the only worker, which then goes on with it.
fn go_on(bench: &mut Bench) {
    let Prefetch { flight, batch, .. } = bench.dispatch.prefetch(worker(0), bench.now).unwrap();
    bench.now += MILLISECOND;
    bench.dispatch.begun(bench.now);
    bench.sent.push((worker(0), flight, batch));
    let (_, before, batch) = bench.sent.remove(0);
    bench.dispatch.landed(before, answered(1), batch, bench.now).unwrap();
}

#[test]
fn the_prefetched_batch_is_the_next_to_leave_whether_it_was_begun_or_not() {
    let mut bench = Bench::new(1);
    (0..3).for_each(|_| bench.ready(1));
    assert_eq!(bench.orders(), ["[0] to 0"]);
    let prefetch = bench.dispatch.prefetch(worker(0), bench.now).unwrap();
    assert_eq!(prefetch.batch[0].0, 1);
    bench.dispatch.put_back(prefetch.batch);
    assert_eq!((bench.dispatch.ready(), bench.dispatch.in_flight()), (2, 1));

    go_on(&mut bench);
    assert_eq!((bench.dispatch.ready(), bench.dispatch.in_flight()), (1, 1));
    assert_eq!(bench.orders(), ["1 [0] answered after 1"], "and the worker has something to do");
    let (_, second, batch) = bench.sent.remove(0);
    bench.dispatch.worker_free(worker(0));
    let landed = bench.dispatch.landed(second, answered(1), batch, bench.now).unwrap();
    assert_eq!((landed.waited, landed.took), (MILLISECOND, Duration::ZERO), "it was under way since it was begun");
    assert_eq!(bench.orders(), ["1 [1] answered after 1", "[2] to 0"]);
}

#[test]
fn the_time_out_of_a_prefetched_batch_counts_from_its_begin() {
    let timeout = MILLISECOND * 2;
    let mut bench = Bench::with_rules(1, Rules { timeout: Some(timeout), ..Rules::default() });
    (0..2).for_each(|_| bench.ready(1));
    assert_eq!(bench.orders(), ["[0] to 0"]);
    go_on(&mut bench);
    bench.orders();
    bench.now += MILLISECOND;
    assert_eq!(bench.orders(), [""; 0]);
    assert_eq!(bench.dispatch.due(), Some(bench.now + MILLISECOND));
}

#[test]
fn nothing_is_prefetched_that_a_gate_a_deadline_a_retry_or_the_worker_itself_could_change() {
    let prefetches = |rules: Rules<String>, change: fn(&mut Bench)| {
        let mut bench = Bench::with_rules(1, rules);
        (0..2).for_each(|_| bench.ready(1));
        assert_eq!(bench.orders(), ["[0] to 0"]);
        change(&mut bench);
        bench.orders();
        assert!(bench.dispatch.ready() > 0 && bench.dispatch.in_flight() == 1);
        bench.dispatch.prefetch(worker(0), bench.now).is_some()
    };
    let breaker = || Breaker::consecutive(1);
    assert!(prefetches(Rules::default(), |_| {}));
    assert!(prefetches(Rules { breaker: Some(breaker()), max_in_flight: Some(2), ..Rules::default() }, |_| {}));
    assert!(!prefetches(Rules { max_in_flight: Some(1), ..Rules::default() }, |_| {}));
    assert!(!prefetches(Rules { rate_limit: Some(RateLimit::jobs_per_second(1e6)), ..Rules::default() }, |_| {}));
    assert!(!prefetches(Rules { breaker: Some(breaker().slow(MILLISECOND)), ..Rules::default() }, |_| {}));
    assert!(!prefetches(Rules::default(), |bench| bench.dispatch.pause(true)));

    let half_open = Rules { breaker: Some(breaker().open_for(MILLISECOND).probes(2)), ..Rules::default() };
    let fails_and_next_leaves = |bench: &mut Bench| {
        bench.ends(|jobs| AttemptEnd::Answered(JobResults::whole(JobError::Failed(Arc::new("no".to_owned())), jobs)));
        bench.orders();
        bench.now += MILLISECOND;
        bench.ready(1);
    };
    assert!(!prefetches(half_open, fails_and_next_leaves), "the probe decides about the next batch");
    let retries = |delay| Rules { retry: Some(Retry::fixed(delay)), ..Rules::default() };
    assert!(!prefetches(retries(MILLISECOND), fails_and_next_leaves), "a retry has a time limit");
    assert!(!prefetches(retries(MILLISECOND * 2), fails_and_next_leaves), "a retry that becomes due goes first");
    let overdue = Rules { timeout: Some(MILLISECOND), split_poison: true, ..Rules::default() };
    assert!(!prefetches(overdue, |bench| bench.now += MILLISECOND), "the worker was told to stop");

    let mut bench = Bench::new(1);
    bench.ready(1);
    bench.ready_until(1, Some(bench.now + MILLISECOND));
    assert_eq!(bench.orders(), ["[0] to 0"]);
    assert!(bench.dispatch.prefetch(worker(0), bench.now).is_none(), "its job may come too late");
}

#[test]
fn nothing_is_prefetched_for_a_worker_that_has_no_batch() {
    let mut bench = Bench::new(1);
    (0..2).for_each(|_| bench.ready(1));
    assert_eq!(bench.orders(), ["[0] to 0"]);
    let successor = WorkerId { seat: 0, generation: 1 };
    assert!(bench.dispatch.prefetch(successor, bench.now).is_none(), "the batch is with the worker before it");
}
