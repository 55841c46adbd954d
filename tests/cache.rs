//! The result cache: which jobs it answers, how long results stay, and which results must not come back.
#![cfg(all(feature = "cache", feature = "test-util"))]

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use actix_batch::{
    Cache, DeadLetter, RejectReason,
    prelude::*,
    test_util::{Ledger, Script, Scripted},
};
use futures_util::{StreamExt, future::join_all};
use tokio::time::advance;

use self::support::{
    Broken, Desk, Tenfold, balanced, balanced_at_the_end, guarded, ms, paused, quiet, real_time, tenfold,
};

mod support;

const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// A collector that caches results by number.
fn keeping<P: BatchProcessor<Job = Tenfold>>(
    factory: impl Fn() -> P + Send + Sync + 'static,
    cache: Cache,
) -> CollectorBuilder<P> {
    Collector::builder(factory).cache(|job: &Tenfold| job.0, cache)
}

/// Starts the collector, with a ledger.
fn started<P: BatchProcessor<Job = Tenfold>>(builder: CollectorBuilder<P>) -> (Collector<Tenfold>, Ledger<Tenfold>) {
    let jobs = builder.start().unwrap();
    let ledger = Ledger::new(&jobs);
    (jobs, ledger)
}

/// Submits jobs with these numbers at once and awaits all replies. Returns how many of the jobs were cache hits.
async fn hits(jobs: &Collector<Tenfold>, ledger: &Ledger<Tenfold>, numbers: impl Iterator<Item = u64>) -> u64 {
    let before = jobs.stats().await.unwrap();
    for (number, reply) in join_all(numbers.map(|n| async move { (n, ledger.submit(Tenfold(n)).await) })).await {
        assert_eq!(reply.unwrap(), number * 10);
    }
    jobs.stats().await.unwrap().since(&before).intake.cache_hits
}

#[test]
fn a_job_that_waited_for_room_is_answered_from_what_was_cached_meanwhile() {
    paused(async || {
        let script = Script::new(tenfold);
        let (jobs, ledger) = started(keeping(script.factory(), Cache::new(10)).max_size(1).max_pending(1));
        let replies = join_all((0..200).map(|_| ledger.submit(Tenfold(1)))).await;
        assert!(replies.into_iter().all(|reply| reply.unwrap() == 10));
        assert_eq!(script.sizes(), [1], "one job downstream for 200 callers");
        balanced(&ledger, &jobs).await;
    });
}

#[test]
fn a_cached_result_is_returned_at_once_without_the_processor() {
    paused(async || {
        let script = Script::new(tenfold);
        let (jobs, ledger) = started(keeping(script.factory(), Cache::new(10)));
        assert_eq!(ledger.submit(Tenfold(1)).await.unwrap(), 10);
        let before = tokio::time::Instant::now();
        assert_eq!(ledger.submit(Tenfold(1)).await.unwrap(), 10);
        assert_eq!(before.elapsed(), ms(0));
        assert_eq!(script.sizes(), [1]);
        let stats = jobs.stats().await.unwrap();
        assert_eq!((stats.intake.accepted, stats.succeeded, stats.intake.cache_hits), (1, 1, 1));
        assert_eq!(balanced(&ledger, &jobs).await.succeeded, 2);
    });
}

#[test]
fn a_caller_that_has_its_reply_finds_it_cached_from_any_thread() {
    guarded(|| {
        let jobs =
            keeping(Script::new(tenfold).factory(), Cache::new(1_000)).interval(ms(1)).start_on_thread().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            for number in 0..200 {
                assert_eq!(jobs.submit(Tenfold(number)).await.unwrap(), number * 10);
                assert_eq!(jobs.submit(Tenfold(number)).await.unwrap(), number * 10);
            }
            assert_eq!(jobs.stats().await.unwrap().intake.cache_hits, 200);
        });
    });
}

