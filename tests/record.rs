//! What a collector records, and what a replay makes of it.
#![cfg(all(feature = "record", feature = "test-util"))]

use std::{fs, path::Path};

use actix_batch::{
    ConfigError, StartError,
    flush::{
        Idle,
        replay::{Cost, Setting, replay},
    },
    observe::{AttemptStatus, Trace},
    prelude::*,
    test_util::{Ledger, Script},
};
use futures_util::future::join_all;
use tokio::time::sleep;

use self::support::{Broken, Tenfold, balanced, ms, paused, tenfold};

mod support;

/// Takes 12 ms for a batch and 1 ms more for each job.
struct Slow;

impl BatchProcessor for Slow {
    type Job = Tenfold;

    async fn process(&mut self, batch: &Batch<Tenfold>) -> Result<Outcomes<Tenfold>, Broken> {
        sleep(ms(12 + batch.len() as u64)).await;
        Ok(Outcomes::each(batch.iter().map(tenfold)))
    }
}

/// Jobs at these times, in milliseconds; the trace of the collector that they went through.
async fn recorded(path: &Path, times: &[u64], builder: CollectorBuilder<Slow>) -> Trace {
    let jobs = builder.record(path).start().unwrap();
    let (ledger, mut replies, mut now) = (Ledger::new(&jobs), Vec::new(), 0);
    for (number, time) in (0..).zip(times) {
        sleep(ms(time - now)).await;
        now = *time;
        replies.push(ledger.submit(Tenfold(number)));
    }
    assert!(join_all(replies).await.iter().all(Result::is_ok));
    balanced(&ledger, &jobs).await;
    jobs.shutdown(Shutdown::drain()).await.unwrap();
    Trace::read(path).unwrap()
}

#[test]
fn the_trace_of_a_collector_replayed_with_its_settings_is_what_it_did() {
    for strategy in ["size-or-interval", "fixed-interval", "debounce", "idle", "adaptive"] {
        paused(async move || {
            let folder = tempfile::tempdir().unwrap();
            // Nothing that comes by time, and no answer, comes together with a job: who is first would be chance.
            let times = [10, 10, 20, 50, 80, 90, 90, 90, 90, 100, 150, 160, 200, 210, 220, 250, 260];
            let builder = Collector::builder(|| Slow).name("slow").strategy(strategy.parse().unwrap()).max_size(4);
            let trace = recorded(&folder.path().join("trace.jsonl"), &times, builder.interval(ms(27))).await;

            let came: Vec<_> = trace.jobs.iter().map(|job| job.at).collect();
            assert_eq!((came, trace.config.name.as_str()), (times.map(ms).to_vec(), "slow"));
            let cost = Cost::fit(&trace.timings()).unwrap();
            assert_eq!((cost.batch(), cost.job()), (ms(12), ms(1)));
            let setting = Setting { max_size: 4, workers: 2, cost, ..Setting::default() };
            let predicted = replay(trace.config.policy(), &setting, &trace.jobs);
            let predicted: Vec<_> = predicted.into_iter().map(|cut| (cut.jobs, cut.started, cut.done)).collect();
            let runs = trace.runs().into_iter().map(|(jobs, attempt)| (jobs, attempt.started, attempt.done));
            assert_eq!(runs.collect::<Vec<_>>(), predicted, "{strategy}");
        });
    }
}

#[test]
fn a_trace_says_how_attempts_ended_and_whether_the_policy_was_one_of_the_users_own() {
    paused(async || {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("trace.jsonl");
        let script = Script::new(tenfold).panic_at(1);
        let retry = Retry::fixed(ms(1)).attempts(2).on_panic(true);
        let builder = Collector::builder(script.factory()).policy(Idle).retry(retry).record(&path);
        let jobs = builder.start().unwrap();
        assert_eq!(jobs.submit(Tenfold(1)).await.unwrap(), 10);
        jobs.shutdown(Shutdown::drain()).await.unwrap();
        let trace = Trace::read(&path).unwrap();
        let status: Vec<_> = trace.batches.iter().map(|batch| (batch.attempt, batch.status)).collect();
        assert_eq!(
            (trace.own_policy, status),
            (true, vec![(1, AttemptStatus::Panicked), (2, AttemptStatus::Answered)])
        );
        assert_eq!((trace.timings().len(), trace.runs().len()), (1, 1));
    });
}

#[test]
fn a_path_that_cannot_be_written_is_refused_by_name() {
    paused(async || {
        let folder = tempfile::tempdir().unwrap();
        let precious = folder.path().join("flights.sqlite");
        fs::write(&precious, "precious").unwrap();
        for (path, why) in [
            (folder.path().join("no/such/folder/trace.jsonl"), "No such file or directory"),
            (folder.path().to_owned(), "directory"),
            (precious.clone(), "this is no trace"),
        ] {
            let refused = Collector::builder(|| Slow).record(&path).start();
            let Err(StartError::Config(ConfigError { key, value, allowed, .. })) = refused else {
                panic!("{refused:?}");
            };
            assert_eq!((key.as_str(), value), ("record", path.display().to_string()));
            assert!(allowed.contains("a file that can be written") && allowed.contains(why), "{allowed}");
        }
        assert_eq!(fs::read(precious).unwrap(), b"precious");
    });
}

#[test]
fn a_collector_that_is_refused_leaves_an_earlier_trace_as_it_was() {
    paused(async || {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("trace.jsonl");
        assert_eq!(recorded(&path, &[1, 2], Collector::builder(|| Slow)).await.jobs.len(), 2);
        assert!(Collector::builder(|| Slow).max_size(0).record(&path).start().is_err());
        assert_eq!(Trace::read(&path).unwrap().jobs.len(), 2);
    });
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_is_refused_at_the_start() {
    paused(async || {
        let refused = Collector::builder(|| Slow).record("/dev/full").start().unwrap_err().to_string();
        assert!(refused.contains("/dev/full") && refused.contains("No space left"), "{refused}");
    });
}
