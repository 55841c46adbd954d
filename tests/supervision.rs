//! Workers fail alone: a panic, a stop, an outage costs one batch at the most, and the worker comes back.
#![cfg(feature = "test-util")]

use std::{
    future::poll_fn,
    mem,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    task::Poll,
};

use actix_batch::{
    NoWorkers,
    prelude::*,
    test_util::{Ledger, Script, Scripted},
};
use actix_rt::Arbiter;
use futures_util::future::join_all;
use tokio::{
    sync::mpsc,
    time::{Duration, Instant, sleep},
};

use self::support::{Broken, Desk, Tenfold, balanced, ms, paused, quiet, real_time, tenfold};

mod support;

/// One worker, one job per batch: what happens to a batch happens to a job.
fn one_by_one(script: &Script<Tenfold>) -> CollectorBuilder<Scripted<Tenfold>> {
    Collector::builder(script.factory()).workers(Workers::local(1)).max_size(1)
}

fn which_processors(script: &Script<Tenfold>) -> Vec<u64> {
    script.seen().iter().map(|seen| seen.processor).collect()
}

#[test]
fn a_panicking_batch_fails_alone_and_its_worker_comes_back_as_a_new_processor() {
    paused(async || {
        let script = Script::new(tenfold).panic_at(2);
        let jobs = one_by_one(&script).max_size(2).start().unwrap();
        let ledger = Ledger::new(&jobs);
        let replies = join_all((0..6).map(|number| ledger.submit(Tenfold(number)))).await;
        for (number, reply) in (0..).zip(replies) {
            match number {
                2 | 3 => assert!(matches!(reply, Err(JobError::Panicked)), "{reply:?}"),
                _ => assert_eq!(reply.unwrap(), number * 10),
            }
        }
        assert_eq!((which_processors(&script), script.prepared()), (vec![1, 1, 2], 2));
        balanced(&ledger, &jobs).await;
        let stats = jobs.stats().await.unwrap();
        assert_eq!((stats.restarts, stats.failed.panicked, stats.workers.able), (1, 2, 1));
    });
}

#[test]
fn a_panic_on_a_workers_own_thread_fails_its_batch_alone_too() {
    real_time(async || {
        let script = Script::new(tenfold).panic_at(2);
        let jobs = one_by_one(&script).workers(Workers::threads(1)).start().unwrap();
        let ledger = Ledger::new(&jobs);
        let replies = join_all((0..3).map(|number| ledger.submit(Tenfold(number)))).await;
        assert!(matches!(replies[..], [Ok(0), Err(JobError::Panicked), Ok(20)]), "{replies:?}");
        assert_eq!(which_processors(&script), [1, 1, 2]);
        balanced(&ledger, &jobs).await;
    });
}

#[test]
fn while_one_worker_is_away_the_others_work() {
    paused(async || {
        let (mut desk, factory) = Desk::<Tenfold>::new();
        let jobs = Collector::builder(factory).workers(Workers::local(2)).max_size(1).start().unwrap();
        let ledger = Ledger::new(&jobs);
        let [first, second, third] = [0, 1, 2].map(|number| ledger.submit(Tenfold(number)));
        let (panicking, working) = (desk.next().await, desk.next().await);
        panicking.panic();
        assert!(matches!(first.await, Err(JobError::Panicked)));
        assert!(desk.try_next().is_none());
        working.complete();
        assert_eq!(second.await.unwrap(), 10);
        desk.next().await.complete();
        assert_eq!(third.await.unwrap(), 20);
        assert_eq!(jobs.stats().await.unwrap().workers.able, 1, "no time has passed: the other is still away");
        balanced(&ledger, &jobs).await;
    });
}

#[test]
fn a_worker_that_hangs_keeps_only_its_own_batch() {
    paused(async || {
        let script = Script::new(tenfold).hang_at(2);
        let jobs = one_by_one(&script).workers(Workers::local(2)).start().unwrap();
        let ledger = Ledger::new(&jobs);
        let mut replies: Vec<_> = (0..20).map(|number| ledger.submit(Tenfold(number))).collect();
        let hung = replies.remove(1);
        assert!(join_all(replies).await.iter().all(Result::is_ok));
        assert_eq!(jobs.stats().await.unwrap().in_flight, 1);
        jobs.shutdown(Shutdown::now()).await.unwrap();
        assert!(matches!(hung.await, Err(JobError::ShutDown)));
        balanced(&ledger, &jobs).await;
    });
}

/// The first processor panics when its worker is told to stop; the next one takes longer to prepare than a worker may take to stop.
struct PanicsWhenStopped {
    built: u64,
}

impl BatchProcessor for PanicsWhenStopped {
    type Job = Tenfold;

