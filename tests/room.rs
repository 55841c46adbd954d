//! Bounds of the room by partition and by weight; and who gets room that becomes free.
#![cfg(feature = "test-util")]

use actix_batch::{prelude::*, test_util::Ledger};
use fastrand::Rng;
use futures_util::{FutureExt, future::join_all};
use tokio::time::{Instant, advance, sleep};

use self::support::{Desk, Slow, Tenfold, balanced, ms, paused, quiet};

mod support;

fn of(number: u64, priority: Priority) -> SubmitJob<Tenfold> {
    SubmitJob::new(Tenfold(number)).priority(priority)
}

#[test]
fn a_full_partition_leaves_room_for_the_others() {
    paused(async || {
        let (mut desk, factory) = Desk::new();
        let builder = Collector::builder(factory).partition_by(|job: &Tenfold| job.0 % 2).workers(Workers::local(2));
        let jobs = builder.max_size(10).max_pending(100).max_pending_per_partition(10).start().unwrap();
        let ledger = Ledger::new(&jobs);
        let mut slow: Vec<_> = (0..200).map(|number| ledger.submit(Tenfold(number * 2))).collect();
        let held = desk.next().await;
        assert_eq!(held.jobs.len(), 10);
        assert!(ledger.try_submit(Tenfold(400)).is_err());
        let counts = jobs.stats().await.unwrap().intake;
        assert_eq!((counts.pending, counts.waiting), (10, 190));

        let neighbour = ledger.submit(Tenfold(1));
        desk.next().await.complete();
        assert_eq!(neighbour.await.unwrap(), 10);

        // The others go on waiting in their order.
        held.complete();
        for reply in slow.drain(..10) {
            reply.await.unwrap();
        }
        let held = desk.next().await;
        assert_eq!(held.numbers(), (10..20).map(|number| number * 2).collect::<Vec<_>>());
        held.complete();
        drop(slow);
        while let Some(held) = desk.try_next() {
            held.complete();
            quiet().await;
        }
        balanced(&ledger, &jobs).await;
    });
}

#[test]
fn jobs_wait_while_there_is_no_room_for_their_weight() {
    paused(async || {
        let (mut desk, factory) = Desk::new();
        let builder = Collector::builder(factory).weigh(|job: &Tenfold| job.0).max_pending_weight(10);
        let jobs = builder.max_size(4).workers(Workers::local(4)).start().unwrap();
        let ledger = Ledger::new(&jobs);
        let six = ledger.submit(Tenfold(6));
        let mut heavy = Box::pin(ledger.submit(Tenfold(5)));
        // The batch that has the weight which the heavy job waits for leaves at once.
        let held = desk.next().await;
        assert_eq!(held.numbers(), [6]);
        let light = ledger.submit(Tenfold(1));
        assert!(ledger.try_submit(Tenfold(1)).is_err(), "a light job overtook a heavy one");
        quiet().await;
        let counts = jobs.stats().await.unwrap().intake;
        assert_eq!((counts.pending, counts.pending_weight, counts.waiting), (1, 6, 2));
        assert!(heavy.as_mut().now_or_never().is_none());

        held.complete();
        assert_eq!(six.await.unwrap(), 60);
        let held = desk.next().await;
        assert_eq!(held.numbers(), [5, 1]);
        held.complete();
        assert_eq!((heavy.await.unwrap(), light.await.unwrap()), (50, 10));
        balanced(&ledger, &jobs).await;
    });
}

#[test]
fn a_job_that_is_heavier_than_the_bound_is_pending_alone() {
    paused(async || {
        let (mut desk, factory) = Desk::new();
        let builder = Collector::builder(factory).weigh(|job: &Tenfold| job.0).max_pending_weight(10);
        let jobs = builder.workers(Workers::local(4)).start().unwrap();
        let ledger = Ledger::new(&jobs);
        let replies = [2, u64::MAX, 3].map(|weight| ledger.submit(Tenfold(weight)));
        let held = desk.next().await;
        assert_eq!(held.numbers(), [2]);
        held.complete();
        let held = desk.next().await;
        assert_eq!(held.numbers(), [u64::MAX]);
        held.answer(|_| Ok(Outcomes::all(7)));
        let held = desk.next().await;
        assert_eq!(held.numbers(), [3]);
        held.complete();
        let replies = join_all(replies).await;
        assert_eq!(replies.into_iter().map(Result::unwrap).collect::<Vec<_>>(), [20, 7, 30]);
        balanced(&ledger, &jobs).await;
    });
}