#[test]
fn a_failure_is_never_cached() {
    paused(async || {
        let script = Script::new(|job: &Tenfold| if job.0 == 13 { Err(Broken("unlucky")) } else { tenfold(job) });
        let script = script.panic_at(2).fail_at(3, Broken("all of them"));
        let (jobs, ledger) = started(keeping(script.factory(), Cache::new(10)));
        assert!(matches!(ledger.submit(Tenfold(13)).await, Err(JobError::Failed(_))));
        assert!(matches!(ledger.submit(Tenfold(1)).await, Err(JobError::Panicked)));
        assert!(matches!(ledger.submit(Tenfold(1)).await, Err(JobError::Failed(_))));
        assert_eq!(ledger.submit(Tenfold(1)).await.unwrap(), 10);
        assert!(matches!(ledger.submit(Tenfold(13)).await, Err(JobError::Failed(_))));
        assert_eq!(script.sizes(), [1; 5]);
        assert_eq!(balanced(&ledger, &jobs).await.failed.total(), 4);
    });
}

#[test]
fn each_output_of_a_batch_is_cached_under_its_own_key_even_if_other_jobs_fail() {
    paused(async || {
        let unlucky = [0, 3, 6, 9];
        let script =
            Script::new(move |job: &Tenfold| if unlucky.contains(&job.0) { Err(Broken("no")) } else { tenfold(job) });
        let builder = keeping(script.factory(), Cache::new(100)).dead_letters(|_: DeadLetter<Tenfold>| ());
        let (jobs, ledger) = started(builder);
        join_all((0..12).map(|number| ledger.submit(Tenfold(number)))).await;
        assert_eq!(script.sizes(), [12]);
        assert_eq!(hits(&jobs, &ledger, (0..12).filter(|number| !unlucky.contains(number))).await, 8);
        assert!(ledger.submit(Tenfold(3)).await.is_err());
        balanced(&ledger, &jobs).await;
    });
}

#[test]
fn the_result_of_a_retry_is_cached_too() {
    paused(async || {
        let script = Script::new(tenfold).fail_at(1, Broken("busy"));
        let (jobs, ledger) = started(keeping(script.factory(), Cache::new(10)).retry(Retry::fixed(ms(1)).attempts(2)));
        assert_eq!(ledger.submit(Tenfold(1)).await.unwrap(), 10);
        assert_eq!(hits(&jobs, &ledger, [1].into_iter()).await, 1);
        balanced(&ledger, &jobs).await;
    });
}

#[test]
fn a_cached_result_is_valid_until_its_time_to_live_is_over() {
    paused(async || {
        let script = Script::new(tenfold);
        let (jobs, ledger) = started(keeping(script.factory(), Cache::new(10).time_to_live(ms(100))));
        ledger.submit(Tenfold(1)).await.unwrap();
        advance(ms(99)).await;
        assert_eq!(ledger.submit(Tenfold(1)).await.unwrap(), 10);
        assert_eq!(script.sizes(), [1]);
        // A hit does not extend the time to live.
        advance(ms(1)).await;
        assert_eq!(ledger.submit(Tenfold(1)).await.unwrap(), 10);
        assert_eq!(script.sizes(), [1, 1]);
        // A primed result expires as well.
        jobs.prime(&Tenfold(2), 20);
        advance(ms(100)).await;
        ledger.submit(Tenfold(2)).await.unwrap();
        assert_eq!(script.sizes(), [1, 1, 1]);
        assert_eq!(balanced(&ledger, &jobs).await.succeeded, 4);
    });
}

#[test]
fn without_a_time_to_live_a_cached_result_does_not_expire() {
    paused(async || {
        let script = Script::new(tenfold);
        let (jobs, ledger) = started(keeping(script.factory(), Cache::new(10)));
        ledger.submit(Tenfold(1)).await.unwrap();
        advance(YEAR).await;
        assert_eq!(hits(&jobs, &ledger, [1].into_iter()).await, 1);
        balanced(&ledger, &jobs).await;
    });
}

#[test]
fn never_more_results_are_cached_than_the_capacity() {
    paused(async || {
        for capacity in [1, 2, 10, 100, 1_030] {
            let script = Script::new(tenfold);
            let (jobs, ledger) = started(keeping(script.factory(), Cache::new(capacity)));
            assert_eq!(hits(&jobs, &ledger, 0..4_000).await, 0);
            // Every number is looked up before the first one comes again.
            let kept = usize::try_from(hits(&jobs, &ledger, 0..4_000).await).unwrap();
            assert!(kept <= capacity && kept * 10 >= capacity * 9, "{kept} of {capacity}");
            balanced(&ledger, &jobs).await;
        }
    });
}

