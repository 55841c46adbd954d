//! A user's type whose `Drop` or `Clone` panics, or a waker that does, harms nobody else: not its neighbours, not the
//! collector.
#![cfg(feature = "test-util")]

use std::{
    fmt, mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Wake},
};

use actix_batch::{
    Observer,
    flush::{Arrival, Decision, FlushPolicy, OpenBatch},
    observe::Settled,
    prelude::*,
    test_util::{Ledger, Script},
};
use futures_util::{
    FutureExt,
    future::{join, join_all},
};

use self::support::{
    Broken, Desk, Tenfold, balanced, balanced_at_the_end, guarded, ms, paused, paused_system, quiet, tenfold,
};

mod support;

/// Panics when it is dropped. Two that one `Vec` drops abort the process: the second panics while the first one unwinds.
#[derive(Debug)]
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("a bomb was dropped");
    }
}

/// A job that is a bomb.
struct BombJob(u64, Bomb);

impl BombJob {
    fn new(number: u64) -> Self {
        Self(number, Bomb)
    }
}

impl Job for BombJob {
    type Output = u64;
    type Error = Broken;
}

fn bomb_jobs() -> Script<BombJob> {
    Script::new(|job: &BombJob| Ok(job.0 * 10))
}

/// A job whose output is a bomb.
#[derive(Clone)]
struct Arm;

impl Job for Arm {
    type Output = Bomb;
    type Error = Broken;
}

/// Takes a bomb without dropping it.
fn disarm<E: fmt::Debug>(reply: Result<Bomb, E>) {
    mem::forget(reply.unwrap());
}

#[test]
fn jobs_whose_drop_panics_are_answered_each() {
    paused(async || {
        let script = bomb_jobs().fail_at(2, Broken("refused")).panic_at(3);
        let jobs = Collector::builder(script.factory()).max_size(3).workers(Workers::local(1)).start().unwrap();
        let ledger = Ledger::new(&jobs);
        let replies = join_all((0..12).map(|number| ledger.submit(BombJob::new(number)))).await;
        for (number, reply) in (0..).zip(replies) {
            match number {
                3..6 => assert!(matches!(reply, Err(JobError::Failed(_))), "{reply:?}"),
                6..9 => assert!(matches!(reply, Err(JobError::Panicked)), "{reply:?}"),
                _ => assert_eq!(reply.unwrap(), number * 10),
            }
        }
        balanced(&ledger, &jobs).await;
    });
}

#[test]
fn abandoned_jobs_whose_drop_panics_harm_nobody() {
    paused(async || {
        let script = bomb_jobs();
        let jobs = Collector::builder(script.factory()).interval(ms(5)).start().unwrap();
        let ledger = Ledger::new(&jobs);
        let mut replies: Vec<_> = (0..5).map(|number| ledger.submit(BombJob::new(number))).collect();
        replies.truncate(2);
        let replies = join_all(replies).await;
        assert!(matches!(replies[..], [Ok(0), Ok(10)]), "{replies:?}");
        assert_eq!(balanced(&ledger, &jobs).await.gone, 3);
    });
}

#[test]
fn refused_messages_whose_drop_panics_leave_the_collector_alive() {
    paused(async || {
        let script = bomb_jobs();
        let jobs = Collector::builder(script.factory()).max_size(1).max_pending(1).start().unwrap();
        quiet().await;
        let (ledger, door) = (Ledger::new(&jobs), jobs.recipient().unwrap());
        let accepted = ledger.submit(BombJob::new(1));
        let refused = ledger.send(&door, BombJob::new(2)).await;
        assert!(matches!(refused, Ok(Err(JobError::Overloaded))), "{refused:?}");
        assert_eq!(accepted.await.unwrap(), 10);
        jobs.shutdown(Shutdown::drain()).await.unwrap();
        for _ in 0..3 {
            let late = ledger.send(&door, BombJob::new(3)).await;
            assert!(matches!(late, Ok(Err(JobError::ShutDown))), "{late:?}");
        }
        balanced(&ledger, &jobs).await;
    });
}

