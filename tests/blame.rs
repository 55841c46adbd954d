//! Whose fault a failure is: a bad job never counts against the downstream, and the downstream may say when to come back.
#![cfg(feature = "test-util")]

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use actix_batch::{Blame, BreakerState, prelude::*};
use futures_util::future::join_all;

use self::support::{Broken, Tenfold, ms, paused, tenfold};

mod support;

type Answer = Result<Outcomes<Tenfold>, Broken>;

struct Downstream<F> {
    answer: Arc<F>,
    calls: Arc<AtomicUsize>,
}

impl<F: Fn(&Batch<Tenfold>) -> Answer + Send + Sync + 'static> BatchProcessor for Downstream<F> {
    type Job = Tenfold;

    async fn process(&mut self, batch: &Batch<Tenfold>) -> Answer {
        self.calls.fetch_add(1, Ordering::Relaxed);
        (self.answer)(batch)
    }
}

/// One worker in front of this downstream, and how often it is called.
fn downstream<F>(answer: F) -> (CollectorBuilder<Downstream<F>>, Arc<AtomicUsize>)
where
    F: Fn(&Batch<Tenfold>) -> Answer + Send + Sync + 'static,
{
    let (answer, calls) = (Arc::new(answer), Arc::new(AtomicUsize::new(0)));
    let seen = Arc::clone(&calls);
    let factory = move || Downstream { answer: Arc::clone(&answer), calls: Arc::clone(&calls) };
    (Collector::builder(factory).workers(Workers::local(1)), seen)
}

/// A downstream that refuses every batch with job 13 in it.
fn unlucky_thirteen(batch: &Batch<Tenfold>) -> Result<Outcomes<Tenfold>, Broken> {
    if batch.iter().any(|job| job.0 == 13) {
        Err(Broken("bad row"))
    } else {
        Ok(Outcomes::each(batch.iter().map(tenfold)))
    }
}

#[test]
fn a_bad_job_that_a_split_isolates_does_not_open_the_breaker() {
    paused(async || {
        for bad_first in [false, true] {
            let (builder, _) = downstream(unlucky_thirteen);
            let breaker = Breaker::consecutive(1).reject_when_open(true);
            let jobs = builder.max_size(64).split_poison(true).breaker(breaker).start().unwrap();
            let numbers: Vec<u64> = if bad_first { (13..77).collect() } else { (0..64).collect() };
            let replies = join_all(numbers.iter().map(|number| jobs.submit(Tenfold(*number)))).await;
            let failed: Vec<_> = numbers.iter().zip(&replies).filter(|(_, reply)| reply.is_err()).collect();
            assert_eq!(failed.len(), 1, "{failed:?}");
            assert_eq!(*failed[0].0, 13);
            assert_eq!(jobs.stats().await.unwrap().breaker, Some(BreakerState::Closed));
        }
    });
}

#[test]
fn a_downstream_that_fails_every_part_of_a_split_batch_opens_the_breaker() {
    paused(async || {
        let (builder, calls) = downstream(|_: &Batch<Tenfold>| Err(Broken("down")));
        let breaker = Breaker::consecutive(1).reject_when_open(true);
        let jobs = builder.max_size(64).split_poison(true).breaker(breaker).start().unwrap();
        let replies = join_all((0..64).map(|number| jobs.submit(Tenfold(number)))).await;
        assert!(replies.iter().all(Result::is_err));
        assert_eq!(jobs.stats().await.unwrap().breaker, Some(BreakerState::Open));
        assert!(
            calls.load(Ordering::Relaxed) <= 20,
            "{} calls for a downstream that is down",
            calls.load(Ordering::Relaxed)
        );
    });
}

/// A downstream that knows whose fault its errors are, and refuses every batch in this way.
struct Knowing {
    error: &'static str,
    calls: Arc<AtomicUsize>,
}

impl BatchProcessor for Knowing {
    type Job = Tenfold;

