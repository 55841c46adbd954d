//! What observers hear, and that they change nothing.

mod support;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use actix_batch::{
    BreakerState, JobId, NoWorkers, Observer, RejectReason, ShutdownReport, Trigger,
    observe::{AttemptStatus, Attempted, Dispatched, Flushed, Levels, Restarted, Retried, Settled, Split},
    prelude::*,
};
use futures_util::future::join_all;
use support::{Broken, Desk, Tenfold, guarded, ms, paused, quiet, tenfold};

/// Everything that was told, in order.
#[derive(Debug, Clone, PartialEq)]
enum Heard {
    Accepted(u64),
    Rejected(RejectReason),
    Flushed(Flushed),
    Dispatched(Dispatched),
    Attempted(Attempted),
    Settled(Settled),
    Retry(Retried),
    Split(Split),
    Breaker(BreakerState),
    Restart(Restarted),
    Resting(Restarted),
    Drained(ShutdownReport),
}

#[derive(Debug, Clone, Default)]
struct Notes(Arc<Mutex<(Vec<Heard>, Option<Levels>)>>);

impl Notes {
    fn note(&self, collector: &str, heard: Heard) {
        assert_eq!(collector, "observed");
        self.0.lock().unwrap().0.push(heard);
    }

    fn take(&self) -> Vec<Heard> {
        std::mem::take(&mut self.0.lock().unwrap().0)
    }

    fn levels(&self) -> Levels {
        self.0.lock().unwrap().1.expect("levels were told")
    }
}

impl Observer for Notes {
    fn accepted(&self, collector: &str, job: JobId) {
        self.note(collector, Heard::Accepted(job.get()));
    }
    fn rejected(&self, collector: &str, reason: RejectReason) {
        self.note(collector, Heard::Rejected(reason));
    }
    fn flushed(&self, collector: &str, batch: &Flushed) {
        self.note(collector, Heard::Flushed(*batch));
    }
    fn dispatched(&self, collector: &str, batch: &Dispatched) {
        self.note(collector, Heard::Dispatched(*batch));
    }
    fn attempted(&self, collector: &str, outcome: &Attempted) {
        self.note(collector, Heard::Attempted(*outcome));
    }
    fn settled(&self, collector: &str, settled: &Settled) {
        self.note(collector, Heard::Settled(*settled));
    }
    fn retried(&self, collector: &str, retry: &Retried) {
        self.note(collector, Heard::Retry(*retry));
    }
    fn split(&self, collector: &str, split: &Split) {
        self.note(collector, Heard::Split(*split));
    }
    fn breaker(&self, collector: &str, state: BreakerState) {
        self.note(collector, Heard::Breaker(state));
    }
    fn restarted(&self, collector: &str, restart: &Restarted) {
        self.note(collector, Heard::Restart(*restart));
    }
    fn resting(&self, collector: &str, restart: &Restarted) {
        self.note(collector, Heard::Resting(*restart));
    }
    fn drained(&self, collector: &str, report: &ShutdownReport) {
        self.note(collector, Heard::Drained(report.clone()));
    }
    fn levels(&self, _: &str, levels: &Levels) {
        self.0.lock().unwrap().1 = Some(*levels);
    }
}

/// One worker that answers when the test says so, and what is heard of it.
fn observed(
    set: impl FnOnce(CollectorBuilder<support::Clerk<Tenfold>>) -> CollectorBuilder<support::Clerk<Tenfold>>,
) -> (Collector<Tenfold>, Desk<Tenfold>, Notes) {
    let (desk, factory) = Desk::new();
    let notes = Notes::default();
    let builder = Collector::builder(factory).name("observed").workers(Workers::local(1)).observer(notes.clone());
    (set(builder).start().unwrap(), desk, notes)
}

