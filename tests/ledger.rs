//! The ledger notices what does not add up, and the script does what it is told: both are to prove services with.
#![cfg(feature = "test-util")]

use actix_batch::{
    Stats,
    prelude::*,
    test_util::{Ledger, Script},
};
use futures_util::future::join_all;

use self::support::{Broken, Tenfold, balanced, ms, paused, quiet, tenfold};

mod support;

async fn started(script: &Script<Tenfold>) -> (Collector<Tenfold>, Ledger<Tenfold>) {
    let jobs = Collector::builder(script.factory()).max_size(2).workers(Workers::local(1)).start().unwrap();
    quiet().await;
    let ledger = Ledger::new(&jobs);
    (jobs, ledger)
}

/// What the ledger finds wrong.
fn wrong(ledger: &Ledger<Tenfold>, stats: &Stats) -> String {
    ledger.check(stats).unwrap_err().to_string()
}

#[test]
fn every_door_and_every_end_has_its_own_column() {
    paused(async || {
        let script = Script::new(tenfold).hang_at(1);
        let jobs = Collector::builder(script.factory()).max_size(1).max_pending(2).start().unwrap();
        quiet().await;
        let (ledger, door) = (Ledger::new(&jobs), jobs.recipient().unwrap());
        let hanging = ledger.submit(Tenfold(0));
        quiet().await;
        ledger.do_send(&door, Tenfold(1));
        quiet().await;
        let last = ledger.submit(Tenfold(2));
        assert!(ledger.try_submit(Tenfold(3)).is_err(), "full");
        let refused = ledger.send(&door, Tenfold(4));
        let waiting = ledger.submit(Tenfold(5));
        drop(waiting);
        assert!(matches!(refused.await, Ok(Err(JobError::Overloaded) | Ok(40))));
        assert_eq!(last.await.unwrap(), 20);
        drop(hanging);
        jobs.shutdown(Shutdown::now()).await.unwrap();
        assert!(ledger.submit(Tenfold(6)).await.is_err());
        let balance = balanced(&ledger, &jobs).await;
        assert_eq!((balance.submitted, balance.succeeded + balance.overloaded, balance.handed_back), (7, 2, 1));
        assert_eq!((balance.gone, balance.forgotten, balance.failed.shut_down, balance.most_pending), (2, 1, 1, 2));
    });
}

#[test]
fn a_reply_that_is_still_awaited_is_noticed() {
    paused(async || {
        let script = Script::new(tenfold).hang_at(1);
        let (jobs, ledger) = started(&script).await;
        let _hanging = [ledger.submit(Tenfold(0)), ledger.submit(Tenfold(1))];
        quiet().await;
        let wrong = wrong(&ledger, &jobs.stats().await.unwrap());
        assert!(wrong.contains("jobs still wait for their reply (2 against 0)"), "{wrong}");
        assert!(wrong.contains("accepted jobs are not settled (2 against 0)"), "{wrong}");
        assert!(wrong.contains("batches are still with a worker (1 against 0)"), "{wrong}");
    });
}

#[test]
fn a_job_that_went_past_the_ledger_is_noticed() {
    paused(async || {
        let (jobs, ledger) = started(&Script::new(tenfold)).await;
        let (seen, unseen) = (ledger.submit(Tenfold(0)), jobs.submit(Tenfold(1)));
        seen.await.unwrap();
        unseen.await.unwrap();
        let wrong = wrong(&ledger, &jobs.stats().await.unwrap());
        assert!(wrong.contains("submitted") && wrong.contains("succeeded"), "{wrong}");
    });
}