#[test]
fn a_primed_result_needs_no_processor_and_replaces_the_cached_one() {
    paused(async || {
        let script = Script::new(tenfold);
        let (jobs, ledger) = started(keeping(script.factory(), Cache::new(10)));
        jobs.prime(&Tenfold(1), 11);
        assert_eq!(ledger.submit(Tenfold(1)).await.unwrap(), 11);
        jobs.prime(&Tenfold(1), 12);
        assert_eq!(ledger.submit(Tenfold(1)).await.unwrap(), 12);
        assert!(script.sizes().is_empty());
        assert_eq!(balanced(&ledger, &jobs).await.succeeded, 2);
    });
}

#[test]
fn clearing_a_key_makes_only_that_key_be_processed_again() {
    paused(async || {
        let script = Script::new(tenfold);
        let (jobs, ledger) = started(keeping(script.factory(), Cache::new(10)));
        assert_eq!(hits(&jobs, &ledger, 0..5).await, 0);
        jobs.clear(&Tenfold(3));
        advance(ms(1)).await;
        assert_eq!(hits(&jobs, &ledger, 0..5).await, 4);
        // A result that came after the clear is cached again.
        assert_eq!(hits(&jobs, &ledger, 0..5).await, 5);
        jobs.clear_all();
        advance(ms(1)).await;
        assert_eq!(hits(&jobs, &ledger, 0..5).await, 0);
        assert_eq!(hits(&jobs, &ledger, 0..5).await, 5);
        balanced(&ledger, &jobs).await;
    });
}

/// Numbers 1 and 2 are in flight while `meanwhile` happens to the collector. Returns which of them are cached afterwards.
async fn cached_after(meanwhile: impl FnOnce(&Collector<Tenfold>)) -> [bool; 2] {
    let (mut desk, clerk) = Desk::new();
    let (jobs, ledger) = started(keeping(clerk, Cache::new(10)));
    let replies = [ledger.submit(Tenfold(1)), ledger.submit(Tenfold(2))];
    let held = desk.next().await;
    meanwhile(&jobs);
    held.complete();
    assert!(join_all(replies).await.iter().all(Result::is_ok));

    let mut kept = [true; 2];
    for (number, kept) in [1, 2].into_iter().zip(&mut kept) {
        let again = ledger.submit(Tenfold(number));
        advance(ms(10)).await;
        quiet().await;
        if let Some(held) = desk.try_next() {
            *kept = false;
            held.complete();
        }
        assert_eq!(again.await.unwrap(), number * 10);
    }
    balanced(&ledger, &jobs).await;
    kept
}

#[test]
fn a_result_that_was_in_flight_when_its_key_was_cleared_is_not_cached() {
    paused(async || {
        assert_eq!(cached_after(|_| ()).await, [true, true]);
        assert_eq!(cached_after(|jobs| jobs.clear(&Tenfold(1))).await, [false, true]);
        assert_eq!(cached_after(Collector::clear_all).await, [false, false]);
    });
}

#[test]
fn no_cleared_key_comes_back_however_many_are_cleared() {
    paused(async || {
        let clear = |jobs: &Collector<Tenfold>, number| jobs.clear(&Tenfold(number));
        assert_eq!(cached_after(|jobs| (1..5_000).for_each(|number| clear(jobs, number))).await, [false, false]);
        assert_eq!(cached_after(|jobs| (1..5_000).rev().for_each(|number| clear(jobs, number))).await, [false, false]);
    });
}

#[test]
fn a_result_that_was_in_flight_does_not_replace_a_primed_one() {
    paused(async || {
        let (mut desk, clerk) = Desk::new();
        let (jobs, ledger) = started(keeping(clerk, Cache::new(10)));
        let reply = ledger.submit(Tenfold(1));
        let held = desk.next().await;
        jobs.prime(&Tenfold(1), 11);
        held.complete();
        assert_eq!(reply.await.unwrap(), 10);
        assert_eq!(ledger.submit(Tenfold(1)).await.unwrap(), 11);
        balanced(&ledger, &jobs).await;
    });
}