    async fn prepare(&mut self) -> Result<(), Broken> {
        if self.built > 1 {
            sleep(ms(3_000)).await;
        }
        Ok(())
    }

    async fn process(&mut self, batch: &Batch<Tenfold>) -> Result<Outcomes<Tenfold>, Broken> {
        if self.built == 1 {
            let mut is_told = false;
            poll_fn(|_| {
                assert!(!mem::replace(&mut is_told, true), "told to stop");
                Poll::<()>::Pending
            })
            .await;
        }
        Ok(Outcomes::each(batch.iter().map(tenfold)))
    }
}

#[test]
fn a_worker_that_panics_when_it_is_told_to_stop_is_not_given_up_while_it_is_rebuilt() {
    paused(async || {
        let built = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&built);
        let factory = move || PanicsWhenStopped { built: count.fetch_add(1, Ordering::Relaxed) + 1 };
        let jobs = Collector::builder(factory).workers(Workers::local(1)).max_size(1).timeout(ms(20)).start().unwrap();
        let ledger = Ledger::new(&jobs);
        let [first, second] = [0, 1].map(|number| ledger.submit(Tenfold(number)));
        assert!(matches!(first.await, Err(JobError::TimedOut)));
        assert_eq!(second.await.unwrap(), 10);
        assert_eq!(built.load(Ordering::Relaxed), 2);
        balanced(&ledger, &jobs).await;
    });
}

#[test]
fn an_error_of_a_batch_is_no_failure_of_the_worker() {
    paused(async || {
        let script = (1..=10).fold(Script::new(tenfold), |script, n| script.fail_at(n, Broken("refused")));
        let jobs = one_by_one(&script).start().unwrap();
        let ledger = Ledger::new(&jobs);
        let start = Instant::now();
        let replies = join_all((0..11).map(|number| ledger.submit(Tenfold(number)))).await;
        assert!(replies[..10].iter().all(|reply| matches!(reply, Err(JobError::Failed(_)))));
        assert_eq!((replies[10].as_ref().unwrap(), script.built(), start.elapsed()), (&100, 1, ms(0)));
        balanced(&ledger, &jobs).await;
    });
}

#[test]
fn a_worker_whose_arbiter_stops_mid_batch_loses_that_batch_and_is_replaced() {
    real_time(async || {
        let script = Script::new(tenfold).stop_at(2);
        let jobs = one_by_one(&script).workers(Workers::threads(1)).start().unwrap();
        let ledger = Ledger::new(&jobs);
        let replies = join_all((0..3).map(|number| ledger.submit(Tenfold(number)))).await;
        assert!(matches!(replies[..], [Ok(0), Err(JobError::Lost), Ok(20)]), "{replies:?}");
        assert_eq!(which_processors(&script), [1, 1, 2]);
        balanced(&ledger, &jobs).await;
        assert_eq!(jobs.stats().await.unwrap().restarts, 1);
    });
}

/// Answers, stops its arbiter, and holds up the end of its thread until the test lets it go.
struct Leaving(Option<Exit>);

struct Exit {
    begun: mpsc::UnboundedSender<()>,
    allowed: std::sync::mpsc::Receiver<()>,
}

impl BatchProcessor for Leaving {
    type Job = Tenfold;

    async fn process(&mut self, batch: &Batch<Tenfold>) -> Result<Outcomes<Tenfold>, Broken> {
        if self.0.is_some() {
            Arbiter::current().stop();
        }
        Ok(Outcomes::each(batch.iter().map(tenfold)))
    }
}

impl Drop for Leaving {
    fn drop(&mut self) {
        if let Some(exit) = self.0.take() {
            let _ = exit.begun.send(());
            let _ = exit.allowed.recv();
        }
    }
}

#[test]
fn a_batch_that_a_dying_worker_has_not_started_goes_to_the_next() {
    real_time(async || {
        let (begun, mut has_begun) = mpsc::unbounded_channel();
        let (allow, allowed) = std::sync::mpsc::channel();
        let exit = Mutex::new(Some(Exit { begun, allowed }));
        let jobs = Collector::builder(move || Leaving(exit.lock().unwrap().take()));
        let jobs = jobs.workers(Workers::threads(1)).max_size(1).start().unwrap();
        let ledger = Ledger::new(&jobs);
        assert_eq!(ledger.submit(Tenfold(1)).await.unwrap(), 10);
        // The worker has answered and counts as free, but its thread is ending: what it is given now it will never see.
        has_begun.recv().await.unwrap();
        let reply = ledger.submit(Tenfold(2));
        while jobs.stats().await.unwrap().in_flight == 0 {
            tokio::task::yield_now().await;
        }
        allow.send(()).unwrap();
        assert_eq!(reply.await.unwrap(), 20);
        balanced(&ledger, &jobs).await;
        assert_eq!(jobs.stats().await.unwrap().restarts, 1);
    });
}

