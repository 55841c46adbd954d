//! Under storms of callers that come back at once, the collector still reads the time, answers requests and lets others run.
#![cfg(feature = "test-util")]

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

use actix_batch::{DeadLetter, Strategy, prelude::*};
use futures_util::future::join_all;
use tokio::runtime;

use self::support::{Broken, guarded, ms, real_time};

mod support;

#[derive(Debug)]
struct Ask;

impl Job for Ask {
    type Output = ();
    type Error = Broken;
}

/// A downstream that fails until it is told to recover.
#[derive(Clone, Default)]
struct Downstream {
    is_up: Arc<AtomicBool>,
    calls: Arc<AtomicUsize>,
}

impl BatchProcessor for Downstream {
    type Job = Ask;

    async fn process(&mut self, _: &Batch<Ask>) -> Result<Outcomes<Ask>, Broken> {
        self.calls.fetch_add(1, SeqCst);
        if self.is_up.load(SeqCst) { Ok(Outcomes::all(())) } else { Err(Broken("down")) }
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// Threads of callers that submit again as soon as they are answered, until the guard is dropped.
struct Callers {
    stop: Arc<AtomicBool>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Callers {
    fn start(collector: &Collector<Ask>, threads: usize, tasks: usize, succeeded: &Arc<AtomicU64>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let caller = |_| {
            let (collector, stop, succeeded) = (collector.clone(), Arc::clone(&stop), Arc::clone(succeeded));
            thread::spawn(move || {
                let ask = || async {
                    while !stop.load(SeqCst) {
                        succeeded.fetch_add(u64::from(collector.submit(Ask).await.is_ok()), SeqCst);
                    }
                };
                block_on(join_all((0..tasks).map(|_| ask())));
            })
        };
        let threads = (0..threads).map(caller).collect();
        Self { stop, threads }
    }
}

impl Drop for Callers {
    fn drop(&mut self) {
        self.stop.store(true, SeqCst);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// How long `stats()` took, again and again for this long; sorted.
fn answers(collector: &Collector<Ask>, time: Duration) -> Vec<Duration> {
    let (begin, mut answers) = (Instant::now(), Vec::new());
    while begin.elapsed() < time {
        let asked = Instant::now();
        block_on(collector.stats()).unwrap();
        answers.push(asked.elapsed());
        thread::sleep(ms(5));
    }
    answers.sort();
    answers
}

/// A breaker that rejects, in front of a downstream that is down, and callers that never wait.
fn storm(threads: usize, tasks: usize, max_size: usize, workers: Workers, strategy: Strategy) {
    guarded(move || {
        let (downstream, succeeded) = (Downstream::default(), Arc::new(AtomicU64::new(0)));
        let factory = downstream.clone();
        let breaker = Breaker::consecutive(1).open_for(ms(50)).reject_when_open(true);
        let collector = Collector::builder(move || factory.clone())
            .strategy(strategy)
            .max_size(max_size)
            .interval(ms(1))
            .workers(workers)
            .breaker(breaker)
            .start_on_thread()
            .unwrap();
        let callers = Callers::start(&collector, threads, tasks, &succeeded);
        let answers = answers(&collector, ms(1_000));
        let probes = downstream.calls.load(SeqCst);
        downstream.is_up.store(true, SeqCst);
        let recovered = Instant::now();
        while succeeded.load(SeqCst) == 0 {
            assert!(recovered.elapsed() < Duration::from_secs(20), "no probe was sent after the recovery");
            thread::sleep(ms(1));
        }
        let typical = answers[answers.len() / 2];
        println!(
            "{threads} × {tasks}, {strategy:?}, {workers:?}: {probes} probes, stats() {typical:?}, recovery {:?}",
            recovered.elapsed()
        );
        // 20 were due. A machine that is busy with other things may take a few of them.
        assert!(probes >= 8, "{probes} probes in a second, of 20 that were due");
        assert!(typical < ms(50), "requests are answered after {typical:?}");
        drop(callers);
    });
}

#[test]
fn an_open_breaker_probes_on_time_and_requests_are_answered_in_a_storm_of_callers() {
    storm(4, 1_000, 1, Workers::threads(1), Strategy::SizeOrInterval);
}

#[test]
fn a_storm_is_no_different_with_a_local_worker() {
    storm(2, 1_000, 1, Workers::local(1), Strategy::SizeOrInterval);
}

#[test]
fn a_storm_is_no_different_with_an_adaptive_policy_which_starts_with_single_jobs() {
    storm(4, 1_000, 100, Workers::threads(1), Strategy::Adaptive);
}

#[test]
fn a_storm_is_no_different_with_an_idle_policy() {
    storm(4, 1_000, 100, Workers::threads(1), Strategy::Idle);
}

#[test]
fn dead_letters_that_are_submitted_again_at_once_do_not_hold_the_actor() {
    guarded(|| {
        let (downstream, again) = (Downstream::default(), Arc::new(OnceLock::<Collector<Ask>>::new()));
        let (factory, resubmit) = (downstream.clone(), Arc::clone(&again));
        let collector = Collector::builder(move || factory.clone())
            .max_size(1)
            .breaker(Breaker::consecutive(1).open_for(ms(20)).reject_when_open(true))
            .dead_letters(move |letter: DeadLetter<Ask>| {
                if let Some(collector) = resubmit.get() {
                    // The caller is not told, and must not count as gone.
                    std::mem::forget(collector.submit(letter.job));
                }
            })
            .start_on_thread()
            .unwrap();
        let _ = again.set(collector.clone());
        std::mem::forget(collector.submit(Ask));
        thread::sleep(ms(300));
        let asked = Instant::now();
        block_on(collector.stats()).unwrap();
        assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
        assert!(downstream.calls.load(SeqCst) >= 3, "the breaker probes meanwhile");
        block_on(collector.shutdown(Shutdown::now())).unwrap();
    });
}

#[test]
fn a_loop_of_refused_submits_lets_other_tasks_run() {
    real_time(async || {
        let collector = Collector::builder(Downstream::default).start().unwrap();
        collector.shutdown(Shutdown::drain()).await.unwrap();
        let ticks = Arc::new(AtomicU64::new(0));
        let ticker = Arc::clone(&ticks);
        actix_rt::spawn(async move {
            loop {
                tokio::time::sleep(ms(1)).await;
                ticker.fetch_add(1, SeqCst);
            }
        });
        let begin = Instant::now();
        while begin.elapsed() < ms(300) {
            assert!(collector.submit(Ask).await.is_err());
        }
        assert!(ticks.load(SeqCst) >= 10, "{} ticks", ticks.load(SeqCst));
    });
}
