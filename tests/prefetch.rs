//! The next batch is prefetched for a single worker with a thread of its own. Whatever is decided before the worker begins it counts for
//! it, as for any batch that waits.
#![cfg(feature = "test-util")]

use std::{
    future::pending,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use actix_batch::{
    Observer,
    observe::{Attempted, Dispatched},
    prelude::*,
    test_util::{Ledger, Recorded},
};
use actix_rt::Arbiter;

use self::support::{Broken, Clerk, Desk, Held, Tenfold, balanced, ms, quiet, real_time, tenfold};

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
        let busy = Busy::new(|builder| builder.timeout(ms(600))).await;
        let Busy { mut desk, jobs, ledger, first, replies: [zero, one] } = busy;
        let (release, released) = mpsc::channel::<()>();
        first.answer(move |_| {
            // Its thread is blocked, so it does not notice that it is told to stop.
            let _ = released.recv();
            Ok(Outcomes::all(0))
        });
        assert!(matches!(zero.await, Err(JobError::TimedOut)));
        let second = desk.next().await;
        let two = ledger.submit(Tenfold(2));
        jobs.stats().await.unwrap();
        drop(release);
        assert!(next_without_the_collector(&mut desk, ms(50)).is_none(), "the lost worker takes nothing more");
        second.complete();
        desk.next().await.complete();
        assert_eq!((one.await.unwrap(), two.await.unwrap()), (10, 20));
        balanced(&ledger, &jobs).await;
    });
}

/// Stops its arbiter at job 0, and its future takes a while to be dropped: so the collector hears that the worker has gone before it
/// hears of the batch.
struct Leaver;

struct SlowlyDropped;

impl Drop for SlowlyDropped {
    fn drop(&mut self) {
        thread::sleep(ms(100));
    }
}

impl BatchProcessor for Leaver {
    type Job = Tenfold;

    async fn process(&mut self, batch: &Batch<Tenfold>) -> Result<Outcomes<Tenfold>, Broken> {
        if batch[0].0 == 0 {
            let _guard = SlowlyDropped;
            Arbiter::current().stop();
            pending::<()>().await;
        }
        Ok(Outcomes::each(batch.iter().map(tenfold)))
    }
}

#[test]
fn nothing_is_prefetched_for_a_worker_that_has_gone_while_its_batch_is_still_being_dropped() {
    real_time(async || {
        let builder = Collector::builder(|| Leaver).workers(Workers::threads(1));
        let jobs = builder.max_size(1).interval(ms(60_000)).start().unwrap();
        let ledger = Ledger::new(&jobs);
        let [zero, one, two] = [0, 1, 2].map(|number| ledger.submit(Tenfold(number)));
        assert!(matches!(zero.await, Err(JobError::Lost)));
        assert_eq!((one.await.unwrap(), two.await.unwrap()), (10, 20));
        balanced(&ledger, &jobs).await;
        jobs.shutdown(Shutdown::drain()).await.unwrap();
    });
}

#[test]
fn a_retry_that_has_become_due_meanwhile_goes_before_a_new_batch() {
    real_time(async || {
        let retry = Retry::fixed(ms(20)).attempts(2);
        let busy = Busy::new(|builder| builder.retry(retry)).await;
        let Busy { mut desk, jobs, ledger, first, replies: [zero, one] } = busy;
        let two = ledger.submit(Tenfold(2));
        first.answer(|_| Err(Broken("busy")));
        let second = desk.next().await;
        assert_eq!(second.numbers(), [1]);
        jobs.stats().await.unwrap();
        // The collector's thread is busy until after the retry is due.
        thread::sleep(ms(30));
        second.complete();
        assert!(next_without_the_collector(&mut desk, ms(50)).is_none());
        let third = desk.next().await;
        assert_eq!(third.numbers(), [0]);
        third.complete();
        desk.next().await.complete();
        assert_eq!((zero.await.unwrap(), one.await.unwrap(), two.await.unwrap()), (0, 10, 20));
        balanced(&ledger, &jobs).await;
    });
}

#[test]
fn only_a_single_worker_has_its_next_batch_prefetched() {
    real_time(async || {
        let (mut desk, factory) = Desk::<Tenfold>::new();
        let builder = Collector::builder(factory).workers(Workers::threads(2));
        let jobs = builder.max_size(1).interval(ms(60_000)).start().unwrap();
        let ledger = Ledger::new(&jobs);
        let replies = [0, 1, 2].map(|number| ledger.submit(Tenfold(number)));
        let (first, second) = (desk.next().await, desk.next().await);
        jobs.stats().await.unwrap();
        first.complete();
        assert!(next_without_the_collector(&mut desk, ms(50)).is_none(), "it may be the other one that is free first");
        second.complete();
        desk.next().await.complete();
        for reply in replies {
            reply.await.unwrap();
        }
        balanced(&ledger, &jobs).await;
    });
}