#[test]
fn a_reply_too_many_or_too_few_is_noticed() {
    paused(async || {
        let script = Script::new(tenfold).fail_at(2, Broken("refused"));
        let (jobs, ledger) = started(&script).await;
        let _ = join_all((0..4).map(|number| ledger.submit(Tenfold(number)))).await;
        let stats = jobs.stats().await.unwrap();
        ledger.check(&stats).unwrap();
        let doctor = |doctor: fn(&mut Stats)| {
            let mut doctored = stats.clone();
            doctor(&mut doctored);
            wrong(&ledger, &doctored)
        };
        assert!(doctor(|stats| stats.succeeded += 1).contains("accepted is not succeeded + failed (4 against 5)"));
        assert!(doctor(|stats| stats.failed.failed -= 1).contains("failed: counted 1, callers saw 2"));
        let swapped = doctor(|stats| (stats.failed.failed, stats.failed.lost) = (1, 1));
        assert!(swapped.contains("failed: counted 1") && swapped.contains("lost: counted 1"), "{swapped}");
        assert!(doctor(|stats| stats.intake.pending = 1).contains("pending"));
    });
}

#[test]
fn callers_that_have_gone_excuse_as_many_replies_and_no_more() {
    paused(async || {
        let (jobs, ledger) = started(&Script::new(tenfold)).await;
        let (stays, goes) = (ledger.submit(Tenfold(0)), ledger.submit(Tenfold(1)));
        quiet().await;
        drop(goes);
        stays.await.unwrap();
        let mut counted = jobs.stats().await.unwrap();
        assert_eq!(ledger.check(&counted).unwrap().gone, 1);
        counted.succeeded += 1;
        assert!(
            wrong(&ledger, &counted).contains("succeeded: counted 3, callers saw 1, and 1 had no caller to see it")
        );
    });
}

#[test]
fn clones_write_in_one_book_and_keep_no_collector_alive() {
    paused(async || {
        let (jobs, ledger) = started(&Script::new(tenfold)).await;
        let other = ledger.clone();
        let replies = [ledger.submit(Tenfold(0)), other.submit(Tenfold(1))];
        drop(jobs);
        assert!(join_all(replies).await.iter().all(Result::is_ok));
        assert!(matches!(other.submit(Tenfold(2)).await, Err(JobError::ShutDown)), "the collector has ended");
        assert_eq!(ledger.check_ended().unwrap(), other.balance());
        assert_eq!(ledger.balance().submitted, 3);
    });
}

#[test]
fn a_script_counts_batches_over_all_workers_and_processors() {
    paused(async || {
        let script =
            Script::new(tenfold).keep_jobs().fail_at(2, Broken("second")).panic_at(3).fail_at(5, Broken("fifth"));
        let jobs = Collector::builder(script.factory()).max_size(1).workers(Workers::local(2)).start().unwrap();
        let ledger = Ledger::new(&jobs);
        let replies = join_all((0..6).map(|number| ledger.submit(Tenfold(number)))).await;
        let failed: Vec<_> = (0..).zip(&replies).filter(|(_, reply)| reply.is_err()).map(|(at, _)| at).collect();
        assert_eq!(failed, [1, 2, 4]);
        assert_eq!(script.sizes(), [1; 6]);
        assert!(script.seen().iter().map(|seen| &seen.jobs[0]).eq((0..6).map(Tenfold).collect::<Vec<_>>().iter()));
        tokio::time::sleep(ms(20)).await;
        assert_eq!((script.built(), script.prepared()), (3, 3));
        balanced(&ledger, &jobs).await;
    });
}

#[test]
fn a_script_may_be_changed_while_it_runs() {
    paused(async || {
        let script = Script::new(tenfold);
        let (jobs, ledger) = started(&script).await;
        let script = script.fail_at(1, Broken("now"));
        assert!(matches!(ledger.submit(Tenfold(0)).await, Err(JobError::Failed(_))));
        assert!(ledger.submit(Tenfold(1)).await.is_ok());
        assert!(script.seen().iter().all(|seen| seen.len == 1 && seen.jobs.is_empty()), "kept only where asked for");
        balanced(&ledger, &jobs).await;
    });
}
