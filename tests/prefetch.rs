//! The next batch is prefetched for a single worker with a thread of its own. Whatever is decided before the worker begins it counts for
//! it, as for any batch that waits.
#![cfg(feature = "test-util")]

use std::{
    sync::mpsc,
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

type Builder = CollectorBuilder<Clerk<Tenfold>>;
type Reply = Recorded<JobResult<Tenfold>>;

/// A collector with one job in a batch and one worker, which has a thread of its own. The worker holds the first batch, and the second one
/// is prefetched.
struct Busy {
    desk: Desk<Tenfold>,
    jobs: Collector<Tenfold>,
    ledger: Ledger<Tenfold>,
    first: Held<Tenfold>,
    replies: [Reply; 2],
}

impl Busy {
    async fn new(configure: impl FnOnce(Builder) -> Builder) -> Self {
        Self::started(|builder| configure(builder).start().unwrap()).await
    }

    async fn started(start: impl FnOnce(Builder) -> Collector<Tenfold>) -> Self {
        let (mut desk, factory) = Desk::<Tenfold>::new();
        let jobs = start(Collector::builder(factory).workers(Workers::threads(1)).max_size(1).interval(ms(60_000)));
        let ledger = Ledger::new(&jobs);
        let replies = [0, 1].map(|number| ledger.submit(Tenfold(number)));
        let first = desk.next().await;
        // At the end of the turn that answers this, the second batch is prefetched.
        let stats = jobs.stats().await.unwrap();
        assert_eq!((stats.ready, stats.in_flight), (1, 1));
        Self { desk, jobs, ledger, first, replies }
    }
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
        let Busy { mut desk, jobs, ledger, first, replies: [zero, one] } = Busy::new(|builder| builder).await;
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
        let Busy { mut desk, jobs, ledger, first, replies: [zero, one] } = Busy::new(|builder| builder).await;
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
fn a_pause_holds_a_prefetched_batch_and_a_smaller_bound_does_too() {
    real_time(async || {
        let Busy { mut desk, jobs, ledger, first, replies: [zero, one] } = Busy::new(|builder| builder).await;
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
        let breaker = Breaker::consecutive(1).open_for(Duration::from_secs(3_600)).reject_when_open(true);
        let busy = Busy::new(|builder| builder.breaker(breaker)).await;
        let Busy { mut desk, jobs, ledger, first, replies: [zero, one] } = busy;
        first.answer(|_| Err(Broken("down")));
        assert!(next_without_the_collector(&mut desk, ms(50)).is_none(), "the worker waits for the collector");
        assert!(matches!(zero.await, Err(JobError::Failed(_))));
        assert!(matches!(one.await, Err(JobError::CircuitOpen { .. })));
        assert!(desk.try_next().is_none());
        balanced(&ledger, &jobs).await;
    });
}

#[test]
fn the_prefetched_batch_of_a_worker_that_panicked_goes_to_the_next_one() {
    real_time(async || {
        let Busy { mut desk, jobs, ledger, first, replies: [zero, one] } = Busy::new(|builder| builder).await;
        first.panic();
        assert!(matches!(zero.await, Err(JobError::Panicked)));
        desk.next().await.complete();
        assert_eq!(one.await.unwrap(), 10);
        balanced(&ledger, &jobs).await;
    });
}

#[test]
fn the_prefetched_batch_of_a_worker_that_is_lost_goes_to_the_next_one() {
    real_time(async || {
        let busy = Busy::new(|builder| builder.timeout(ms(20))).await;
        let Busy { mut desk, jobs, ledger, first, replies: [zero, one] } = busy;
        let (release, released) = mpsc::channel::<()>();
        first.answer(move |_| {
            // Its thread is blocked, so it does not notice that it is told to stop.
            let _ = released.recv();
            Ok(Outcomes::all(0))
        });
        assert!(matches!(zero.await, Err(JobError::TimedOut)));
        desk.next().await.complete();
        assert_eq!(one.await.unwrap(), 10);
        balanced(&ledger, &jobs).await;
        drop(release);
    });
}

#[test]
fn a_prefetched_batch_is_shut_down_as_one_that_waits() {
    real_time(async || {
        let Busy { mut desk, jobs, replies: [zero, one], .. } = Busy::new(|builder| builder).await;
        let report = jobs.shutdown(Shutdown::now()).await.unwrap();
        assert_eq!(report.shut_down, 2);
        assert!(matches!(zero.await, Err(JobError::ShutDown)));
        assert!(matches!(one.await, Err(JobError::ShutDown)));
        assert!(desk.try_next().is_none());
    });
}

#[test]
fn a_prefetched_batch_is_answered_when_the_collectors_arbiter_ends() {
    real_time(async || {
        let arbiter = Arbiter::new();
        let busy = Busy::started(|builder| {
            let actor = builder.build().unwrap();
            let jobs = actor.handle();
            arbiter.spawn_fn(move || drop(Supervisor::start(|_| actor)));
            jobs
        });
        let Busy { mut desk, jobs: _jobs, first, replies: [zero, one], .. } = busy.await;
        arbiter.stop();
        assert!(matches!(one.await, Err(JobError::ShutDown)));
        assert!(matches!(zero.await, Err(JobError::Lost)));
        first.complete();
        arbiter.join().unwrap();
        assert!(desk.try_next().is_none());
    });
}

#[test]
fn a_prefetched_batch_whose_caller_has_gone_is_not_begun() {
    real_time(async || {
        let Busy { mut desk, jobs, ledger, first, replies: [zero, one] } = Busy::new(|builder| builder).await;
        drop(one);
        first.complete();
        assert!(next_without_the_collector(&mut desk, ms(50)).is_none());
        assert_eq!(zero.await.unwrap(), 0);
        let stats = jobs.stats().await.unwrap();
        assert_eq!((stats.ready, stats.in_flight), (0, 0));
        assert!(desk.try_next().is_none());
        balanced(&ledger, &jobs).await;
    });
}