#[test]
fn jobs_in_line_whose_drop_panics_are_answered_at_the_end() {
    paused(async || {
        let script = bomb_jobs();
        let jobs = Collector::builder(script.factory()).max_size(1).max_pending(1).start().unwrap();
        let ledger = Ledger::new(&jobs);
        let replies: Vec<_> = (0..4).map(|number| ledger.submit(BombJob::new(number))).collect();
        jobs.shutdown(Shutdown::drain()).await.unwrap();
        let replies = join_all(replies).await;
        assert!(matches!(replies[0], Ok(0)));
        assert!(replies[1..].iter().all(|reply| matches!(reply, Err(JobError::ShutDown))));
        balanced(&ledger, &jobs).await;
    });
}

#[test]
fn outputs_that_nobody_wants_and_whose_drop_panics_harm_nobody() {
    paused(async || {
        let (mut desk, factory) = Desk::<Arm>::new();
        let jobs = Collector::builder(factory).interval(ms(5)).start().unwrap();
        quiet().await;
        let ledger = Ledger::new(&jobs);
        ledger.do_send(&jobs.recipient().unwrap(), Arm);
        ledger.do_send(&jobs.recipient().unwrap(), Arm);
        quiet().await;
        let mut replies: Vec<_> = (0..6).map(|_| ledger.submit(Arm)).collect();
        let held = desk.next().await;
        replies.truncate(2);
        held.answer(|batch| Ok(Outcomes::in_order(batch.iter().map(|_| Bomb))));
        join_all(replies).await.into_iter().for_each(disarm);
        assert_eq!(balanced(&ledger, &jobs).await.gone, 4);
        assert_eq!(jobs.stats().await.unwrap().succeeded, 8);
    });
}

#[test]
fn outputs_of_a_wrong_number_whose_drop_panics_are_a_mismatch_all_the_same() {
    paused(async || {
        let (mut desk, factory) = Desk::<Arm>::new();
        let jobs = Collector::builder(factory).interval(ms(5)).start().unwrap();
        let ledger = Ledger::new(&jobs);
        let replies: Vec<_> = (0..2).map(|_| ledger.submit(Arm)).collect();
        desk.next().await.answer(|_| Ok(Outcomes::in_order([Bomb, Bomb, Bomb])));
        let replies = join_all(replies).await;
        assert!(replies.iter().all(|reply| matches!(reply, Err(JobError::Mismatch { jobs: 2, results: 3 }))));
        balanced(&ledger, &jobs).await;
    });
}

#[test]
fn outputs_that_come_too_late_and_whose_drop_panics_harm_nobody() {
    paused(async || {
        let (mut desk, factory) = Desk::<Arm>::new();
        let jobs = Collector::builder(factory).interval(ms(5)).start().unwrap();
        let ledger = Ledger::new(&jobs);
        let replies: Vec<_> = (0..3).map(|_| ledger.submit(Arm)).collect();
        let held = desk.next().await;
        // The collector settles first; the worker finds its answer before it finds that it should stop.
        let shutdown = jobs.shutdown(Shutdown::now());
        let answer = async { held.answer(|batch| Ok(Outcomes::in_order(batch.iter().map(|_| Bomb)))) };
        join(shutdown, answer).await.0.unwrap();
        assert!(join_all(replies).await.iter().all(|reply| matches!(reply, Err(JobError::ShutDown))));
        quiet().await;
        balanced(&ledger, &jobs).await;
        assert_eq!(jobs.stats().await.unwrap().late, 1);
    });
}

/// A job whose error is a bomb.
struct Lit;

impl Job for Lit {
    type Output = ();
    type Error = Bomb;
}

impl fmt::Display for Bomb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a bomb")
    }
}

/// Fails each batch with a bomb; the first attempt of every other one each job by itself.
struct Lighter(u32);

impl BatchProcessor for Lighter {
    type Job = Lit;

    async fn process(&mut self, batch: &Batch<Lit>) -> Result<Outcomes<Lit>, Bomb> {
        self.0 += 1;
        if self.0.is_multiple_of(2) { Err(Bomb) } else { Ok(Outcomes::each(batch.iter().map(|_| Err(Bomb)))) }
    }
}

