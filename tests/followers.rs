//! What jobs that follow another one keep of their own: their deadlines, and their priority, which they lend.
#![cfg(feature = "test-util")]

use actix_batch::{prelude::*, test_util::Ledger};
use fastrand::Rng;
use futures_util::future::join_all;
use tokio::time::{Instant, advance, sleep};

use self::support::{Clerk, Desk, Slow, Tenfold, balanced, ms, paused, quiet};

mod support;

/// One worker, batches of one, and all jobs with the same number are one.
fn one(factory: impl Fn() -> Clerk<Tenfold> + Send + Sync + 'static) -> CollectorBuilder<Clerk<Tenfold>> {
    Collector::builder(factory).workers(Workers::local(1)).max_size(1).coalesce_by(|job: &Tenfold| job.0)
}

fn within(number: u64, millis: u64) -> SubmitJob<Tenfold> {
    SubmitJob::new(Tenfold(number)).within(ms(millis))
}

#[test]
fn jobs_with_deadlines_share_a_reply_with_jobs_of_the_same_key() {
    paused(async || {
        let (mut desk, factory) = Desk::new();
        let jobs = one(factory).start().unwrap();
        let ledger = Ledger::new(&jobs);
        let replies: Vec<_> = (0..50).map(|_| ledger.submit(within(7, 2_000))).collect();
        desk.next().await.complete();
        for reply in replies {
            assert_eq!(reply.await.unwrap(), 70);
        }
        assert!(desk.try_next().is_none());
        assert_eq!(jobs.stats().await.unwrap().intake.coalesced, 49);
        balanced(&ledger, &jobs).await;
    });
}

#[test]
fn a_follower_that_is_late_expires_on_time_and_alone() {
    paused(async || {
        let (mut desk, factory) = Desk::new();
        let jobs = one(factory).start().unwrap();
        let ledger = Ledger::new(&jobs);
        let start = Instant::now();
        let busy = ledger.submit(Tenfold(0));
        let held = desk.next().await;
        let leader = ledger.submit(Tenfold(7));
        let (hurried, patient) = (ledger.submit(within(7, 50)), ledger.submit(within(7, 500)));
        assert!(matches!(hurried.await, Err(JobError::Expired)));
        assert_eq!(start.elapsed(), ms(50));
        held.complete();
        desk.next().await.complete();
        assert_eq!((busy.await.unwrap(), leader.await.unwrap(), patient.await.unwrap()), (0, 70, 70));
        balanced(&ledger, &jobs).await;
    });
}

#[test]
fn a_follower_whose_deadline_passes_while_the_job_is_processed_gets_the_reply() {
    paused(async || {
        let (mut desk, factory) = Desk::new();
        let jobs = one(factory).start().unwrap();
        let ledger = Ledger::new(&jobs);
        let leader = ledger.submit(Tenfold(7));
        let held = desk.next().await;
        let follower = ledger.submit(within(7, 50));
        advance(ms(500)).await;
        quiet().await;
        held.complete();
        assert_eq!((leader.await.unwrap(), follower.await.unwrap()), (70, 70));
        balanced(&ledger, &jobs).await;
    });
}

#[test]
fn a_job_that_expires_is_processed_for_the_followers_that_have_time_left() {
    paused(async || {
        let (mut desk, factory) = Desk::new();
        let jobs = one(factory).start().unwrap();
        let ledger = Ledger::new(&jobs);
        let busy = ledger.submit(Tenfold(0));
        let held = desk.next().await;
        let leader = ledger.submit(within(7, 50));
        let followers = [ledger.submit(within(7, 50)), ledger.submit(within(7, 500)), ledger.submit(Tenfold(7))];
        assert!(matches!(leader.await, Err(JobError::Expired)));
        let counts = jobs.stats().await.unwrap().intake;
        assert_eq!((counts.pending, counts.following), (2, 1));
        held.complete();
        let held = desk.next().await;
        assert_eq!(held.numbers(), [7]);
        held.complete();
        let [late, first, second] = followers;
        assert!(matches!(late.await, Err(JobError::Expired)));
        assert_eq!((busy.await.unwrap(), first.await.unwrap(), second.await.unwrap()), (0, 70, 70));
        assert!(desk.try_next().is_none());
        balanced(&ledger, &jobs).await;
    });
}

