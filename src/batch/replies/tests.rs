//! Each reply reaches its own slot or requester exactly once, however replies are divided, dropped or reused.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    task::{Context, Poll, Wake, Waker},
};

use tokio::sync::oneshot;

use super::*;
use crate::batch::{Blocks, SlotRef};

#[derive(Debug)]
struct Number;

impl Job for Number {
    type Output = u64;
    type Error = String;
}

type Requested = oneshot::Receiver<JobResult<Number>>;

/// Slots of consecutive jobs, and the replies that cover them.
struct Bench {
    blocks: Blocks<Number>,
    replies: Replies<Number>,
    slots: Vec<SlotRef<Number>>,
    requests: Vec<Requested>,
}

impl Bench {
    fn new() -> Self {
        Self { blocks: Blocks::default(), replies: Replies::default(), slots: Vec::new(), requests: Vec::new() }
    }

    fn with_slots(slots: usize) -> Self {
        let mut bench = Self::new();
        (0..slots).for_each(|_| bench.push_slot());
        bench
    }

    fn push_slot(&mut self) {
        let (block, at) = self.blocks.take_slot();
        let block = Arc::clone(block);
        self.replies.push_slot(&block, at);
        self.slots.push(SlotRef::new(block, at));
    }

    fn push_request(&mut self) {
        let (block, at) = self.blocks.take_slot();
        let job = block.id(at);
        let (sender, receiver) = oneshot::channel();
        self.replies.push_requester(job, Some(sender));
        self.requests.push(receiver);
    }

    /// The replies in the slots so far, in order.
    fn polled(&self) -> Vec<Option<JobResult<Number>>> {
        self.slots.iter().map(poll).collect()
    }
}

fn poll(slot: &SlotRef<Number>) -> Option<JobResult<Number>> {
    match slot.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(reply) => Some(reply),
        Poll::Pending => None,
    }
}

/// Answers 0, 1, 2, … in the order of the replies.
fn count_up(replies: Replies<Number>) -> Tally {
    let (mut tally, mut deliveries) = (Tally::default(), Deliveries::default());
    replies.settle((0..).map(Ok), &mut tally, &mut deliveries);
    deliveries.deliver();
    tally
}

fn outputs(replies: Vec<Option<JobResult<Number>>>) -> Vec<u64> {
    replies.into_iter().map(|reply| reply.unwrap().unwrap()).collect()
}

#[test]
fn neighbours_share_a_run_and_a_gap_begins_another() {
    let mut bench = Bench::with_slots(3);
    assert_eq!(bench.replies.runs.len(), 1);
    bench.blocks.take_slot();
    bench.push_slot();
    assert_eq!((bench.replies.runs.len(), bench.replies.len()), (2, 4));
    bench.push_request();
    bench.push_request();
    assert_eq!((bench.replies.runs.len(), bench.replies.len()), (3, 6));
}

#[test]
fn slots_and_requesters_in_any_mixture_get_their_own_replies() {
    let mut bench = Bench::new();
    for place in 0..40 {
        if place % 3 == 0 { bench.push_request() } else { bench.push_slot() }
    }
    let tally = count_up(mem::take(&mut bench.replies));
    assert_eq!((tally.succeeded, tally.failed.total(), tally.forgotten), (40, 0, 0));
    let (requested, kept): (Vec<u64>, Vec<u64>) = (0..40).partition(|place| place % 3 == 0);
    assert_eq!(outputs(bench.polled()), kept);
    let requests: Vec<_> = bench.requests.iter_mut().map(|request| request.try_recv().unwrap().unwrap()).collect();
    assert_eq!(requests, requested);
}

#[test]
fn replies_over_several_blocks_reach_their_slots() {
    let mut bench = Bench::with_slots(3 * Block::<Number>::SLOTS as usize + 7);
    assert_eq!(bench.replies.runs.len(), 4);
    let jobs = bench.slots.len() as u64;
    assert!(bench.slots.iter().map(|slot| slot.id().get()).eq(0..jobs), "numbers go on from block to block");
    count_up(mem::take(&mut bench.replies));
    assert!(outputs(bench.polled()).into_iter().eq(0..jobs));
}

#[test]
fn replies_that_are_dropped_unsettled_are_lost() {
    let mut bench = Bench::with_slots(2);
    bench.push_request();
    drop(mem::take(&mut bench.replies));
    assert!(bench.polled().iter().all(|reply| matches!(reply, Some(Err(JobError::Lost)))));
    assert!(matches!(bench.requests[0].try_recv(), Ok(Err(JobError::Lost))));
}

#[test]
fn a_job_without_a_result_is_lost_and_counted_as_lost() {
    let mut bench = Bench::with_slots(3);
    let (mut tally, mut deliveries) = (Tally::default(), Deliveries::default());
    mem::take(&mut bench.replies).settle([Ok(7)].into_iter(), &mut tally, &mut deliveries);
    assert!(matches!(bench.polled()[..], [Some(Ok(7)), Some(Err(JobError::Lost)), Some(Err(JobError::Lost))]));
    assert_eq!((tally.succeeded, tally.failed.lost), (1, 2));
}

