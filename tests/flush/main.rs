//! When the open batch leaves, by every policy: what each one means to a running collector, and what holds for any of them.
//!
//! `PROPTEST_CASES` sets how many arrivals are tried.
#![cfg(feature = "test-util")]

use std::sync::{Arc, Mutex};

use actix_batch::{Trigger, prelude::*, test_util::Ledger};
use futures_util::future::join_all;
use tokio::time::{Instant, sleep, sleep_until};

use self::support::{Broken, Tenfold, balanced, ms, paused, tenfold};

mod any;
mod laws;
mod meanings;
#[path = "../support/mod.rs"]
mod support;

/// A batch that a processor has seen: its jobs, why it left, and when, in milliseconds since the start.
type Left = (Vec<u64>, Trigger, u64);

/// Writes down what it sees; it takes so many milliseconds for each batch.
struct Watch {
    seen: Arc<Mutex<Vec<Left>>>,
    start: Instant,
    takes: u64,
}

impl BatchProcessor for Watch {
    type Job = Tenfold;

    async fn process(&mut self, batch: &Batch<Tenfold>) -> Result<Outcomes<Tenfold>, Broken> {
        let at = u64::try_from(self.start.elapsed().as_millis()).unwrap();
        let numbers = batch.iter().map(|job| job.0).collect();
        self.seen.lock().unwrap().push((numbers, batch.trigger(), at));
        if self.takes > 0 {
            sleep(ms(self.takes)).await;
        }
        Ok(Outcomes::each(batch.iter().map(tenfold)))
    }
}

/// Submits job 0, 1, 2, … at these times, in milliseconds, to a collector with one worker that takes so long for a batch;
/// shuts it down when all are answered, or after the last time in the list if some are not; and returns the batches.
async fn run(
    times: &[u64],
    takes: u64,
    set_up: impl FnOnce(CollectorBuilder<Watch>) -> CollectorBuilder<Watch>,
) -> Vec<Left> {
    let (seen, start) = (Arc::new(Mutex::default()), Instant::now());
    let record = Arc::clone(&seen);
    let watch = move || Watch { seen: Arc::clone(&record), start, takes };
    let jobs = set_up(Collector::builder(watch).workers(Workers::local(1))).start().unwrap();
    let (ledger, mut replies) = (Ledger::new(&jobs), Vec::new());
    for (number, time) in (0..).zip(times) {
        sleep_until(start + ms(*time)).await;
        replies.push(ledger.submit(Tenfold(number)));
    }
    // Whatever leaves by time has left by then; the rest is drained.
    sleep(ms(1_000_000)).await;
    jobs.shutdown(Shutdown::drain()).await.unwrap();
    assert!(join_all(replies).await.iter().all(Result::is_ok));
    balanced(&ledger, &jobs).await;
    drop(jobs);
    Arc::try_unwrap(seen).map_or_else(|seen| seen.lock().unwrap().clone(), |seen| seen.into_inner().unwrap())
}

/// These are the batches that come of jobs at these times.
fn expect(
    times: &'static [u64],
    takes: u64,
    set_up: impl FnOnce(CollectorBuilder<Watch>) -> CollectorBuilder<Watch> + Send + 'static,
    batches: &'static [(&'static [u64], Trigger, u64)],
) {
    paused(async move || {
        let expected: Vec<Left> = batches.iter().map(|(jobs, why, left)| (jobs.to_vec(), *why, *left)).collect();
        assert_eq!(run(times, takes, set_up).await, expected);
    });
}