#[test]
fn a_batch_is_heard_from_its_first_job_to_its_last_reply() {
    paused(|| async {
        let (jobs, mut desk, notes) = observed(|builder| builder.max_size(3).interval(ms(5)));
        let replies: Vec<_> = [1, 2].map(|n| jobs.submit(Tenfold(n))).into();
        let held = desk.next().await;
        tokio::time::sleep(ms(7)).await;
        held.answer(|batch| {
            Ok(Outcomes::each(batch.iter().map(|job| if job.0 == 2 { Err(Broken("two")) } else { tenfold(job) })))
        });
        join_all(replies).await;
        quiet().await;
        let heard = notes.take();
        let [
            Heard::Accepted(0),
            Heard::Accepted(1),
            Heard::Flushed(flushed),
            Heard::Dispatched(sent),
            Heard::Attempted(outcome),
            Heard::Settled(settled),
        ] = heard[..]
        else {
            panic!("{heard:#?}")
        };
        assert_eq!((flushed.trigger, flushed.jobs, flushed.oldest_wait), (Trigger::Interval, 2, ms(5)));
        assert_eq!((sent.batch, sent.jobs, sent.attempt, sent.worker), (flushed.batch, 2, 1, 0));
        assert_eq!((sent.trigger, sent.waited), (Trigger::Interval, ms(5)));
        assert_eq!((outcome.status, outcome.waited, outcome.took), (AttemptStatus::Answered, ms(5), ms(7)));
        assert_eq!((settled.succeeded, settled.failed.failed, settled.failed.total()), (1, 1, 1));
        let levels = notes.levels();
        assert_eq!(
            (levels.intake.accepted, levels.intake.pending, levels.in_flight, levels.workers.able),
            (2, 0, 0, 1)
        );

        let report = jobs.shutdown(Shutdown::drain()).await.unwrap();
        assert!(jobs.try_submit(Tenfold(3)).is_err());
        assert_eq!(notes.take(), [Heard::Drained(report), Heard::Rejected(RejectReason::ShutDown)]);
    });
}

#[test]
fn refusals_and_the_waiting_line_are_heard() {
    paused(|| async {
        let (jobs, mut desk, notes) = observed(|builder| builder.max_size(1).max_pending(1));
        quiet().await;
        let first = jobs.submit(Tenfold(1));
        let (second, third) = (jobs.submit(Tenfold(2)), jobs.submit(Tenfold(3)));
        assert!(jobs.try_submit(Tenfold(4)).is_err());
        assert!(jobs.recipient().unwrap().send(SubmitJob::new(Tenfold(5))).await.unwrap().is_err());
        desk.next().await.complete();
        first.await.unwrap();
        let heard = notes.take();
        let of = |wanted: fn(&Heard) -> bool| heard.iter().filter(|heard| wanted(heard)).count();
        assert_eq!(of(|heard| *heard == Heard::Rejected(RejectReason::Overloaded)), 2, "{heard:#?}");
        assert_eq!(of(|heard| matches!(heard, Heard::Accepted(0 | 1))), 2, "the second had its turn: {heard:#?}");

        let ended = jobs.shutdown(Shutdown::now()).await.unwrap();
        assert_eq!(ended.shut_down, 1);
        assert!(second.await.is_err() && third.await.is_err());
        let heard = notes.take();
        assert_eq!(
            heard.iter().filter(|heard| **heard == Heard::Rejected(RejectReason::ShutDown)).count(),
            1,
            "{heard:#?}"
        );
        let stats = jobs.stats().await.unwrap();
        assert_eq!((stats.intake.accepted, stats.intake.rejected.total()), (2, 3));
    });
}