#[test]
fn errors_whose_drop_panics_harm_no_other_job() {
    paused(async || {
        let builder = Collector::builder(|| Lighter(0)).workers(Workers::local(1)).interval(ms(5));
        let jobs = builder.retry(Retry::fixed(ms(1)).attempts(4)).split_poison(true).start().unwrap();
        quiet().await;
        let (ledger, door) = (Ledger::new(&jobs), jobs.recipient().unwrap());
        for _ in 0..3 {
            (0..4).for_each(|_| ledger.do_send(&door, Lit));
            let gone: Vec<_> = (0..4).map(|_| ledger.submit(Lit)).collect();
            tokio::time::sleep(ms(6)).await;
            drop(gone);
            tokio::time::sleep(ms(20)).await;
        }
        let balance = balanced(&ledger, &jobs).await;
        assert_eq!((balance.forgotten, balance.gone), (12, 12));
        let failed = jobs.stats().await.unwrap().failed;
        assert!(failed.abandoned > 0 && failed.failed + failed.abandoned == 24, "{failed:?}");
    });
}

/// What a panic carries may be a bomb, too.
fn explode() -> ! {
    std::panic::panic_any(Bomb)
}

/// A policy, an observer and a grave-digger of the same kind.
struct Bomber;

impl FlushPolicy for Bomber {
    fn on_job(&mut self, _: &OpenBatch, _: &Arrival) -> Decision {
        explode()
    }

    fn due(&self, _: &OpenBatch) -> Option<tokio::time::Instant> {
        explode()
    }
}

impl Observer for Bomber {
    fn settled(&self, _: &str, _: &Settled) {
        explode()
    }
}

#[test]
fn a_panic_that_carries_something_whose_drop_panics_ends_where_it_began() {
    paused(async || {
        let script = Script::new(tenfold).fail_at(1, Broken("once")).fail_at(2, Broken("twice")).panic_at(3);
        let jobs = Collector::builder(script.factory())
            .workers(Workers::local(1))
            .policy(Bomber)
            .observer(Bomber)
            .weigh(|_| explode())
            .batch_with(|_| explode())
            .retry(Retry::fixed(ms(1)).when(|_| explode()))
            .dead_letters(|_| explode())
            .start()
            .unwrap();
        let ledger = Ledger::new(&jobs);
        for _ in 0..2 {
            assert!(matches!(ledger.submit(Tenfold(1)).await, Err(JobError::Failed(_))));
        }
        assert!(matches!(ledger.submit(Tenfold(1)).await, Err(JobError::Panicked)));
        assert_eq!(ledger.submit(Tenfold(1)).await.unwrap(), 10);
        balanced(&ledger, &jobs).await;
        assert_eq!(jobs.stats().await.unwrap().lost_dead_letters, 3);
    });
}

#[test]
fn bombs_buffered_ready_and_in_flight_do_not_keep_a_system_from_stopping() {
    guarded(|| {
        let system = paused_system();
        let script = bomb_jobs().hang_at(1);
        let (ledger, replies) = system.block_on(async {
            let jobs = Collector::builder(script.factory()).max_size(3).workers(Workers::local(1)).start().unwrap();
            let ledger = Ledger::new(&jobs);
            let replies: Vec<_> = (0..8).map(|number| ledger.submit(BombJob::new(number))).collect();
            quiet().await;
            (ledger, replies)
        });
        drop(system);
        for (number, reply) in (0..).zip(replies) {
            match reply.now_or_never() {
                Some(Err(JobError::Lost)) => assert!(number < 3),
                Some(Err(JobError::ShutDown)) => assert!(number >= 3),
                other => panic!("job {number} was told {other:?}"),
            }
        }
        balanced_at_the_end(&ledger);
    });
}

/// A processor that is a bomb, and panics at its first batch.
struct Armed(Bomb);

impl BatchProcessor for Armed {
    type Job = Tenfold;

    async fn process(&mut self, batch: &Batch<Tenfold>) -> Result<Outcomes<Tenfold>, Broken> {
        assert!(batch[0].0 != 0, "the first batch panics");
        Ok(Outcomes::each(batch.iter().map(tenfold)))
    }
}