#[test]
fn no_job_follows_one_that_was_accepted_before_its_key_was_cleared() {
    paused(async || {
        let (mut desk, clerk) = Desk::new();
        let (jobs, ledger) = started(keeping(clerk, Cache::new(10)).coalesce_by(|job| job.0));
        let before = [ledger.submit(Tenfold(1)), ledger.submit(Tenfold(1))];
        let stale = desk.next().await;
        jobs.clear(&Tenfold(1));
        advance(ms(1)).await;
        let mut after = vec![ledger.submit(Tenfold(1))];
        let fresh = desk.next().await;
        assert_eq!((stale.numbers(), fresh.numbers()), (vec![1], vec![1]));

        stale.answer(|_| Ok(Outcomes::all(10)));
        assert!(join_all(before).await.into_iter().all(|reply| reply.unwrap() == 10));
        // The end of the stale job changes nothing for the followers of the fresh one.
        after.push(ledger.submit(Tenfold(1)));
        fresh.answer(|_| Ok(Outcomes::all(11)));
        assert!(join_all(after).await.into_iter().all(|reply| reply.unwrap() == 11));
        assert_eq!(ledger.submit(Tenfold(1)).await.unwrap(), 11);
        let stats = jobs.stats().await.unwrap();
        assert_eq!((stats.intake.accepted, stats.intake.coalesced, stats.intake.cache_hits), (4, 2, 1));
        balanced(&ledger, &jobs).await;
    });
}

#[test]
fn a_late_result_does_not_replace_one_that_was_requested_after_the_clear() {
    paused(async || {
        let (mut desk, clerk) = Desk::new();
        let (jobs, ledger) = started(keeping(clerk, Cache::new(10)).coalesce_by(|job| job.0));
        let before = ledger.submit(Tenfold(1));
        let stale = desk.next().await;
        jobs.clear_all();
        advance(ms(1)).await;
        let after = ledger.submit(Tenfold(1));
        desk.next().await.answer(|_| Ok(Outcomes::all(11)));
        assert_eq!(after.await.unwrap(), 11);
        stale.answer(|_| Ok(Outcomes::all(10)));
        assert_eq!(before.await.unwrap(), 10);
        assert_eq!(ledger.submit(Tenfold(1)).await.unwrap(), 11);
        balanced(&ledger, &jobs).await;
    });
}

#[test]
fn with_coalescing_submit_all_processes_each_key_once() {
    paused(async || {
        let script = Script::new(tenfold).keep_jobs();
        let jobs = keeping(script.factory(), Cache::new(10)).coalesce_by(|job| job.0).start().unwrap();
        for _ in 0..2 {
            let replies: Vec<_> = jobs.submit_all([1, 2, 1, 3, 2, 1].map(Tenfold)).map(Result::unwrap).collect().await;
            assert_eq!(replies, [10, 20, 10, 30, 20, 10]);
        }
        assert_eq!(script.sizes(), [3]);
        let stats = jobs.stats().await.unwrap();
        assert_eq!((stats.intake.accepted, stats.intake.coalesced, stats.intake.cache_hits), (6, 3, 6));
    });
}

#[test]
fn a_cache_hit_needs_no_room_at_any_door() {
    paused(async || {
        let (mut desk, clerk) = Desk::new();
        let (jobs, ledger) = started(keeping(clerk, Cache::new(10)).max_size(1).max_pending(1));
        jobs.prime(&Tenfold(1), 10);
        let blocking = ledger.submit(Tenfold(2));
        let held = desk.next().await;
        assert_eq!(ledger.try_submit(Tenfold(3)).unwrap_err().reason, RejectReason::Overloaded);

        assert_eq!(ledger.submit(Tenfold(1)).await.unwrap(), 10);
        assert_eq!(ledger.try_submit(Tenfold(1)).unwrap().await.unwrap(), 10);
        assert_eq!(ledger.send(&jobs.recipient().unwrap(), Tenfold(1)).await.unwrap().unwrap(), 10);
        let urgent = SubmitJob::new(Tenfold(1)).priority(Priority::High).within(ms(1));
        assert_eq!(ledger.submit(urgent).await.unwrap(), 10);
        ledger.do_send(&jobs.recipient().unwrap(), Tenfold(1));
        quiet().await;
        drop(ledger.submit(Tenfold(1)));
        assert_eq!(jobs.stats().await.unwrap().intake.cache_hits, 6);

        held.complete();
        assert_eq!(blocking.await.unwrap(), 20);
        let balance = balanced(&ledger, &jobs).await;
        assert_eq!((balance.submitted, balance.succeeded, balance.handed_back), (8, 5, 1));
    });
}