#[test]
fn the_most_urgent_waiting_job_gets_the_room() {
    paused(async || {
        let (mut desk, factory) = Desk::new();
        let builder = Collector::builder(factory).max_size(1).max_pending(1).workers(Workers::local(1));
        let jobs = builder.ageing(ms(100)).start().unwrap();
        let ledger = Ledger::new(&jobs);
        let mut replies = vec![ledger.submit(Tenfold(0))];
        let submitted = [Priority::Low, Priority::Normal, Priority::High, Priority::High, Priority::Normal];
        for (number, priority) in (1..).zip(submitted) {
            replies.push(ledger.submit(of(number, priority)));
            advance(ms(1)).await;
        }
        for number in [0, 3, 4, 2, 5, 1] {
            let held = desk.next().await;
            assert_eq!(held.numbers(), [number]);
            held.complete();
        }
        join_all(replies).await;
        balanced(&ledger, &jobs).await;
    });
}

#[test]
fn a_waiting_job_of_low_priority_is_admitted_before_urgent_ones_that_come_much_later() {
    paused(async || {
        let (mut desk, factory) = Desk::new();
        let builder = Collector::builder(factory).max_size(1).max_pending(1).workers(Workers::local(1));
        let jobs = builder.ageing(ms(100)).start().unwrap();
        let ledger = Ledger::new(&jobs);
        let _first = ledger.submit(of(0, Priority::High));
        let mut held = desk.next().await;
        let _low = ledger.submit(of(1, Priority::Low));
        let (since, mut urgent) = (Instant::now(), Vec::new());
        loop {
            urgent.push(ledger.submit(of(2, Priority::High)));
            urgent.push(ledger.submit(of(2, Priority::High)));
            advance(ms(10)).await;
            held.complete();
            held = desk.next().await;
            if held.numbers() == [1] {
                break;
            }
            assert!(since.elapsed() < ms(1_000), "the low job starved");
        }
        assert!(since.elapsed() >= ms(200), "{:?}", since.elapsed());
    });
}

fn weight(job: u64) -> u64 {
    job % 13
}

#[test]
fn bounds_by_partition_and_weight_hold_for_random_jobs_and_every_job_is_answered() {
    for seed in 0..40 {
        paused(async move || {
            let mut random = Rng::with_seed(seed);
            let (share, most) = (random.usize(1..8), random.u64(12..60));
            let builder = Collector::builder(|| Slow).partition_by(|job: &Tenfold| job.0 % 5);
            let builder = if random.bool() { builder.in_order_by(|job: &Tenfold| job.0 % 5) } else { builder };
            let builder = builder.weigh(|job| weight(job.0)).max_pending_weight(most).max_pending_per_partition(share);
            let jobs = builder.max_size(random.usize(1..8)).max_pending(random.usize(8..40)).start().unwrap();
            let ledger = Ledger::new(&jobs);
            let mut replies = Vec::new();
            for _ in 0..400 {
                let number = random.u64(..1_000);
                let priority = Priority::ALL[random.usize(..3)];
                let job = of(number, priority);
                let job = if random.u8(..4) == 0 { job.within(ms(random.u64(1..20))) } else { job };
                if random.u8(..5) == 0 {
                    if let Ok(reply) = ledger.try_submit(job) {
                        replies.push(reply);
                    }
                } else {
                    replies.push(ledger.submit(job));
                }
                if random.u8(..6) == 0 {
                    drop(replies.swap_remove(random.usize(..replies.len())));
                }
                if random.u8(..3) == 0 {
                    sleep(ms(random.u64(..4))).await;
                }
                let counts = jobs.stats().await.unwrap().intake;
                let alone = counts.pending <= 1;
                assert!(alone || counts.pending_weight <= most, "seed {seed}: {counts:?}");
                assert!(counts.pending <= 5 * share, "seed {seed}: {counts:?}");
            }
            join_all(replies).await;
            let balance = balanced(&ledger, &jobs).await;
            assert_eq!(jobs.stats().await.unwrap().intake.pending_weight, 0, "seed {seed}: {balance:?}");
        });
    }
}

#[test]
fn bounds_that_lack_what_they_need_are_refused_by_name() {
    let builder = || Collector::builder(Desk::<Tenfold>::new().1);
    let refused = |builder: CollectorBuilder<_>| builder.build().unwrap_err().to_string();
    assert_eq!(
        refused(builder().max_pending_weight(10)),
        "`max_pending_weight` must be unset without `.weigh(|job| ..)`, which computes a job's weight (got 10)"
    );
    assert_eq!(
        refused(builder().max_pending_per_partition(10)),
        "`max_pending_per_partition` must be unset without `partition_by` (got 10)"
    );
    assert_eq!(
        refused(builder().partition_by(|job| job.0).max_pending_per_partition(10_001)),
        "`max_pending_per_partition` must be from 1 to `max_pending`, which is 10000 (got 10001)"
    );
}