#[test]
fn jobs_wait_while_prepare_fails_and_are_answered_once_it_succeeds() {
    paused(async || {
        let script = (1..=4).fold(Script::new(tenfold), |script, n| script.fail_prepare_at(n, Broken("no database")));
        let jobs = one_by_one(&script).max_pending(10).start().unwrap();
        let (ledger, start) = (Ledger::new(&jobs), Instant::now());
        let replies: Vec<_> = (0..15).map(|number| ledger.submit(Tenfold(number))).collect();
        sleep(ms(100)).await;
        let stats = jobs.stats().await.unwrap();
        assert_eq!(
            (stats.intake.pending, stats.intake.waiting, stats.workers.able, stats.workers.resting),
            (10, 5, 0, 0)
        );
        assert!(ledger.try_submit(Tenfold(99)).is_err(), "within `max_pending`");
        assert!((0..).zip(join_all(replies).await).all(|(number, reply)| reply.unwrap() == number * 10));
        assert_eq!(start.elapsed(), ms(10 + 20 + 40 + 80), "it is tried again after 10 ms, doubling");
        assert_eq!((script.prepared(), script.built()), (5, 5), "each time on a new processor");
        balanced(&ledger, &jobs).await;
        assert_eq!(jobs.stats().await.unwrap().restarts, 0);
    });
}

#[test]
fn a_prepare_that_fails_for_an_hour_retires_no_worker_and_backs_off_to_5_s() {
    paused(async || {
        let script = (1..=600).fold(Script::new(tenfold), |script, n| script.fail_prepare_at(n, Broken("no network")));
        let jobs = one_by_one(&script).start().unwrap();
        let (ledger, start) = (Ledger::new(&jobs), Instant::now());
        assert_eq!(ledger.submit(Tenfold(1)).await.unwrap(), 10);
        let doubling = ms(10 * (2_u64.pow(9) - 1));
        assert_eq!(start.elapsed(), doubling + Duration::from_secs(5) * (600 - 9));
        balanced(&ledger, &jobs).await;
    });
}

#[test]
fn a_prepare_that_panics_is_tried_again() {
    paused(async || {
        let script = Script::new(tenfold).panic_prepare_at(1).panic_prepare_at(2);
        let jobs = one_by_one(&script).start().unwrap();
        let (ledger, start) = (Ledger::new(&jobs), Instant::now());
        assert_eq!(ledger.submit(Tenfold(1)).await.unwrap(), 10);
        assert_eq!((start.elapsed(), script.built()), (ms(30), 3));
        balanced(&ledger, &jobs).await;
        assert_eq!(jobs.stats().await.unwrap().restarts, 0, "it never worked, so nothing was restarted");
    });
}

#[test]
fn a_factory_that_panics_is_called_again() {
    paused(async || {
        let script = Script::new(tenfold);
        let (calls, factory) = (AtomicU64::new(0), script.factory());
        let jobs = Collector::builder(move || {
            assert!(calls.fetch_add(1, Ordering::SeqCst) >= 2, "no processor today");
            factory()
        });
        let jobs = jobs.workers(Workers::local(1)).max_size(1).start().unwrap();
        let (ledger, start) = (Ledger::new(&jobs), Instant::now());
        assert_eq!(ledger.submit(Tenfold(1)).await.unwrap(), 10);
        assert_eq!((start.elapsed(), script.built()), (ms(30), 1));
        balanced(&ledger, &jobs).await;
        assert_eq!(jobs.stats().await.unwrap().restarts, 0, "it never worked, so nothing was restarted");
    });
}

#[test]
fn a_prepare_that_fails_after_a_restart_is_tried_again_too() {
    paused(async || {
        let script = Script::new(tenfold).panic_at(1).fail_prepare_at(2, Broken("not yet"));
        let jobs = one_by_one(&script).start().unwrap();
        let (ledger, start) = (Ledger::new(&jobs), Instant::now());
        let replies = join_all((0..2).map(|number| ledger.submit(Tenfold(number)))).await;
        assert!(matches!(replies[..], [Err(JobError::Panicked), Ok(10)]), "{replies:?}");
        assert_eq!((start.elapsed(), script.prepared()), (ms(10 + 20), 3));
        balanced(&ledger, &jobs).await;
    });
}

