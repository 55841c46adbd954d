//! One worker with a thread of its own, and the collector on another one: whatever the worker does, and whenever, jobs end once.
#![cfg(feature = "test-util")]

use std::{
    future::pending,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread,
};

use actix_batch::{prelude::*, test_util::Ledger};
use actix_rt::Arbiter;
use fastrand::Rng;
use futures_util::future::join_all;

use self::support::{Broken, Tenfold, balanced, ms, real_time, tenfold, us};

mod support;

const JOBS: u64 = 1_000;
const SEEDS: u64 = 4;
/// The sixth restart within 30 s would make the worker rest.
const RESTARTS: u32 = 5;

/// What may go wrong.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Harm {
    /// Batches and jobs fail.
    Failures,
    /// Failed ones are tried again, and batches are split.
    Retries,
    /// The processor panics, too.
    Panics,
    /// It hangs or takes too long, too.
    Hangs,
    /// The worker's arbiter stops, too.
    Stops,
}

/// The one processor, whichever worker it belongs to.
struct Erratic {
    harm: Harm,
    rng: Mutex<Rng>,
    restarts: AtomicU32,
    at_work: AtomicBool,
    begun: Vec<AtomicU32>,
}

struct Shared(Arc<Erratic>);

/// Ends the work when it is dropped.
struct AtWork<'a>(&'a AtomicBool);

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        assert!(self.0.swap(false, Ordering::SeqCst));
    }
}

impl Erratic {
    fn new(harm: Harm, seed: u64) -> Arc<Self> {
        let begun = (0..JOBS).map(|_| AtomicU32::new(0)).collect();
        let (restarts, at_work) = (AtomicU32::new(0), AtomicBool::new(false));
        Arc::new(Self { harm, rng: Mutex::new(Rng::with_seed(seed)), restarts, at_work, begun })
    }

    fn begin(&self, batch: &Batch<Tenfold>) -> AtWork<'_> {
        assert!(!self.at_work.swap(true, Ordering::SeqCst), "two batches at once");
        for job in batch {
            self.begun[usize::try_from(job.0).unwrap()].fetch_add(1, Ordering::SeqCst);
        }
        AtWork(&self.at_work)
    }

    fn begun(&self) -> u32 {
        self.begun.iter().map(|begun| begun.load(Ordering::SeqCst)).sum()
    }

    /// What happens to the next batch, and how long it takes.
    fn dice(&self) -> (u32, u64) {
        let (what, micros) = {
            let mut rng = self.rng.lock().unwrap();
            (rng.u32(0..200), rng.u64(0..60))
        };
        let restarts = (80..83).contains(&what) && self.restarts.fetch_add(1, Ordering::SeqCst) >= RESTARTS;
        (if restarts { 199 } else { what }, micros)
    }
}

impl BatchProcessor for Shared {
    type Job = Tenfold;

    async fn process(&mut self, batch: &Batch<Tenfold>) -> Result<Outcomes<Tenfold>, Broken> {
        let Self(erratic) = self;
        let _at_work = erratic.begin(batch);
        let (what, micros) = erratic.dice();
        match (what, erratic.harm) {
            (0..30, _) => tokio::task::yield_now().await,
            (30..34, _) => tokio::time::sleep(ms(1)).await,
            (34..60, _) => thread::sleep(us(micros)),
            (60..70, _) => return Err(Broken("all of it")),
            (70..80, _) => {
                let outcome = |job: &Tenfold| if job.0.is_multiple_of(2) { Err(Broken("one")) } else { tenfold(job) };
                return Ok(Outcomes::each(batch.iter().map(outcome)));
            }
            (80, Harm::Panics) => panic!("at random"),
            (81, Harm::Hangs) => pending::<()>().await,
            (82, Harm::Hangs) => thread::sleep(ms(120)),
            (80, Harm::Stops) => {
                Arbiter::current().stop();
                pending::<()>().await;
            }
            _ => {}
        }
        Ok(Outcomes::each(batch.iter().map(tenfold)))
    }
}

fn builder(erratic: &Arc<Erratic>) -> CollectorBuilder<Shared> {
    let (harm, erratic) = (erratic.harm, Arc::clone(erratic));
    let builder = Collector::builder(move || Shared(Arc::clone(&erratic))).workers(Workers::threads(1));
    let builder = builder.max_size(3).interval(us(300));
    match harm {
        Harm::Hangs => builder.timeout(ms(100)),
        Harm::Retries => {
            let breaker = Breaker::consecutive(4).open_for(ms(2));
            builder.retry(Retry::fixed(ms(1)).attempts(2)).split_poison(true).breaker(breaker)
        }
        Harm::Failures | Harm::Panics | Harm::Stops => builder,
    }
}

async fn pause_for_a_moment(jobs: &Collector<Tenfold>, erratic: &Erratic) {
    jobs.pause().await.unwrap();
    while jobs.stats().await.unwrap().in_flight > 0 {
        tokio::task::yield_now().await;
    }
    let before = erratic.begun();
    tokio::time::sleep(ms(2)).await;
    assert_eq!(erratic.begun(), before, "a batch began while the collector was paused");
    jobs.resume().await.unwrap();
}

async fn run(harm: Harm, seed: u64) {
    let (erratic, arbiter) = (Erratic::new(harm, seed), Arbiter::new());
    let actor = builder(&erratic).build().unwrap();
    let jobs = actor.handle();
    let ledger = Ledger::new(&jobs);
    arbiter.spawn_fn(move || drop(Supervisor::start(|_| actor)));
    let (mut rng, mut replies, mut number) = (Rng::with_seed(!seed), Vec::new(), 0);
    while number < JOBS {
        let some = rng.u64(1..40).min(JOBS - number);
        // Some callers do not wait.
        replies.extend((number..number + some).map(|job| ledger.submit(Tenfold(job))).filter(|_| rng.u32(0..30) > 0));
        number += some;
        match rng.u32(0..12) {
            0 => pause_for_a_moment(&jobs, &erratic).await,
            1 => jobs.set_max_in_flight(rng.usize(1..3)).await.unwrap(),
            2 => drop(jobs.flush().await.unwrap()),
            3..6 => tokio::time::sleep(us(rng.u64(0..3_000))).await,
            _ => tokio::task::yield_now().await,
        }
    }
    let replies = join_all(replies).await;
    let is_lost = |reply: &JobResult<Tenfold>| matches!(reply, Err(JobError::Lost));
    assert!(harm == Harm::Stops || !replies.iter().any(is_lost), "{harm:?}, seed {seed}: a job was lost");
    jobs.barrier().await.unwrap();
    balanced(&ledger, &jobs).await;
    let begun_once = erratic.begun.iter().all(|begun| begun.load(Ordering::SeqCst) <= 1);
    assert!(harm == Harm::Retries || begun_once, "{harm:?}, seed {seed}: a job was processed twice");
    jobs.shutdown(Shutdown::drain()).await.unwrap();
    arbiter.stop();
}

fn runs(harm: Harm) {
    real_time(async move || {
        for seed in 0..SEEDS {
            run(harm, seed).await;
        }
    });
}

#[test]
fn jobs_end_once_while_batches_fail() {
    runs(Harm::Failures);
}

#[test]
fn jobs_end_once_while_batches_are_retried_and_split() {
    runs(Harm::Retries);
}

#[test]
fn jobs_end_once_while_the_processor_panics() {
    runs(Harm::Panics);
}

#[test]
fn jobs_end_once_while_batches_hang_and_time_out() {
    runs(Harm::Hangs);
}

#[test]
fn jobs_end_once_while_the_workers_arbiter_stops() {
    runs(Harm::Stops);
}