#[test]
fn retries_splits_time_outs_and_restarts_are_heard() {
    paused(|| async {
        let (jobs, mut desk, notes) = observed(|builder| {
            builder.max_size(3).retry(Retry::fixed(ms(20)).attempts(2)).split_poison(true).timeout(ms(100))
        });
        let replies: Vec<_> = [1, 2, 3].map(|n| jobs.submit(Tenfold(n))).into();
        desk.next().await.answer(|_| Err(Broken("once")));
        desk.next().await.answer(|_| Err(Broken("twice")));
        desk.next().await.complete();
        desk.next().await.panic();
        join_all(replies).await;
        let _hangs = jobs.submit(Tenfold(4));
        jobs.flush().await.unwrap();
        let held = desk.next().await;
        tokio::time::sleep(ms(150)).await;
        drop(held);
        let heard = notes.take();
        let endings: Vec<_> = heard
            .iter()
            .filter_map(|heard| match heard {
                Heard::Attempted(outcome) => Some((outcome.status, outcome.jobs, outcome.attempt)),
                _ => None,
            })
            .collect();
        let expected = [
            (AttemptStatus::Failed, 3, 1),
            (AttemptStatus::Failed, 3, 2),
            (AttemptStatus::Answered, 2, 3),
            (AttemptStatus::Panicked, 1, 3),
            (AttemptStatus::TimedOut, 1, 1),
        ];
        assert_eq!(endings, expected, "{heard:#?}");
        let retry = heard.iter().find_map(|heard| if let Heard::Retry(retry) = heard { Some(*retry) } else { None });
        let retry = retry.expect("a retry");
        assert_eq!((retry.batch, retry.jobs, retry.attempt, retry.delay), (1, 3, 2, ms(20)));
        let split = heard.iter().find_map(|heard| if let Heard::Split(split) = heard { Some(*split) } else { None });
        let split = split.expect("a split");
        assert_eq!((split.batch, split.jobs), (1, [2, 1]));
        let sent: Vec<_> = heard
            .iter()
            .filter_map(|heard| if let Heard::Dispatched(sent) = heard { Some(sent.batch) } else { None })
            .collect();
        assert_eq!(sent[..4], [0, 1, split.into[0], split.into[1]]);
        let restarts = heard.iter().filter(|heard| matches!(heard, Heard::Restart(_))).count();
        assert_eq!(restarts as u64, jobs.stats().await.unwrap().restarts);
    });
}

#[test]
fn the_breaker_and_resting_workers_are_heard() {
    paused(|| async {
        let (jobs, mut desk, notes) = observed(|builder| {
            builder.max_size(1).no_workers(NoWorkers::Fail).breaker(Breaker::consecutive(6).open_for(ms(1)))
        });
        for n in 0..6 {
            let reply = jobs.submit(Tenfold(n));
            desk.next().await.panic();
            assert!(matches!(reply.await, Err(JobError::Panicked)));
        }
        quiet().await;
        let heard = notes.take();
        assert!(heard.contains(&Heard::Breaker(BreakerState::Open)), "{heard:#?}");
        let restarts = heard.iter().filter(|heard| matches!(heard, Heard::Restart(_))).count();
        let resting: Vec<_> = heard
            .iter()
            .filter_map(|heard| if let Heard::Resting(resting) = heard { Some(resting) } else { None })
            .collect();
        assert_eq!((restarts, resting.len()), (6, 1));
        assert!(resting[0].back_in > Duration::from_secs(25), "{resting:?}");
        assert_eq!((notes.levels().workers.able, notes.levels().workers.resting), (0, 1));
    });
}

/// Panics, or takes its time, at every hook.
struct Nuisance {
    panics: bool,
}

impl Nuisance {
    fn be(&self) {
        assert!(!self.panics, "a hook that panics");
        std::thread::sleep(Duration::from_micros(300));
    }
}

impl Observer for Nuisance {
    fn accepted(&self, _: &str, _: JobId) {
        self.be();
    }
    fn rejected(&self, _: &str, _: RejectReason) {
        self.be();
    }
    fn flushed(&self, _: &str, _: &Flushed) {
        self.be();
    }
    fn dispatched(&self, _: &str, _: &Dispatched) {
        self.be();
    }
    fn attempted(&self, _: &str, _: &Attempted) {
        self.be();
    }
    fn settled(&self, _: &str, _: &Settled) {
        self.be();
    }
    fn retried(&self, _: &str, _: &Retried) {
        self.be();
    }
    fn split(&self, _: &str, _: &Split) {
        self.be();
    }
    fn restarted(&self, _: &str, _: &Restarted) {
        self.be();
    }
    fn resting(&self, _: &str, _: &Restarted) {
        self.be();
    }
    fn drained(&self, _: &str, _: &ShutdownReport) {
        self.be();
    }
    fn levels(&self, _: &str, _: &Levels) {
        self.be();
    }
}

/// Fails its first batch, panics at 13, and refuses every seventh.
struct Moody {
    calls: u32,
}

impl BatchProcessor for Moody {
    type Job = Tenfold;