#[test]
fn after_a_shutdown_every_door_rejects_even_jobs_whose_result_is_cached() {
    paused(async || {
        let actor = keeping(Script::new(tenfold).factory(), Cache::new(10)).build().unwrap();
        let jobs = actor.handle();
        let (ledger, addr) = (Ledger::new(&jobs), actor.start());
        jobs.prime(&Tenfold(1), 10);
        jobs.shutdown(Shutdown::drain()).await.unwrap();
        assert!(matches!(ledger.submit(Tenfold(1)).await, Err(JobError::ShutDown)));
        assert_eq!(ledger.try_submit(Tenfold(1)).unwrap_err().reason, RejectReason::ShutDown);
        let reply = ledger.send(&addr.recipient(), Tenfold(1)).await.unwrap();
        assert!(matches!(reply, Err(JobError::ShutDown)));
        assert_eq!(jobs.stats().await.unwrap().intake.cache_hits, 0);
        balanced_at_the_end(&ledger);
    });
}

#[test]
fn a_job_whose_cache_key_panics_is_processed_and_not_cached() {
    paused(async || {
        let script = Script::new(tenfold);
        let key = |job: &Tenfold| if job.0 == 13 { panic!("no key") } else { job.0 };
        let (jobs, ledger) = started(Collector::builder(script.factory()).cache(key, Cache::new(1)));
        for _ in 0..3 {
            let replies = join_all([ledger.submit(Tenfold(13)), ledger.submit(Tenfold(1))]).await;
            assert!(replies.into_iter().all(|reply| reply.is_ok()));
        }
        jobs.prime(&Tenfold(13), 0);
        jobs.clear(&Tenfold(13));
        assert_eq!(ledger.submit(Tenfold(13)).await.unwrap(), 130);
        assert_eq!(script.sizes(), [2, 1, 1, 1]);
        assert_eq!(jobs.stats().await.unwrap().intake.cache_hits, 2);
        balanced(&ledger, &jobs).await;
    });
}

/// A job whose output panics when it is copied, or dropped, while a switch is on.
#[derive(Clone, Default)]
struct Fragile {
    no_copies: Arc<AtomicBool>,
    no_drops: Arc<AtomicBool>,
}

struct Porcelain(Fragile);

impl Job for Fragile {
    type Output = Porcelain;
    type Error = Broken;
}

impl Clone for Porcelain {
    fn clone(&self) -> Self {
        assert!(!self.0.no_copies.load(SeqCst), "it broke in copying");
        Self(self.0.clone())
    }
}

impl Drop for Porcelain {
    fn drop(&mut self) {
        assert!(!self.0.no_drops.load(SeqCst), "it broke in dropping");
    }
}

fn china() -> (Script<Fragile>, Collector<Fragile>) {
    let script = Script::new(|job: &Fragile| Ok(Porcelain(job.clone())));
    let jobs = Collector::builder(script.factory()).cache(|_: &Fragile| (), Cache::new(1)).start().unwrap();
    (script, jobs)
}

#[test]
fn an_output_that_cannot_be_copied_is_not_cached_and_still_reaches_its_caller() {
    paused(async || {
        let (script, jobs) = china();
        let fragile = Fragile::default();
        fragile.no_copies.store(true, SeqCst);
        for _ in 0..2 {
            assert!(jobs.submit(fragile.clone()).await.is_ok());
        }
        fragile.no_copies.store(false, SeqCst);
        assert!(jobs.submit(fragile.clone()).await.is_ok());
        assert_eq!(script.sizes(), [1, 1, 1]);
        assert_eq!(jobs.stats().await.unwrap().intake.cache_hits, 0);
    });
}

#[test]
fn a_cached_result_that_can_no_longer_be_copied_is_a_miss() {
    paused(async || {
        let (script, jobs) = china();
        let fragile = Fragile::default();
        assert!(jobs.submit(fragile.clone()).await.is_ok());
        fragile.no_copies.store(true, SeqCst);
        assert!(jobs.submit(fragile.clone()).await.is_ok());
        assert_eq!(script.sizes(), [1, 1]);
        assert_eq!(jobs.stats().await.unwrap().intake.cache_hits, 0);
    });
}

#[test]
fn a_cached_result_that_panics_when_dropped_harms_no_job() {
    paused(async || {
        let (script, jobs) = china();
        let fragile = Fragile::default();
        for let_go in [|jobs: &Collector<Fragile>| jobs.clear(&Fragile::default()), Collector::clear_all] {
            jobs.prime(&fragile, Porcelain(fragile.clone()));
            fragile.no_drops.store(true, SeqCst);
            let_go(&jobs);
            fragile.no_drops.store(false, SeqCst);
        }
        advance(ms(1)).await;
        assert!(jobs.submit(fragile).await.is_ok());
        assert_eq!(script.sizes(), [1]);
    });
}