#[test]
fn a_followers_deadline_makes_the_open_batch_leave_early() {
    paused(async || {
        let (mut desk, factory) = Desk::new();
        let jobs = one(factory).max_size(10).interval(ms(60_000)).start().unwrap();
        let ledger = Ledger::new(&jobs);
        let start = Instant::now();
        let (leader, follower) = (ledger.submit(Tenfold(7)), ledger.submit(within(7, 400)));
        let held = desk.next().await;
        assert_eq!(start.elapsed(), ms(300));
        held.complete();
        assert_eq!((leader.await.unwrap(), follower.await.unwrap()), (70, 70));
        balanced(&ledger, &jobs).await;
    });
}

#[test]
fn an_urgent_follower_lends_its_priority_to_a_job_that_waits_for_a_worker() {
    paused(async || {
        let (mut desk, factory) = Desk::new();
        let jobs = one(factory).ageing(ms(60_000)).start().unwrap();
        let ledger = Ledger::new(&jobs);
        let mut replies: Vec<_> = (0..50).map(|number| ledger.submit(Tenfold(number))).collect();
        replies.push(ledger.submit(SubmitJob::new(Tenfold(99)).priority(Priority::Low)));
        let held = desk.next().await;
        replies.push(ledger.submit(SubmitJob::new(Tenfold(99)).priority(Priority::High)));
        quiet().await;
        held.complete();
        let held = desk.next().await;
        assert_eq!(held.numbers(), [99]);
        held.complete();
        for number in 1..50 {
            let held = desk.next().await;
            assert_eq!(held.numbers(), [number]);
            held.complete();
        }
        join_all(replies).await;
        balanced(&ledger, &jobs).await;
    });
}

#[test]
fn an_urgent_follower_lends_its_priority_to_an_open_batch() {
    paused(async || {
        let (mut desk, factory) = Desk::new();
        let jobs = one(factory).max_size(2).interval(ms(60_000)).ageing(ms(60_000)).start().unwrap();
        let ledger = Ledger::new(&jobs);
        let low = |number| SubmitJob::new(Tenfold(number)).priority(Priority::Low);
        let mut replies = vec![ledger.submit(Tenfold(0)), ledger.submit(Tenfold(1))];
        let held = desk.next().await;
        replies.extend([ledger.submit(low(5)), ledger.submit(SubmitJob::new(Tenfold(5)).priority(Priority::High))]);
        replies.extend([ledger.submit(Tenfold(2)), ledger.submit(Tenfold(3)), ledger.submit(low(6))]);
        quiet().await;
        held.complete();
        for numbers in [[5, 6], [2, 3]] {
            let held = desk.next().await;
            assert_eq!(held.numbers(), numbers);
            held.complete();
        }
        join_all(replies).await;
        balanced(&ledger, &jobs).await;
    });
}

#[test]
fn every_caller_of_random_coalesced_jobs_is_answered_once_and_none_expires_early() {
    for seed in 0..60 {
        paused(async move || {
            let mut random = Rng::with_seed(seed);
            let builder = Collector::builder(|| Slow).coalesce_by(|job: &Tenfold| job.0).max_size(random.usize(1..5));
            let builder = if random.bool() { builder.in_order_by(|job: &Tenfold| job.0 % 3) } else { builder };
            let builder = if random.bool() { builder.partition_by(|job: &Tenfold| job.0 % 2) } else { builder };
            let builder = builder.max_pending(random.usize(5..20)).workers(Workers::local(random.usize(1..3)));
            let jobs = builder.interval(ms(random.u64(1..10))).ageing(ms(random.u64(1..50))).start().unwrap();
            let ledger = Ledger::new(&jobs);
            let mut replies = Vec::new();
            for _ in 0..400 {
                let (number, time) = (random.u64(..12), random.u64(1..15));
                let job = SubmitJob::new(Tenfold(number)).priority(Priority::ALL[random.usize(..3)]);
                let is_hurried = random.bool();
                let job = if is_hurried { job.within(ms(time)) } else { job };
                let (reply, since) = (ledger.submit(job), Instant::now());
                replies.push(actix_rt::spawn(async move {
                    match reply.await {
                        Ok(output) => assert_eq!(output, number * 10, "seed {seed}"),
                        Err(JobError::Expired) => {
                            assert!(is_hurried && since.elapsed() >= ms(time), "seed {seed}: {:?}", since.elapsed());
                        }
                        Err(error) => panic!("seed {seed}: {error:?}"),
                    }
                }));
                if random.u8(..2) == 0 {
                    sleep(ms(random.u64(..3))).await;
                }
            }
            for reply in replies {
                reply.await.unwrap();
            }
            balanced(&ledger, &jobs).await;
            assert_eq!(jobs.stats().await.unwrap().intake.following, 0, "seed {seed}");
        });
    }
}