#[test]
fn partitioned_replies_keep_their_order_on_both_sides() {
    let mut bench = Bench::new();
    for place in 0..10 {
        if place % 2 == 0 { bench.push_request() } else { bench.push_slot() }
    }
    // Positions 0, 3, 6 and 9 are taken.
    let (taken, rest) = mem::take(&mut bench.replies).partition(|place| place % 3 == 0);
    assert_eq!((taken.len(), rest.len()), (4, 6));
    count_up(taken);
    count_up(rest);
    assert_eq!(outputs(bench.polled()), [0, 1, 3, 4, 3], "places 1, 3, 5, 7, 9");
    let requests: Vec<_> = bench.requests.iter_mut().map(|request| request.try_recv().unwrap().unwrap()).collect();
    assert_eq!(requests, [0, 1, 2, 2, 5], "places 0, 2, 4, 6, 8");
}

#[test]
fn replies_know_the_numbers_of_their_jobs_from_both_doors_and_when_divided() {
    let mut bench = Bench::with_slots(2);
    bench.push_request();
    // A job that left the wait queue used up a number.
    bench.blocks.take_slot();
    bench.push_request();
    bench.push_slot();
    let ids = |replies: &Replies<Number>| replies.ids().iter().map(JobId::get).collect::<Vec<_>>();
    assert_eq!(ids(&bench.replies), [0, 1, 2, 4, 5]);
    let (taken, rest) = mem::take(&mut bench.replies).partition(|place| place % 2 == 1);
    assert_eq!((ids(&taken), ids(&rest)), (vec![1, 4], vec![0, 2, 5]));
}

#[test]
fn only_jobs_whose_callers_have_gone_are_abandoned() {
    let mut bench = Bench::with_slots(3);
    bench.replies.push_requester(JobId(3), None);
    assert_eq!(bench.replies.abandoned(), None);
    bench.slots.remove(1).abandon();
    assert_eq!(
        bench.replies.abandoned(),
        Some(vec![false, true, false, false]),
        "a `do_send` has no caller that can go"
    );
    assert_eq!(Bench::with_slots(3).replies.abandoned(), None);
}

#[test]
fn a_reply_whose_caller_has_gone_is_dropped() {
    let mut bench = Bench::with_slots(2);
    bench.slots[0].abandon();
    count_up(mem::take(&mut bench.replies));
    assert_eq!(outputs(vec![poll(&bench.slots[1])]), [1]);
    assert!(poll(&bench.slots[0]).is_none(), "the slot is as new");
}

#[test]
fn a_slot_is_empty_after_its_reply_is_fetched_or_left_behind() {
    let mut bench = Bench::with_slots(2);
    count_up(mem::take(&mut bench.replies));
    assert!(matches!(poll(&bench.slots[0]), Some(Ok(0))));
    bench.slots[1].abandon();
    assert!(bench.polled().iter().all(Option::is_none), "both slots are as new");
}

#[test]
fn a_failed_job_sent_by_do_send_is_counted_separately() {
    let mut replies = Replies::<Number>::default();
    replies.push_requester(JobId(0), None);
    replies.push_requester(JobId(1), None);
    let (mut tally, mut deliveries) = (Tally::default(), Deliveries::default());
    let failed = Err(JobError::Failed(Arc::new("no".to_owned())));
    replies.settle([Ok(1), failed].into_iter(), &mut tally, &mut deliveries);
    assert_eq!((tally.succeeded, tally.failed.failed, tally.forgotten), (1, 1, 1));
}

/// A waker that counts how often it is woken.
#[derive(Default)]
struct Alarm(AtomicUsize);

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn only_the_waker_of_the_last_poll_is_woken_and_only_once() {
    let mut bench = Bench::with_slots(1);
    let alarms: [Arc<Alarm>; 2] = Default::default();
    for alarm in &alarms {
        let waker = Waker::from(Arc::clone(alarm));
        for _ in 0..2 {
            assert!(bench.slots[0].poll(&mut Context::from_waker(&waker)).is_pending());
        }
    }
    count_up(mem::take(&mut bench.replies));
    let woken = alarms.map(|alarm| alarm.0.load(Ordering::SeqCst));
    assert_eq!(woken, [0, 1]);
}

#[test]
fn a_free_block_is_used_again_with_the_next_numbers() {
    let mut bench = Bench::with_slots(2 * Block::<Number>::SLOTS as usize);
    let first = Arc::as_ptr(&bench.slots[0].block);
    count_up(mem::take(&mut bench.replies));
    bench.slots.clear();
    bench.push_slot();
    assert_eq!(Arc::as_ptr(&bench.slots[0].block), first);
    assert_eq!(bench.slots[0].id(), JobId(2 * u64::from(Block::<Number>::SLOTS)));
}

#[test]
fn a_block_that_is_still_held_is_not_used_again() {
    let mut bench = Bench::with_slots(2 * Block::<Number>::SLOTS as usize);
    count_up(mem::take(&mut bench.replies));
    let kept = bench.slots.swap_remove(5);
    bench.slots.clear();
    (0..5 * Block::<Number>::SLOTS).for_each(|_| bench.push_slot());
    assert!(bench.slots.iter().all(|slot| !Arc::ptr_eq(&slot.block, &kept.block)));
    assert!(matches!(poll(&kept), Some(Ok(5))));
}

#[test]
fn a_block_that_is_used_again_has_no_abandoned_slots() {
    let mut blocks = Blocks::<Number>::default();
    // As in the wait queue: the slots of callers that have gone are never settled.
    for _ in 0..2 * Block::<Number>::SLOTS {
        let (block, at) = blocks.take_slot();
        SlotRef::new(Arc::clone(block), at).abandon();
    }
    let mut bench = Bench { blocks, ..Bench::new() };
    (0..Block::<Number>::SLOTS).for_each(|_| bench.push_slot());
    assert_eq!(bench.replies.abandoned(), None);
    assert!(bench.polled().iter().all(Option::is_none));
}
