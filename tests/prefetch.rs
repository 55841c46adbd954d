//! The next batch lies ready for a single worker with a thread of its own. Nobody but the worker's thread notices: whatever is decided
//! before it begins counts for it as for any batch that waits.
#![cfg(feature = "test-util")]

use std::{
    thread,
    time::{Duration, Instant},
};

use actix_batch::{
    prelude::*,
    test_util::{Ledger, Recorded},
};
use actix_rt::Arbiter;

use self::support::{Broken, Clerk, Desk, Held, Tenfold, balanced, ms, real_time};

mod support;

/// One job a batch, and a worker with a thread of its own.
fn one_by_one() -> (Desk<Tenfold>, CollectorBuilder<Clerk<Tenfold>>) {
    let (desk, factory) = Desk::<Tenfold>::new();
    (desk, Collector::builder(factory).workers(Workers::threads(1)).max_size(1).interval(ms(60_000)))
}

/// The worker has the first job, and the second one lies ready.
async fn busy(
    desk: &mut Desk<Tenfold>,
    jobs: &Collector<Tenfold>,
    ledger: &Ledger<Tenfold>,
) -> (Held<Tenfold>, [Recorded<JobResult<Tenfold>>; 2]) {
    let replies = [0, 1].map(|number| ledger.submit(Tenfold(number)));
    let first = desk.next().await;
    // At the end of the turn that answers this, a batch is laid ready.
    let stats = jobs.stats().await.unwrap();
    assert_eq!((stats.ready, stats.in_flight), (1, 1));
    (first, replies)
}

/// The batch that a worker begins while this thread does nothing else, and so no collector on it.
fn next_without_the_collector(desk: &mut Desk<Tenfold>, limit: Duration) -> Option<Held<Tenfold>> {
    let end = Instant::now() + limit;
    while Instant::now() < end {
        if let Some(held) = desk.try_next() {
            return Some(held);
        }
        thread::yield_now();
    }
    None
}

#[test]
fn a_worker_goes_on_while_the_collectors_thread_is_busy() {
    real_time(async || {
        let (mut desk, builder) = one_by_one();
        let jobs = builder.start().unwrap();
        let ledger = Ledger::new(&jobs);
        let (first, [zero, one]) = busy(&mut desk, &jobs, &ledger).await;
        first.complete();
        let second = next_without_the_collector(&mut desk, ms(10_000)).expect("the worker goes on");
        assert_eq!(second.numbers(), [1]);
        second.complete();
        assert_eq!((zero.await.unwrap(), one.await.unwrap()), (0, 10));
        balanced(&ledger, &jobs).await;
    });
}

#[test]
fn the_time_of_a_batch_counts_from_when_the_worker_began_it_whenever_the_collector_hears_of_it() {
    real_time(async || {
        let (mut desk, builder) = one_by_one();
        let jobs = builder.start().unwrap();
        let ledger = Ledger::new(&jobs);
        let (first, [zero, one]) = busy(&mut desk, &jobs, &ledger).await;
        first.complete();
        let second = next_without_the_collector(&mut desk, ms(10_000)).expect("the worker goes on");
        // The collector does not hear of it while this thread waits.
        assert!(next_without_the_collector(&mut desk, ms(30)).is_none());
        second.complete();
        assert_eq!((zero.await.unwrap(), one.await.unwrap()), (0, 10));
        let processing = jobs.stats().await.unwrap().processing;
        let shorter = processing.quantile(0.5);
        assert!(shorter >= 30_000, "{shorter} µs");
        balanced(&ledger, &jobs).await;
    });
}

#[test]
fn a_pause_holds_what_lies_ready_and_a_smaller_bound_does_too() {
    real_time(async || {
        let (mut desk, builder) = one_by_one();
        let jobs = builder.start().unwrap();
        let ledger = Ledger::new(&jobs);
        let (first, [zero, one]) = busy(&mut desk, &jobs, &ledger).await;
        jobs.pause().await.unwrap();
        first.complete();
        assert_eq!(zero.await.unwrap(), 0);
        assert_eq!(jobs.stats().await.unwrap().ready, 1);
        jobs.set_max_in_flight(0).await.unwrap();
        jobs.resume().await.unwrap();
        assert_eq!(jobs.stats().await.unwrap().ready, 1);
        assert!(desk.try_next().is_none());
        jobs.set_max_in_flight(1).await.unwrap();
        desk.next().await.complete();
        assert_eq!(one.await.unwrap(), 10);
        balanced(&ledger, &jobs).await;
    });
}