#[test]
fn threads_that_submit_and_clear_concurrently_each_get_their_own_replies() {
    real_time(async || {
        let script = Script::new(tenfold);
        let builder =
            keeping(script.factory(), Cache::new(8)).coalesce_by(|job| job.0).interval(ms(1)).max_pending(100);
        let (jobs, ledger) = started(builder);
        let threads = (0..4_u64).map(|thread| {
            let (jobs, ledger) = (jobs.clone(), ledger.clone());
            tokio::task::spawn_blocking(move || {
                for round in 0..200 {
                    let number = (thread * 7 + round * 3) % 16;
                    assert_eq!(support::wait(ledger.submit(Tenfold(number))).unwrap(), number * 10);
                    match round % 20 {
                        0 => jobs.clear_all(),
                        10 => jobs.clear(&Tenfold(number)),
                        _ => {}
                    }
                }
            })
        });
        assert!(join_all(threads).await.iter().all(Result::is_ok));
        assert_eq!(balanced(&ledger, &jobs).await.succeeded, 800);
    });
}

#[test]
fn without_a_cache_prime_and_clear_do_nothing() {
    paused(async || {
        let script = Script::new(tenfold);
        let (jobs, ledger) = started(Collector::builder(script.factory()).coalesce_by(|job: &Tenfold| job.0));
        jobs.prime(&Tenfold(1), 11);
        jobs.clear(&Tenfold(1));
        jobs.clear_all();
        assert_eq!(ledger.submit(Tenfold(1)).await.unwrap(), 10);
        balanced(&ledger, &jobs).await;
    });
}

#[test]
fn an_impossible_cache_setting_is_refused_by_name() {
    let refused = |with: fn(CollectorBuilder<Scripted<Tenfold>>) -> CollectorBuilder<Scripted<Tenfold>>| {
        with(Collector::builder(Script::new(tenfold).factory())).build().unwrap_err().to_string()
    };
    assert_eq!(
        refused(|builder| builder.cache(|job| job.0, Cache::new(0))),
        "`cache.capacity` must be at least 1 (got 0)"
    );
    assert_eq!(
        refused(|builder| builder.cache(|job| job.0, Cache::new(1).time_to_live(ms(0)))),
        "`cache.time_to_live` must be more than 0 and at most 366 days (got 0ns)"
    );
    let refused_message = refused(|builder| builder.cache(|job| job.0, Cache::new(1).time_to_live(2 * YEAR)));
    assert!(
        refused_message.starts_with("`cache.time_to_live` must be more than 0 and at most 366 days"),
        "{refused_message}"
    );
}

/// A payment, whose content is compared by its hash.
#[derive(Hash)]
struct Payment(u64);

impl Job for Payment {
    type Output = ();
    type Error = Broken;
}

#[test]
fn a_cache_beside_idempotency_keys_is_refused() {
    let builder = Collector::builder(Script::new(|_: &Payment| Ok(())).factory());
    let both = builder.cache(|payment| payment.0, Cache::new(1)).idempotent_by(|payment| payment.0, ms(1)).build();
    assert_eq!(
        both.unwrap_err().to_string(),
        "`cache` must be unset when `idempotent_by` is set, which already remembers outcomes (got set)"
    );
}

#[test]
fn a_loop_of_cache_hits_lets_other_tasks_run() {
    real_time(async || {
        let script = Script::new(tenfold);
        let jobs = Collector::builder(script.factory()).cache(|job| job.0, Cache::new(10)).start().unwrap();
        jobs.submit(Tenfold(1)).await.unwrap();
        let ticks = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let ticker = Arc::clone(&ticks);
        actix_rt::spawn(async move {
            loop {
                tokio::time::sleep(ms(1)).await;
                ticker.fetch_add(1, SeqCst);
            }
        });
        let begin = std::time::Instant::now();
        while begin.elapsed() < ms(300) {
            jobs.submit(Tenfold(1)).await.unwrap();
        }
        assert!(ticks.load(SeqCst) >= 10, "{} ticks", ticks.load(SeqCst));
    });
}