/// The batches that began and ended, in the order in which an observer heard of it.
#[derive(Default)]
struct Heard(Mutex<Vec<(&'static str, u64, Duration)>>);

impl Observer for Heard {
    fn dispatched(&self, _: &str, dispatched: &Dispatched) {
        self.0.lock().unwrap().push(("began", dispatched.batch, dispatched.waited));
    }

    fn attempted(&self, _: &str, attempted: &Attempted) {
        self.0.lock().unwrap().push(("ended", attempted.batch, attempted.waited));
    }
}

#[test]
fn observers_hear_of_the_end_of_a_batch_before_the_begin_of_the_next_and_how_long_that_one_waited() {
    real_time(async || {
        let heard = Arc::new(Heard::default());
        let busy = Busy::new(|builder| builder.observer(Arc::clone(&heard))).await;
        let Busy { mut desk, jobs, ledger, first, replies: [zero, one] } = busy;
        thread::sleep(ms(30));
        first.complete();
        next_without_the_collector(&mut desk, ms(10_000)).expect("the worker goes on").complete();
        assert_eq!((zero.await.unwrap(), one.await.unwrap()), (0, 10));
        balanced(&ledger, &jobs).await;
        let heard = heard.0.lock().unwrap();
        let order: Vec<_> = heard.iter().map(|(what, batch, _)| (*what, *batch)).collect();
        assert_eq!(order, [("began", 0), ("ended", 0), ("began", 1), ("ended", 1)]);
        assert!(heard[2].2 >= ms(30) && heard[2].2 == heard[3].2, "{heard:?}");
    });
}

#[test]
fn a_shutdown_by_the_last_handle_takes_a_prefetched_batch_along() {
    real_time(async || {
        let Busy { mut desk, jobs, ledger, first, replies: [zero, one] } = Busy::new(|builder| builder).await;
        drop((jobs, ledger));
        quiet().await;
        first.complete();
        desk.next().await.complete();
        assert_eq!((zero.await.unwrap(), one.await.unwrap()), (0, 10));
    });
}

/// Blocks its thread until it is released, and counts how often another task of the thread has had its turn.
struct Blocking {
    released: Arc<Mutex<mpsc::Receiver<()>>>,
    turns: Arc<AtomicU64>,
    turns_at_begin: Arc<Mutex<Vec<u64>>>,
}

impl BatchProcessor for Blocking {
    type Job = Tenfold;

    async fn prepare(&mut self) -> Result<(), Broken> {
        let turns = Arc::clone(&self.turns);
        actix_rt::spawn(async move {
            loop {
                turns.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(ms(1)).await;
            }
        });
        Ok(())
    }

    async fn process(&mut self, batch: &Batch<Tenfold>) -> Result<Outcomes<Tenfold>, Broken> {
        self.turns_at_begin.lock().unwrap().push(self.turns.load(Ordering::Relaxed));
        let _ = self.released.lock().unwrap().recv();
        thread::sleep(ms(5));
        Ok(Outcomes::each(batch.iter().map(tenfold)))
    }
}

#[test]
fn tasks_and_timers_of_the_workers_thread_have_their_turn_before_it_goes_on() {
    real_time(async || {
        let (release, released) = mpsc::channel();
        let (released, turns, begins) = (Arc::new(Mutex::new(released)), Arc::default(), Arc::new(Mutex::default()));
        let turns_at_begin = Arc::clone(&begins);
        let factory = move || Blocking {
            released: Arc::clone(&released),
            turns: Arc::clone(&turns),
            turns_at_begin: Arc::clone(&turns_at_begin),
        };
        let builder = Collector::builder(factory).workers(Workers::threads(1));
        let jobs = builder.max_size(1).interval(ms(60_000)).start().unwrap();
        let replies = [0, 1].map(|number| jobs.submit(Tenfold(number)));
        while jobs.stats().await.unwrap().in_flight == 0 {}
        jobs.stats().await.unwrap();
        drop(release);
        // The worker goes on by itself.
        thread::sleep(ms(50));
        for reply in replies {
            reply.await.unwrap();
        }
        let begins = begins.lock().unwrap();
        assert!(begins[1] > begins[0], "{begins:?}");
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