#[test]
fn after_a_failure_the_collector_decides_what_the_worker_gets() {
    real_time(async || {
        let (mut desk, builder) = one_by_one();
        let breaker = Breaker::consecutive(1).open_for(Duration::from_secs(3_600)).reject_when_open(true);
        let jobs = builder.breaker(breaker).start().unwrap();
        let ledger = Ledger::new(&jobs);
        let (first, [zero, one]) = busy(&mut desk, &jobs, &ledger).await;
        first.answer(|_| Err(Broken("down")));
        assert!(next_without_the_collector(&mut desk, ms(50)).is_none(), "the worker waits for the collector");
        assert!(matches!(zero.await, Err(JobError::Failed(_))));
        assert!(matches!(one.await, Err(JobError::CircuitOpen { .. })));
        assert!(desk.try_next().is_none());
        balanced(&ledger, &jobs).await;
    });
}

#[test]
fn what_lay_ready_for_a_worker_that_panicked_goes_to_the_next_one() {
    real_time(async || {
        let (mut desk, builder) = one_by_one();
        let jobs = builder.start().unwrap();
        let ledger = Ledger::new(&jobs);
        let (first, [zero, one]) = busy(&mut desk, &jobs, &ledger).await;
        first.panic();
        assert!(matches!(zero.await, Err(JobError::Panicked)));
        desk.next().await.complete();
        assert_eq!(one.await.unwrap(), 10);
        balanced(&ledger, &jobs).await;
    });
}

#[test]
fn what_lay_ready_for_a_worker_that_is_lost_goes_to_the_next_one() {
    real_time(async || {
        let (mut desk, builder) = one_by_one();
        let jobs = builder.timeout(ms(20)).start().unwrap();
        let ledger = Ledger::new(&jobs);
        let (first, [zero, one]) = busy(&mut desk, &jobs, &ledger).await;
        first.answer(|_| {
            // It does not notice that it is told to stop.
            thread::sleep(ms(1_500));
            Ok(Outcomes::all(0))
        });
        assert!(matches!(zero.await, Err(JobError::TimedOut)));
        desk.next().await.complete();
        assert_eq!(one.await.unwrap(), 10);
        balanced(&ledger, &jobs).await;
    });
}

#[test]
fn what_lies_ready_is_shut_down_as_what_waits() {
    real_time(async || {
        let (mut desk, builder) = one_by_one();
        let jobs = builder.start().unwrap();
        let ledger = Ledger::new(&jobs);
        let (_first, [zero, one]) = busy(&mut desk, &jobs, &ledger).await;
        let report = jobs.shutdown(Shutdown::now()).await.unwrap();
        assert_eq!(report.shut_down, 2);
        assert!(matches!(zero.await, Err(JobError::ShutDown)));
        assert!(matches!(one.await, Err(JobError::ShutDown)));
        assert!(desk.try_next().is_none());
    });
}

#[test]
fn what_lies_ready_is_answered_when_the_collectors_arbiter_ends() {
    real_time(async || {
        let (mut desk, builder) = one_by_one();
        let (arbiter, actor) = (Arbiter::new(), builder.build().unwrap());
        let jobs = actor.handle();
        let ledger = Ledger::new(&jobs);
        arbiter.spawn_fn(move || drop(Supervisor::start(|_| actor)));
        let (first, [zero, one]) = busy(&mut desk, &jobs, &ledger).await;
        arbiter.stop();
        assert!(matches!(one.await, Err(JobError::ShutDown)));
        assert!(matches!(zero.await, Err(JobError::Lost)));
        first.complete();
        arbiter.join().unwrap();
        assert!(desk.try_next().is_none());
    });
}

#[test]
fn what_lies_ready_and_is_no_longer_wanted_is_not_begun() {
    real_time(async || {
        let (mut desk, builder) = one_by_one();
        let jobs = builder.start().unwrap();
        let ledger = Ledger::new(&jobs);
        let (first, [zero, one]) = busy(&mut desk, &jobs, &ledger).await;
        drop(one);
        first.complete();
        assert!(next_without_the_collector(&mut desk, ms(50)).is_none());
        assert_eq!(zero.await.unwrap(), 0);
        let stats = jobs.stats().await.unwrap();
        assert_eq!((stats.ready, stats.in_flight), (0, 0));
        assert!(desk.try_next().is_none());
    });
}