    async fn process(&mut self, batch: &Batch<Tenfold>) -> Result<Outcomes<Tenfold>, Broken> {
        self.calls += 1;
        if self.calls == 1 && batch.attempt() == 1 {
            return Err(Broken("the first"));
        }
        assert!(batch.iter().all(|job| job.0 != 13), "thirteen");
        Ok(Outcomes::each(batch.iter().map(|job| if job.0 % 7 == 0 { Err(Broken("seventh")) } else { tenfold(job) })))
    }
}

/// What forty jobs are answered, and what the observer after the nuisance hears.
fn forty(nuisance: Option<bool>) -> (Vec<String>, BTreeMap<&'static str, usize>) {
    let (done, answers) = std::sync::mpsc::channel();
    guarded(move || {
        System::new().block_on(async {
            let notes = Notes::default();
            let mut builder = Collector::builder(|| Moody { calls: 0 })
                .name("observed")
                .max_size(10)
                .interval(Duration::from_secs(60))
                .workers(Workers::local(1))
                .retry(Retry::fixed(ms(1)).attempts(2))
                .split_poison(true);
            if let Some(panics) = nuisance {
                builder = builder.observer(Nuisance { panics });
            }
            let jobs = builder.observer(notes.clone()).start().unwrap();
            let replies = join_all((0..40).map(|n| jobs.submit(Tenfold(n)))).await;
            let _ = jobs.shutdown(Shutdown::drain()).await.unwrap();
            assert!(jobs.try_submit(Tenfold(0)).is_err());
            let mut counts = BTreeMap::new();
            for heard in notes.take() {
                *counts
                    .entry(match heard {
                        Heard::Accepted(_) => "accepted",
                        Heard::Rejected(_) => "rejected",
                        Heard::Drained(_) => "drained",
                        _ => "other",
                    })
                    .or_default() += 1;
            }
            let _ = done.send((replies.iter().map(|reply| format!("{reply:?}")).collect(), counts));
        });
    });
    answers.recv().unwrap()
}

#[test]
fn an_observer_that_panics_or_is_slow_changes_no_outcome() {
    let (alone, heard) = forty(None);
    assert_eq!((heard["accepted"], heard["rejected"], heard["drained"]), (40, 1, 1));
    for panics in [true, false] {
        let (replies, heard_too) = forty(Some(panics));
        assert_eq!(replies, alone, "panics: {panics}");
        assert_eq!(heard_too["accepted"], 40, "the next observer is told all the same");
        assert_eq!((heard_too["rejected"], heard_too["drained"]), (1, 1));
    }
}

/// Submits one more job for each that it hears of.
#[derive(Default)]
struct Echo {
    collector: OnceLock<Collector<Tenfold>>,
    heard: AtomicU64,
}

impl Observer for Echo {
    fn accepted(&self, _: &str, _: JobId) {
        self.heard.fetch_add(1, SeqCst);
        if let Some(collector) = self.collector.get() {
            drop(collector.try_submit(Tenfold(0)));
        }
    }

    fn rejected(&self, _: &str, _: RejectReason) {
        self.heard.fetch_add(1, SeqCst);
        if let Some(collector) = self.collector.get() {
            drop(collector.try_submit(Tenfold(0)));
        }
    }
}

#[test]
fn a_hook_that_submits_is_not_called_for_its_own_submit() {
    paused(|| async {
        let echo = Arc::new(Echo::default());
        let (mut desk, factory) = Desk::new();
        let lines = Collector::builder(factory).max_size(2).max_pending(2).observer(Arc::clone(&echo)).start().unwrap();
        echo.collector.set(lines.clone()).ok().unwrap();

        let first = lines.submit(Tenfold(1));
        assert_eq!(echo.heard.load(SeqCst), 1, "of two accepted jobs, one is the hook's own");
        assert!(lines.try_submit(Tenfold(0)).is_err(), "two jobs fill the collector");
        assert_eq!(echo.heard.load(SeqCst), 2, "of two rejected jobs, one is the hook's own");
        desk.next().await.complete();
        first.await.unwrap();
        lines.shutdown(Shutdown::drain()).await.unwrap();
    });
}