#[test]
fn a_worker_stays_away_10_ms_doubling_and_a_success_starts_over() {
    paused(async || {
        let script = Script::new(tenfold).panic_at(1).panic_at(2).panic_at(3).panic_at(5);
        let jobs = one_by_one(&script).start().unwrap();
        let (ledger, start) = (Ledger::new(&jobs), Instant::now());
        let mut replied = Vec::new();
        for number in 0..6 {
            let _ = ledger.submit(Tenfold(number)).await;
            replied.push(start.elapsed().as_millis());
        }
        assert_eq!(replied, [0, 10, 30, 70, 70, 80]);
        balanced(&ledger, &jobs).await;
    });
}

#[test]
fn more_than_5_panics_in_30_s_rest_the_worker_until_the_window_has_passed() {
    paused(async || {
        let script = (1..=6).fold(Script::new(tenfold), Script::panic_at);
        let jobs = one_by_one(&script).start().unwrap();
        let (ledger, start) = (Ledger::new(&jobs), Instant::now());
        let mut replies: Vec<_> = (0..8).map(|number| ledger.submit(Tenfold(number))).collect();
        let rest = replies.split_off(6);
        assert!(join_all(replies).await.iter().all(|reply| matches!(reply, Err(JobError::Panicked))));
        quiet().await;
        let stats = jobs.stats().await.unwrap();
        assert_eq!((stats.workers.able, stats.workers.resting, stats.intake.pending), (0, 1, 2), "jobs wait");
        assert!(join_all(rest).await.iter().all(Result::is_ok));
        assert_eq!(start.elapsed(), Duration::from_secs(30), "the first panic was at 0 s");
        balanced(&ledger, &jobs).await;
        assert_eq!(jobs.stats().await.unwrap().restarts, 6);
    });
}

#[test]
fn five_panics_in_30_s_are_borne_again_and_again() {
    paused(async || {
        let script = (1..=50).fold(Script::new(tenfold), Script::panic_at);
        let jobs = one_by_one(&script).start().unwrap();
        let ledger = Ledger::new(&jobs);
        for number in 0..50 {
            assert!(matches!(ledger.submit(Tenfold(number)).await, Err(JobError::Panicked)));
            assert_eq!(jobs.stats().await.unwrap().workers.resting, 0);
            // The sixth is always just out of the window.
            sleep(Duration::from_secs(6)).await;
        }
        balanced(&ledger, &jobs).await;
    });
}

#[test]
fn where_the_builder_says_so_jobs_fail_with_no_workers_while_all_rest() {
    paused(async || {
        let script = (1..=12).fold(Script::new(tenfold), Script::panic_at);
        let jobs = one_by_one(&script).workers(Workers::local(2)).no_workers(NoWorkers::Fail).start().unwrap();
        let (ledger, start) = (Ledger::new(&jobs), Instant::now());
        let replies: Vec<_> = (0..15).map(|number| ledger.submit(Tenfold(number))).collect();
        let replies = join_all(replies).await;
        assert!(replies[..12].iter().all(|reply| matches!(reply, Err(JobError::Panicked))));
        assert!(replies[12..].iter().all(|reply| matches!(reply, Err(JobError::NoWorkers))), "what waited fails");
        let refused = ledger.submit(Tenfold(99)).await;
        assert!(matches!(refused, Err(JobError::NoWorkers)), "and so does what comes");
        assert!(refused.unwrap_err().is_retryable());
        assert!(start.elapsed() < Duration::from_secs(1));

        sleep(Duration::from_secs(30)).await;
        assert_eq!(ledger.submit(Tenfold(1)).await.unwrap(), 10, "and nothing does once they are back");
        balanced(&ledger, &jobs).await;
    });
}

#[test]
fn one_resting_worker_of_two_makes_no_job_fail() {
    paused(async || {
        let (mut desk, factory) = Desk::<Tenfold>::new();
        let jobs = Collector::builder(factory)
            .workers(Workers::local(2))
            .max_size(1)
            .no_workers(NoWorkers::Fail)
            .start()
            .unwrap();
        let ledger = Ledger::new(&jobs);
        // The first worker keeps its batch; the second takes all others, and panics.
        let kept = ledger.submit(Tenfold(0));
        let with_first = desk.next().await;
        for number in 1..=6 {
            let reply = ledger.submit(Tenfold(number));
            desk.next().await.panic();
            assert!(matches!(reply.await, Err(JobError::Panicked)));
        }
        let waiting = ledger.submit(Tenfold(7));
        quiet().await;
        assert_eq!(jobs.stats().await.unwrap().workers.resting, 1);
        with_first.complete();
        desk.next().await.complete();
        assert_eq!((kept.await.unwrap(), waiting.await.unwrap()), (0, 70));
        balanced(&ledger, &jobs).await;
    });
}
