//! What a collector says of itself is true at any time: counts add up, and distributions show what happened.
#![cfg(feature = "test-util")]

use actix_batch::{
    Stats, Trigger,
    prelude::*,
    test_util::{Ledger, Script},
};
use futures_util::future::join_all;
use tokio::time::{advance, sleep};

use self::support::{Broken, Desk, Tenfold, balanced, ms, paused, quiet, real_time, tenfold};

mod support;

fn adds_up(stats: &Stats) -> bool {
    stats.intake.accepted == stats.succeeded + stats.failed.total() + stats.intake.pending as u64
}

#[test]
fn accepted_is_succeeded_plus_failed_plus_pending_at_any_time() {
    real_time(async || {
        let script = (1..=50).fold(Script::new(tenfold), |script, n| script.fail_at(n * 3, Broken("third")));
        let jobs = Collector::builder(script.factory())
            .workers(Workers::threads(2))
            .max_size(7)
            .max_pending(100)
            .interval(ms(1))
            .start()
            .unwrap();
        let ledger = Ledger::new(&jobs);
        let caller = tokio::task::spawn_blocking({
            let ledger = ledger.clone();
            move || (0..20_000).map(|number| ledger.submit(Tenfold(number))).collect::<Vec<_>>()
        });
        let mut looks = 0;
        loop {
            let stats = jobs.stats().await.unwrap();
            assert!(adds_up(&stats) && stats.intake.pending <= 100, "{stats:?}");
            looks += 1;
            if caller.is_finished() && stats.intake.pending == 0 {
                break;
            }
        }
        assert!(looks > 10);
        let _ = join_all(caller.await.unwrap()).await;
        assert_eq!(balanced(&ledger, &jobs).await.submitted, 20_000);
    });
}

#[test]
fn batches_are_counted_by_trigger_and_size() {
    paused(async || {
        let script = Script::new(tenfold);
        let jobs = Collector::builder(script.factory()).max_size(4).interval(ms(5)).start().unwrap();
        let ledger = Ledger::new(&jobs);
        let submit = |jobs: u64| join_all((0..jobs).map(|number| ledger.submit(Tenfold(number))).collect::<Vec<_>>());
        submit(12).await;
        submit(3).await;
        submit(1).await;
        let flushed = submit(2);
        jobs.flush().await.unwrap();
        flushed.await;
        let buffered = submit(3);
        jobs.shutdown(Shutdown::drain()).await.unwrap();
        buffered.await;
        let stats = jobs.stats().await.unwrap();
        let expected = [(Trigger::Size, 3), (Trigger::Interval, 2), (Trigger::Manual, 1), (Trigger::Drain, 1)];
        assert!(stats.batches.iter().map(|(trigger, batches)| (*trigger, *batches)).eq(expected));
        let sizes = |trigger| stats.batch_size[&trigger].iter().collect::<Vec<_>>();
        assert_eq!(sizes(Trigger::Size), [(4, 3)]);
        assert_eq!(sizes(Trigger::Interval), [(1, 1), (3, 1)]);
        assert_eq!((stats.batch_size[&Trigger::Interval].max(), stats.batch_size[&Trigger::Drain].count()), (3, 1));
        balanced(&ledger, &jobs).await;
    });
}

/// Within the histogram's error of 1 %.
fn about(micros: u64, millis: u64) -> bool {
    micros.abs_diff(millis * 1000) <= millis * 10
}

#[test]
fn waiting_and_processing_are_measured_apart() {
    paused(async || {
        let (mut desk, factory) = Desk::<Tenfold>::new();
        let jobs = Collector::builder(factory).workers(Workers::local(1)).max_size(2).interval(ms(5)).start().unwrap();
        let ledger = Ledger::new(&jobs);
        // The first batch waits for the interval and takes 30 ms; the second is full, and waits for the worker.
        let mut replies = vec![ledger.submit(Tenfold(0))];
        let held = desk.next().await;
        replies.extend([ledger.submit(Tenfold(1)), ledger.submit(Tenfold(2))]);
        sleep(ms(30)).await;
        held.complete();
        let held = desk.next().await;
        sleep(ms(100)).await;
        held.complete();
        join_all(replies).await;
        let stats = jobs.stats().await.unwrap();
        assert_eq!((stats.wait.count(), stats.processing.count()), (2, 2));
        assert!(about(stats.wait.quantile(0.5), 5) && about(stats.wait.max(), 30), "{:?}", stats.wait);
        assert!(about(stats.processing.quantile(0.5), 30), "{:?}", stats.processing);
        assert!(about(stats.processing.max(), 100), "{:?}", stats.processing);
        balanced(&ledger, &jobs).await;
    });
}

#[test]
fn the_difference_of_two_snapshots_is_what_happened_between_them() {
    paused(async || {
        let script = Script::new(tenfold).fail_at(2, Broken("refused"));
        let jobs = Collector::builder(script.factory()).max_size(2).max_pending(2).start().unwrap();
        let ledger = Ledger::new(&jobs);
        join_all((0..2).map(|number| ledger.submit(Tenfold(number)))).await;
        let before = jobs.stats().await.unwrap();
        let replies: Vec<_> = (0..2).map(|number| ledger.submit(Tenfold(number))).collect();
        assert!(ledger.try_submit(Tenfold(9)).is_err());
        let _ = join_all(replies).await;
        let since = jobs.stats().await.unwrap().since(&before);
        assert_eq!(
            (since.intake.accepted, since.intake.rejected.total(), since.succeeded, since.failed.failed),
            (2, 1, 0, 2)
        );
        assert_eq!((since.batches[&Trigger::Size], since.processing.count()), (1, 1));
        balanced(&ledger, &jobs).await;
    });
}

#[test]
fn levels_are_those_of_the_moment() {
    paused(async || {
        let (mut desk, factory) = Desk::<Tenfold>::new();
        let jobs = Collector::builder(factory).name("levels").max_size(2).max_pending(7).start().unwrap();
        quiet().await;
        let ledger = Ledger::new(&jobs);
        let idle = jobs.stats().await.unwrap();
        assert_eq!((idle.collector.as_str(), idle.workers.total, idle.workers.able), ("levels", 2, 2));
        // Two batches with workers, one ready, one buffered job and two in line.
        let replies: Vec<_> = (0..9).map(|number| ledger.submit(Tenfold(number))).collect();
        let (first, second) = (desk.next().await, desk.next().await);
        let busy = jobs.stats().await.unwrap();
        assert_eq!((busy.intake.pending, busy.intake.waiting, busy.ready, busy.in_flight), (7, 2, 2, 2));
        first.panic();
        quiet().await;
        let worse = jobs.stats().await.unwrap();
        assert_eq!((worse.restarts, worse.workers.able, worse.intake.pending, worse.intake.waiting), (1, 1, 7, 0));
        advance(ms(10)).await;
        second.complete();
        for _ in 0..4 {
            quiet().await;
            while let Some(held) = desk.try_next() {
                held.complete();
            }
        }
        sleep(ms(10)).await;
        while let Some(held) = desk.try_next() {
            held.complete();
        }
        let _ = join_all(replies).await;
        balanced(&ledger, &jobs).await;
    });
}