    async fn process(&mut self, _: &Batch<Tenfold>) -> Answer {
        self.calls.fetch_add(1, Ordering::Relaxed);
        Err(Broken(self.error))
    }

    fn blame(error: &Broken) -> Blame {
        if error.0 == "down" { Blame::Downstream } else { Blame::Job }
    }
}

async fn calls_of_eight_jobs(error: &'static str) -> usize {
    let calls = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&calls);
    let jobs = Collector::builder(move || Knowing { error, calls: Arc::clone(&calls) })
        .max_size(8)
        .split_poison(true)
        .retry(Retry::fixed(ms(10)).attempts(3))
        .start()
        .unwrap();
    let replies = join_all((0..8).map(|number| jobs.submit(Tenfold(number)))).await;
    assert!(replies.iter().all(Result::is_err));
    seen.load(Ordering::Relaxed)
}

#[test]
fn an_error_of_the_downstream_is_retried_and_never_splits_a_batch() {
    paused(async || assert_eq!(calls_of_eight_jobs("down").await, 3));
}

#[test]
fn an_error_of_a_job_is_never_retried_and_is_isolated_by_splitting() {
    paused(async || assert_eq!(calls_of_eight_jobs("bad row").await, 15));
}

#[test]
fn errors_that_do_not_speak_of_the_downstream_never_open_the_breaker() {
    paused(async || {
        let (builder, _) =
            downstream(|batch: &Batch<Tenfold>| Err(Broken(if batch[0].0 == 1 { "bad row" } else { "down" })));
        let breaker = Breaker::consecutive(2).when(|error: &Broken| error.0 == "down");
        let jobs = builder.max_size(1).breaker(breaker).start().unwrap();
        for _ in 0..5 {
            assert!(jobs.submit(Tenfold(1)).await.is_err());
        }
        assert_eq!(jobs.stats().await.unwrap().breaker, Some(BreakerState::Closed));
        for _ in 0..2 {
            assert!(jobs.submit(Tenfold(2)).await.is_err());
        }
        assert_eq!(jobs.stats().await.unwrap().breaker, Some(BreakerState::Open));
    });
}

#[test]
fn a_bad_request_as_the_probe_does_not_keep_the_breaker_open() {
    paused(async || {
        let down = Arc::new(AtomicBool::new(true));
        let is_down = Arc::clone(&down);
        let (builder, _) =
            downstream(
                move |batch: &Batch<Tenfold>| {
                    if is_down.load(Ordering::Relaxed) { Err(Broken("down")) } else { unlucky_thirteen(batch) }
                },
            );
        let breaker = Breaker::consecutive(1).open_for(ms(50)).when(|error: &Broken| error.0 == "down");
        let jobs = builder.max_size(1).breaker(breaker).start().unwrap();
        assert!(jobs.submit(Tenfold(1)).await.is_err());
        down.store(false, Ordering::Relaxed);
        let (probe, next) = (jobs.submit(Tenfold(13)), jobs.submit(Tenfold(2)));
        assert!(probe.await.is_err());
        assert_eq!(next.await.unwrap(), 20);
        assert_eq!(jobs.stats().await.unwrap().breaker, Some(BreakerState::Closed));
    });
}

#[test]
fn a_retry_waits_as_long_as_the_error_asks_for() {
    paused(async || {
        let first = AtomicBool::new(true);
        let (builder, _) = downstream(move |batch: &Batch<Tenfold>| {
            if first.swap(false, Ordering::Relaxed) {
                Err(Broken("500"))
            } else {
                Ok(Outcomes::each(batch.iter().map(tenfold)))
            }
        });
        let retry = Retry::fixed(ms(10)).retry_after(|error: &Broken| error.0.parse().ok().map(ms));
        let jobs = builder.max_size(1).retry(retry).start().unwrap();
        let begin = tokio::time::Instant::now();
        assert_eq!(jobs.submit(Tenfold(1)).await.unwrap(), 10);
        assert_eq!(begin.elapsed(), ms(500));
    });
}