#[test]
fn a_processor_whose_drop_panics_is_replaced_all_the_same() {
    paused(async || {
        let jobs = Collector::builder(|| Armed(Bomb)).max_size(1).workers(Workers::local(1)).start().unwrap();
        let ledger = Ledger::new(&jobs);
        let replies = join_all((0..3).map(|number| ledger.submit(Tenfold(number)))).await;
        assert!(matches!(replies[..], [Err(JobError::Panicked), Ok(10), Ok(20)]), "{replies:?}");
        balanced(&ledger, &jobs).await;
        assert_eq!(jobs.stats().await.unwrap().restarts, 1, "once for the batch, and not again for the drop");
    });
}

/// An output that cannot be cloned twice.
#[derive(Debug)]
struct Unique(u64);

impl Clone for Unique {
    fn clone(&self) -> Self {
        panic!("there can be only one");
    }
}

#[derive(Clone)]
struct Find(u64);

impl Job for Find {
    type Output = Unique;
    type Error = Broken;
}

#[test]
fn an_output_whose_clone_panics_fails_its_batch_alone() {
    paused(async || {
        let (mut desk, factory) = Desk::<Find>::new();
        let jobs = Collector::builder(factory).max_size(2).workers(Workers::local(1)).start().unwrap();
        let ledger = Ledger::new(&jobs);
        let replies: Vec<_> = (0..6).map(|number| ledger.submit(Find(number))).collect();
        desk.next().await.answer(|_| Ok(Outcomes::all(Unique(1))));
        desk.next().await.answer(|batch| Ok(Outcomes::lookup(batch, [Unique(2)], |job| job.0, |row| row.0)));
        desk.next().await.answer(|batch| Ok(Outcomes::in_order(batch.iter().map(|job| Unique(job.0)))));
        let replies = join_all(replies).await;
        assert!(replies[..4].iter().all(|reply| matches!(reply, Err(JobError::Panicked))), "{replies:?}");
        assert!(replies[4..].iter().all(Result::is_ok));
        balanced(&ledger, &jobs).await;
    });
}

/// A waker that panics.
struct Exotic;

impl Wake for Exotic {
    fn wake(self: Arc<Self>) {
        panic!("woken");
    }
}

#[test]
fn a_waker_that_panics_keeps_no_neighbour_from_its_reply() {
    paused(async || {
        let script = Script::new(tenfold);
        let jobs = Collector::builder(script.factory()).interval(ms(5)).start().unwrap();
        let ledger = Ledger::new(&jobs);
        let mut replies: Vec<_> = (0..4).map(|number| ledger.submit(Tenfold(number))).collect();
        let waker = Arc::new(Exotic).into();
        for reply in &mut replies[..2] {
            assert!(Pin::new(reply).poll(&mut Context::from_waker(&waker)).is_pending());
        }
        assert_eq!(replies.pop().unwrap().await.unwrap(), 30);
        assert!(join_all(replies).await.iter().all(Result::is_ok));
        balanced(&ledger, &jobs).await;
    });
}

/// An error that cannot be shown.
struct Unspeakable;

impl fmt::Debug for Unspeakable {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        panic!("no debug")
    }
}

impl fmt::Display for Unspeakable {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        panic!("no display")
    }
}

#[derive(Clone)]
struct Whisper;

impl Job for Whisper {
    type Output = ();
    type Error = Unspeakable;
}

#[test]
fn an_error_whose_debug_and_display_panic_reaches_its_callers_also_where_everything_is_logged() {
    paused(async || {
        let _ = env_logger::builder().is_test(true).filter_level(log::LevelFilter::Trace).try_init();
        let script =
            Script::new(|_: &Whisper| Err(Unspeakable)).fail_at(1, Unspeakable).fail_prepare_at(1, Unspeakable);
        let jobs = Collector::builder(script.factory()).max_size(2).workers(Workers::local(1)).start().unwrap();
        quiet().await;
        let ledger = Ledger::new(&jobs);
        // All jobs of a batch, each for itself, and one that nobody waits for.
        for _ in 0..2 {
            let replies = join_all([ledger.submit(Whisper), ledger.submit(Whisper)]).await;
            assert!(replies.iter().all(|reply| matches!(reply, Err(JobError::Failed(_)))));
        }
        ledger.do_send(&jobs.recipient().unwrap(), Whisper);
        jobs.shutdown(Shutdown::drain()).await.unwrap();
        balanced(&ledger, &jobs).await;
    });
}
