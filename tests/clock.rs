//! Whose time counts: the collector's, whatever the clock of the caller says.
#![allow(clippy::async_yields_async, reason = "a job is submitted on one clock, and its reply awaited on another")]

mod support;

use std::time::Duration;

use actix_batch::prelude::*;
use tokio::{runtime::Runtime, time::advance};

use support::{Broken, Tenfold, guarded};

const HOUR: Duration = Duration::from_secs(3_600);

struct Tens;

impl BatchProcessor for Tens {
    type Job = Tenfold;

    async fn process(&mut self, batch: &Batch<Tenfold>) -> Result<Outcomes<Tenfold>, Broken> {
        Ok(Outcomes::in_order(batch.iter().map(|job| job.0 * 10)))
    }
}

/// A runtime whose clock stands still, an hour ahead.
fn an_hour_ahead() -> Runtime {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(advance(HOUR));
    runtime
}

/// A runtime on real time.
fn real() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

#[test]
fn a_callers_stopped_clock_does_not_delay_other_callers() {
    guarded(|| {
        let jobs = Collector::builder(|| Tens).start_on_thread().unwrap();
        let stopped = an_hour_ahead().block_on(async { jobs.submit(Tenfold(1)) });
        real().block_on(async {
            assert_eq!(jobs.submit(Tenfold(2)).await.unwrap(), 20);
            assert_eq!(stopped.await.unwrap(), 10);
        });
    });
}

#[test]
fn a_deadline_is_as_far_away_for_the_collector_as_it_is_for_its_caller() {
    guarded(|| {
        let jobs = Collector::builder(|| Tens).interval(HOUR * 24).start_on_thread().unwrap();
        let urgent = async { jobs.submit(SubmitJob::new(Tenfold(1)).within(Duration::from_secs(2))) };
        let urgent = an_hour_ahead().block_on(urgent);
        assert_eq!(real().block_on(urgent).unwrap(), 10);
    });
}

#[cfg(feature = "cache")]
#[test]
fn a_cached_result_does_not_expire_by_the_clock_of_one_caller() {
    guarded(|| {
        let cache = actix_batch::Cache::new(10).time_to_live(HOUR / 2);
        let jobs = Collector::builder(|| Tens).cache(|job| job.0, cache).start_on_thread().unwrap();
        real().block_on(async { jobs.submit(Tenfold(1)).await.unwrap() });
        let ahead = an_hour_ahead();
        assert_eq!(ahead.block_on(async { jobs.submit(Tenfold(1)).await }).unwrap(), 10);
        let hits = real().block_on(jobs.stats()).unwrap().intake.cache_hits;
        assert_eq!(hits, 1);
    });
}
