//! The end, planned or not: every accepted job is answered, latecomers are told, and whoever asks hears how it went.
#![cfg(feature = "test-util")]

use std::{
    cell::RefCell,
    sync::{Arc, Barrier, Mutex, mpsc},
    time::Duration,
};

use actix_batch::{
    Closed, RejectReason, Trigger, WaitError,
    prelude::*,
    test_util::{Ledger, Recorded, Script},
};
use actix_rt::{Arbiter, SystemRunner};
use futures_util::{
    FutureExt,
    future::{join, join_all},
};
use tokio::{
    task::spawn_local,
    time::{Instant, advance, sleep},
};

use self::support::{
    Broken, Desk, Tenfold, balanced, balanced_at_the_end, guarded, ms, paused, paused_system, quiet, real_time,
    tenfold, wait,
};

mod support;

type Reply = Recorded<JobResult<Tenfold>>;

/// A collector with one worker that waits for the test's commands, and two jobs per batch.
fn desk() -> (Collector<Tenfold>, Desk<Tenfold>, Ledger<Tenfold>) {
    let (desk, factory) = Desk::new();
    let jobs = Collector::builder(factory).workers(Workers::local(1)).max_size(2).start().unwrap();
    let ledger = Ledger::new(&jobs);
    (jobs, desk, ledger)
}

fn submit(ledger: &Ledger<Tenfold>, numbers: std::ops::Range<u64>) -> Vec<Reply> {
    numbers.map(|number| ledger.submit(Tenfold(number))).collect()
}

/// What each caller has been told by now.
fn told(replies: Vec<Reply>) -> Vec<Option<JobResult<Tenfold>>> {
    replies.into_iter().map(FutureExt::now_or_never).collect()
}

fn is_shut_down(reply: &JobResult<Tenfold>) -> bool {
    matches!(reply, Err(JobError::ShutDown))
}

#[test]
fn shutdown_refuses_then_flushes_then_reports_after_the_last_reply() {
    paused(async || {
        let (jobs, mut desk, ledger) = desk();
        let replies = submit(&ledger, 0..3);
        let mut ending = Box::pin({
            let jobs = jobs.clone();
            async move { jobs.shutdown(Shutdown::drain()).await }
        });
        assert!(ending.as_mut().now_or_never().is_none());
        let refused = ledger.submit(Tenfold(9)).now_or_never();
        assert!(is_shut_down(&refused.unwrap()), "from the first moment: the actor has not even heard of it");
        let ending = spawn_local(ending);
        let full = desk.next().await;
        advance(ms(7)).await;
        full.complete();
        let rest = desk.next().await;
        assert_eq!((rest.numbers(), rest.trigger), (vec![2], Trigger::Drain));
        quiet().await;
        assert!(!ending.is_finished(), "a job is still being processed");
        rest.complete();
        let report = ending.await.unwrap().unwrap();
        assert_eq!((report.completed, report.shut_down, report.elapsed), (3, 0, ms(7)));
        assert!(told(replies).iter().all(|reply| matches!(reply, Some(Ok(_)))), "the replies came first");
        balanced(&ledger, &jobs).await;
    });
}

#[test]
fn an_idle_collector_shuts_down_at_once() {
    paused(async || {
        let (jobs, _desk, ledger) = desk();
        let report = jobs.shutdown(Shutdown::drain()).await.unwrap();
        assert_eq!((report.completed, report.shut_down, report.elapsed), (0, 0, ms(0)));
        balanced(&ledger, &jobs).await;
    });
}

#[test]
fn a_shutdown_by_message_is_the_same_and_needs_nobody_who_waits_for_it() {
    paused(async || {
        let script = Script::new(tenfold);
        let actor = Collector::builder(script.factory()).build().unwrap();
        let (jobs, addr) = (actor.handle(), actor.start());
        let ledger = Ledger::new(&jobs);
        let replies = submit(&ledger, 0..3);
        addr.do_send(Shutdown::drain());
        assert!(join_all(replies).await.iter().all(Result::is_ok));
        let report = addr.send(Shutdown::drain()).await.unwrap();
        assert_eq!((report.completed, report.shut_down), (3, 0));
        balanced(&ledger, &jobs).await;
    });
}

#[test]
fn a_second_shutdown_gets_the_same_report_during_the_first_and_after_it() {
    paused(async || {
        let (jobs, mut desk, ledger) = desk();
        let replies = submit(&ledger, 0..2);
        let held = desk.next().await;
        let both = spawn_local({
            let jobs = jobs.clone();
            async move { join(jobs.shutdown(Shutdown::drain()), jobs.shutdown(Shutdown::drain())).await }
        });
        advance(ms(3)).await;
        held.complete();
        let (first, second) = both.await.unwrap();
        assert_eq!(first, second);
        advance(ms(100)).await;
        assert_eq!(first, jobs.shutdown(Shutdown::now()).await, "a later one, stricter, changes nothing any more");
        assert!(join_all(replies).await.iter().all(Result::is_ok));
        balanced(&ledger, &jobs).await;
    });
}

#[test]
fn the_report_of_a_shutdown_outlives_the_actor() {
    real_time(async || {
        let arbiter = Arbiter::new();
        let script = Script::new(tenfold);
        let actor = Collector::builder(script.factory()).build().unwrap();
        let jobs = actor.handle();
        let ledger = Ledger::new(&jobs);
        arbiter.spawn_fn(move || drop(actor.start()));
        let replies = submit(&ledger, 0..3);
        let report = jobs.shutdown(Shutdown::drain()).await;
        assert!(join_all(replies).await.iter().all(Result::is_ok));
        balanced(&ledger, &jobs).await;
        arbiter.stop();
        tokio::task::spawn_blocking(|| arbiter.join().unwrap()).await.unwrap();
        assert_eq!(jobs.shutdown(Shutdown::drain()).await, report);
        assert_eq!(jobs.stats().await, Err(Closed));
        balanced_at_the_end(&ledger);
    });
}

#[test]
fn a_limit_settles_what_a_hung_local_worker_keeps() {
    paused(async || {
        let script = Script::new(tenfold).hang_at(2);
        let jobs = Collector::builder(script.factory()).workers(Workers::local(1)).max_size(2).start().unwrap();
        let ledger = Ledger::new(&jobs);
        // Two are done, two hang, one is ready, and waits in vain for the worker.
        let mut replies = submit(&ledger, 0..5);
        let done = replies.drain(..2).collect::<Vec<_>>();
        assert!(join_all(done).await.iter().all(Result::is_ok));
        let start = Instant::now();
        let report = jobs.shutdown(Shutdown::drain().within(Duration::from_secs(3))).await.unwrap();
        assert_eq!((report.completed, report.shut_down, report.elapsed), (0, 3, Duration::from_secs(3)));
        assert_eq!(start.elapsed(), Duration::from_secs(3));
        assert!(told(replies).iter().flatten().all(is_shut_down));
        balanced(&ledger, &jobs).await;
    });
}

/// Says that it has begun, and blocks its thread until the test says that it may go on.
struct Blocking(mpsc::Sender<()>, Arc<Mutex<mpsc::Receiver<()>>>);

impl BatchProcessor for Blocking {
    type Job = Tenfold;

    async fn process(&mut self, batch: &Batch<Tenfold>) -> Result<Outcomes<Tenfold>, Broken> {
        let _ = self.0.send(());
        let _ = self.1.lock().unwrap().recv();
        Ok(Outcomes::each(batch.iter().map(tenfold)))
    }
}

#[test]
fn a_limit_settles_what_a_blocked_thread_keeps_and_its_late_answer_is_dropped() {
    real_time(async || {
        let ((begin, has_begun), (go_on, may_go_on)) = (mpsc::channel(), mpsc::channel());
        let may_go_on = Arc::new(Mutex::new(may_go_on));
        let jobs = Collector::builder(move || Blocking(begin.clone(), Arc::clone(&may_go_on)))
            .workers(Workers::threads(1))
            .max_size(1)
            .start()
            .unwrap();
        let ledger = Ledger::new(&jobs);
        let replies = submit(&ledger, 0..3);
        while has_begun.try_recv().is_err() {
            tokio::task::yield_now().await;
        }
        let report = jobs.shutdown(Shutdown::drain().within(ms(20))).await.unwrap();
        assert_eq!((report.completed, report.shut_down), (0, 3));
        assert!(report.elapsed >= ms(20));
        assert!(told(replies).iter().flatten().all(is_shut_down));
        balanced(&ledger, &jobs).await;
        drop(go_on);
        while jobs.stats().await.unwrap().late == 0 {
            tokio::task::yield_now().await;
        }
        balanced(&ledger, &jobs).await;
    });
}

#[test]
fn what_is_to_be_cut_off_at_once_is_not_sent_before_whatever_else_is_asked() {
    paused(async || {
        let (jobs, mut desk, ledger) = desk();
        quiet().await;
        jobs.pause().await.unwrap();
        let replies = submit(&ledger, 0..4);
        let (report, _) = join(jobs.shutdown(Shutdown::now()), jobs.stats()).await;
        assert_eq!(report.unwrap().shut_down, 4);
        assert!(told(replies).iter().flatten().all(is_shut_down));
        quiet().await;
        assert!(desk.try_next().is_none());
        assert_eq!(jobs.stats().await.unwrap().wait.count(), 0, "nothing was sent");
        balanced(&ledger, &jobs).await;
    });
}

#[test]
fn of_two_limits_the_tighter_holds() {
    for (first, second) in [(Some(50), Some(20)), (Some(20), Some(50)), (None, Some(20)), (Some(20), None)] {
        paused(async move || {
            let (jobs, mut desk, ledger) = desk();
            let limit =
                |limit: Option<u64>| limit.map_or(Shutdown::drain(), |limit| Shutdown::drain().within(ms(limit)));
            let replies = submit(&ledger, 0..2);
            let _hung = desk.next().await;
            let (one, other) = join(jobs.shutdown(limit(first)), jobs.shutdown(limit(second))).await;
            assert_eq!(one, other);
            assert_eq!(one.unwrap().elapsed, ms(20));
            assert!(told(replies).iter().flatten().all(is_shut_down));
            balanced(&ledger, &jobs).await;
        });
    }
}

#[test]
fn what_finishes_within_the_limit_keeps_its_reply() {
    paused(async || {
        let (jobs, mut desk, ledger) = desk();
        let replies = submit(&ledger, 0..4);
        let first = desk.next().await;
        let ending = spawn_local({
            let jobs = jobs.clone();
            async move { jobs.shutdown(Shutdown::drain().within(ms(20))).await.unwrap() }
        });
        sleep(ms(19)).await;
        first.complete();
        let _hung = desk.next().await;
        let report = ending.await.unwrap();
        assert_eq!((report.completed, report.shut_down, report.elapsed), (2, 2, ms(20)));
        let told = told(replies);
        assert!(matches!(told[..], [Some(Ok(0)), Some(Ok(10)), Some(Err(JobError::ShutDown)), Some(Err(_))]));
        balanced(&ledger, &jobs).await;
    });
}

#[test]
fn shutdown_now_answers_every_caller_at_once_and_sends_nothing_more_downstream() {
    paused(async || {
        let script = Script::new(tenfold).keep_jobs().hang_at(1);
        let jobs =
            Collector::builder(script.factory()).workers(Workers::local(2)).max_size(2).max_pending(3).start().unwrap();
        let ledger = Ledger::new(&jobs);
        let mut replies = submit(&ledger, 0..2);
        quiet().await;
        // One is buffered while a worker is free for it, and two wait in the wait queue.
        replies.extend(submit(&ledger, 2..5));
        let report = jobs.shutdown(Shutdown::now()).await.unwrap();
        assert_eq!((report.completed, report.shut_down, report.elapsed), (0, 3, ms(0)));
        assert!(told(replies).iter().flatten().all(is_shut_down));
        quiet().await;
        assert_eq!(script.sizes(), [2], "what no worker had is sent nowhere");
        let balance = balanced(&ledger, &jobs).await;
        assert_eq!(balance.failed.shut_down, 5);
    });
}

#[test]
fn shutdown_ends_a_pause_and_none_begins_after_it() {
    paused(async || {
        let (jobs, mut desk, ledger) = desk();
        jobs.pause().await.unwrap();
        let replies = submit(&ledger, 0..4);
        let ending = spawn_local({
            let jobs = jobs.clone();
            async move { jobs.shutdown(Shutdown::drain()).await.unwrap() }
        });
        desk.next().await.complete();
        jobs.pause().await.unwrap();
        assert!(!jobs.stats().await.unwrap().paused);
        desk.next().await.complete();
        assert_eq!(ending.await.unwrap().completed, 4);
        assert!(join_all(replies).await.iter().all(Result::is_ok));
        balanced(&ledger, &jobs).await;
    });
}

#[test]
fn latecomers_are_told_by_every_door() {
    paused(async || {
        let (jobs, _desk, ledger) = desk();
        quiet().await;
        let door = jobs.recipient().unwrap();
        jobs.shutdown(Shutdown::drain()).await.unwrap();
        assert!(is_shut_down(&ledger.submit(Tenfold(1)).await));
        assert!(is_shut_down(&ledger.send(&door, Tenfold(2)).await.unwrap()), "the actor lives on for that");
        let rejected = ledger.try_submit(Tenfold(3)).unwrap_err();
        assert_eq!((rejected.job, rejected.reason), (Tenfold(3), RejectReason::ShutDown));
        ledger.do_send(&door, Tenfold(4));
        quiet().await;
        assert_eq!((jobs.flush().await, jobs.pause().await, jobs.resume().await), (Ok(0), Ok(()), Ok(())));
        balanced(&ledger, &jobs).await;
        assert_eq!(jobs.stats().await.unwrap().intake.rejected.total(), 4);
    });
}

#[test]
fn whoever_waits_in_line_is_told_when_the_shutdown_begins() {
    paused(async || {
        let (mut desk, factory) = Desk::<Tenfold>::new();
        let jobs = Collector::builder(factory).max_size(1).max_pending(1).start().unwrap();
        let ledger = Ledger::new(&jobs);
        let accepted = ledger.submit(Tenfold(0));
        let line = submit(&ledger, 1..4);
        let held = desk.next().await;
        let ending = spawn_local({
            let jobs = jobs.clone();
            async move { jobs.shutdown(Shutdown::drain()).await.unwrap() }
        });
        quiet().await;
        assert!(told(line).iter().flatten().filter(|reply| is_shut_down(reply)).count() == 3);
        held.complete();
        assert_eq!((accepted.await.unwrap(), ending.await.unwrap().completed), (0, 1));
        balanced(&ledger, &jobs).await;
        let stats = jobs.stats().await.unwrap();
        assert_eq!((stats.intake.accepted, stats.intake.rejected.total()), (1, 3));
    });
}

#[test]
fn a_limit_ends_the_wait_for_workers_that_never_become_able() {
    paused(async || {
        let script = (1..=100).fold(Script::new(tenfold), |script, n| script.fail_prepare_at(n, Broken("no network")));
        let jobs = Collector::builder(script.factory()).start().unwrap();
        let ledger = Ledger::new(&jobs);
        let replies = submit(&ledger, 0..3);
        let report = jobs.shutdown(Shutdown::drain().within(Duration::from_secs(1))).await.unwrap();
        assert_eq!((report.shut_down, report.elapsed), (3, Duration::from_secs(1)));
        assert!(told(replies).iter().flatten().all(is_shut_down));
        balanced(&ledger, &jobs).await;
    });
}

#[test]
fn a_shutdown_racing_10_000_submits_answers_each_of_them_once() {
    real_time(async || {
        let script = Script::new(tenfold);
        let jobs = Collector::builder(script.factory())
            .workers(Workers::threads(1))
            .max_size(64)
            .max_pending(500)
            .interval(ms(1))
            .start()
            .unwrap();
        quiet().await;
        let (ledger, door) = (Ledger::new(&jobs), jobs.recipient().unwrap());
        let begin = Arc::new(Barrier::new(5));
        let callers: Vec<_> = (0..4)
            .map(|caller| {
                let (ledger, door, begin) = (ledger.clone(), door.clone(), Arc::clone(&begin));
                tokio::task::spawn_blocking(move || {
                    begin.wait();
                    for number in 0..2_500 {
                        let job = Tenfold(number);
                        let reply = match (caller + number) % 4 {
                            0 => ledger.send(&door, job).map(Result::unwrap).boxed(),
                            1 => match ledger.try_submit(job) {
                                Ok(reply) => reply.boxed(),
                                Err(_) => continue,
                            },
                            _ => ledger.submit(job).boxed(),
                        };
                        // Half of the callers do not wait for each reply before they submit the next job.
                        if number % 2 == 0 {
                            drop(wait(reply));
                        } else {
                            tokio::runtime::Handle::current().spawn(reply);
                        }
                    }
                })
            })
            .collect();
        tokio::task::spawn_blocking(move || begin.wait()).await.unwrap();
        while jobs.stats().await.unwrap().intake.accepted < 500 {
            tokio::task::yield_now().await;
        }
        let report = jobs.shutdown(Shutdown::drain()).await.unwrap();
        assert_eq!(report.shut_down, 0);
        for caller in callers {
            caller.await.unwrap();
        }
        while ledger.balance().outstanding > 0 {
            tokio::task::yield_now().await;
        }
        let balance = balanced(&ledger, &jobs).await;
        assert_eq!((balance.submitted, balance.gone), (10_000, 0));
        assert!(balance.failed.shut_down > 0, "it was no race: all were done before the shutdown");
    });
}

/// Tells when it is dropped.
struct Farewell(mpsc::Sender<()>);

impl Drop for Farewell {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

#[test]
fn when_the_last_handle_goes_all_pending_jobs_are_answered_and_the_actor_ends() {
    for is_paused in [false, true] {
        paused(async move || {
            let (ended, has_ended) = mpsc::channel();
            let (mut desk, factory) = Desk::<Tenfold>::new();
            let farewell = Farewell(ended);
            let jobs = Collector::builder(move || {
                let _ = &farewell;
                factory()
            });
            let jobs = jobs.workers(Workers::local(1)).max_size(2).max_pending(4).start().unwrap();
            let ledger = Ledger::new(&jobs);
            if is_paused {
                jobs.pause().await.unwrap();
            }
            // One batch in flight (unless paused), one ready, and one in the wait queue, which is not accepted.
            let replies = submit(&ledger, 0..5);
            quiet().await;
            let another = jobs.clone();
            drop(jobs);
            quiet().await;
            assert!(ledger.balance().failed.shut_down == 0, "another handle exists");
            drop(another);
            desk.next().await.complete();
            desk.next().await.complete();
            let replies = join_all(replies).await;
            assert!(replies[..4].iter().all(Result::is_ok));
            assert!(is_shut_down(&replies[4]));
            quiet().await;
            assert!(has_ended.try_recv().is_ok(), "the factory went with the actor");
            balanced_at_the_end(&ledger);
        });
    }
}

#[test]
fn an_address_keeps_the_actor_alive_and_its_last_one_ends_it() {
    paused(async || {
        let (ended, has_ended) = mpsc::channel();
        let (script, farewell) = (Script::new(tenfold), Farewell(ended));
        let factory = script.factory();
        let jobs = Collector::builder(move || {
            let _ = &farewell;
            factory()
        });
        let jobs = jobs.start().unwrap();
        quiet().await;
        let (ledger, door) = (Ledger::new(&jobs), jobs.recipient().unwrap());
        drop(jobs);
        quiet().await;
        assert_eq!(ledger.send(&door, Tenfold(1)).await.unwrap().unwrap(), 10);
        let last = ledger.send(&door, Tenfold(2));
        drop(door);
        assert_eq!(last.await.unwrap().unwrap(), 20);
        quiet().await;
        assert!(has_ended.try_recv().is_ok());
        balanced_at_the_end(&ledger);
    });
}

/// Leaves something behind that is dropped with its thread.
struct Settler(mpsc::Sender<()>);

thread_local! {
    static LEFT_BEHIND: RefCell<Option<Farewell>> = const { RefCell::new(None) };
}

impl BatchProcessor for Settler {
    type Job = Tenfold;

    async fn process(&mut self, batch: &Batch<Tenfold>) -> Result<Outcomes<Tenfold>, Broken> {
        LEFT_BEHIND.with_borrow_mut(|left| {
            left.get_or_insert_with(|| Farewell(self.0.clone()));
        });
        Ok(Outcomes::each(batch.iter().map(tenfold)))
    }
}

#[test]
fn the_thread_of_start_on_thread_ends_with_its_collector_and_answers_first() {
    guarded(|| {
        let (ended, has_ended) = mpsc::channel();
        let jobs = Collector::builder(move || Settler(ended.clone())).start_on_thread().unwrap();
        let ledger = Ledger::new(&jobs);
        let replies = submit(&ledger, 0..250);
        drop(jobs);
        // Nobody waits for the replies: they come all the same, before the thread ends.
        has_ended.recv().unwrap();
        assert!(told(replies).iter().all(|reply| matches!(reply, Some(Ok(_)))));
        balanced_at_the_end(&ledger);
    });
}

/// Ends a `System` with two jobs in flight, two ready and one buffered, and returns what their callers were told.
fn stopped_system(system: SystemRunner, workers: Workers) -> Vec<Option<JobResult<Tenfold>>> {
    let (ledger, replies) = system.block_on(async {
        let script = Script::new(tenfold).hang_at(1);
        let jobs =
            Collector::builder(script.factory()).workers(workers).max_size(2).interval(ms(60_000)).start().unwrap();
        let ledger = Ledger::new(&jobs);
        let replies = submit(&ledger, 0..5);
        while script.sizes().is_empty() {
            tokio::task::yield_now().await;
        }
        System::current().stop();
        (ledger, replies)
    });
    assert!(replies.len() == 5);
    system.run().unwrap();
    let told = told(replies);
    balanced_at_the_end(&ledger);
    told
}

#[test]
fn system_stop_answers_what_is_buffered_ready_and_in_flight() {
    for workers in [Workers::local(1), Workers::threads(1)] {
        guarded(move || {
            let told = stopped_system(System::new(), workers);
            assert!(told[..2].iter().all(|reply| matches!(reply, Some(Err(JobError::Lost)))), "{told:?}");
            assert!(told[2..].iter().flatten().filter(|reply| is_shut_down(reply)).count() == 3, "{told:?}");
        });
    }
}

#[test]
fn system_stop_before_the_actor_had_a_turn_answers_too() {
    for workers in [Workers::local(1), Workers::threads(1)] {
        guarded(move || {
            let system = System::new();
            let script = Script::new(tenfold);
            let (ledger, replies) = system.block_on(async {
                let jobs = Collector::builder(script.factory()).workers(workers).max_size(2).start().unwrap();
                let ledger = Ledger::new(&jobs);
                (ledger.clone(), submit(&ledger, 0..3))
            });
            drop(system);
            let told = told(replies);
            assert!(told.iter().flatten().filter(|reply| is_shut_down(reply)).count() == 3, "{told:?}");
            balanced_at_the_end(&ledger);
        });
    }
}

#[test]
fn the_end_of_the_collectors_arbiter_answers_what_it_had() {
    real_time(async || {
        let arbiter = Arbiter::new();
        let script = Script::new(tenfold).hang_at(1);
        let actor =
            Collector::builder(script.factory()).workers(Workers::local(1)).max_size(2).interval(ms(60_000)).build();
        let actor = actor.unwrap();
        let jobs = actor.handle();
        let ledger = Ledger::new(&jobs);
        arbiter.spawn_fn(move || drop(Supervisor::start(|_| actor)));
        let replies = submit(&ledger, 0..5);
        while script.sizes().is_empty() {
            tokio::task::yield_now().await;
        }
        let door = jobs.recipient().unwrap();
        arbiter.stop();
        let replies = join_all(replies).await;
        assert!(replies[..2].iter().all(|reply| matches!(reply, Err(JobError::Lost))), "{replies:?}");
        assert!(replies[2..].iter().all(is_shut_down), "{replies:?}");
        assert!(is_shut_down(&ledger.submit(Tenfold(9)).await));
        assert_eq!(ledger.send(&door, Tenfold(9)).await.unwrap_err(), MailboxError::Closed);
        assert_eq!(
            jobs.shutdown(Shutdown::drain()).await,
            Err(WaitError::Closed),
            "it was not shut down, it was ended"
        );
        balanced_at_the_end(&ledger);
    });
}

#[test]
fn a_request_that_is_pending_when_the_collector_ends_is_answered_closed() {
    guarded(|| {
        let system = paused_system();
        let script = Script::new(tenfold).hang_at(1);
        let (ending, reply) = system.block_on(async {
            let jobs = Collector::builder(script.factory()).max_size(1).start().unwrap();
            let reply = jobs.submit(Tenfold(1));
            quiet().await;
            let ending = spawn_local(async move { jobs.shutdown(Shutdown::drain()).await });
            quiet().await;
            (ending, reply)
        });
        // The task is dropped with the `System`, unless it was told before.
        drop(system);
        assert!(ending.now_or_never().is_some_and(|ended| ended.is_err() || ended.unwrap() == Err(WaitError::Closed)));
        assert!(matches!(reply.now_or_never(), Some(Err(JobError::Lost))));
    });
}

#[test]
fn a_waiter_that_gave_up_before_the_end_is_not_told_and_not_counted() {
    paused(async || {
        let (mut desk, factory) = Desk::<Tenfold>::new();
        let jobs = Collector::builder(factory).max_size(1).max_pending(1).start().unwrap();
        let ledger = Ledger::new(&jobs);
        let accepted = ledger.submit(Tenfold(0));
        let line = submit(&ledger, 1..4);
        drop(ledger.submit(Tenfold(4)));
        let held = desk.next().await;
        let ending = spawn_local({
            let jobs = jobs.clone();
            async move { jobs.shutdown(Shutdown::drain()).await.unwrap() }
        });
        quiet().await;
        let stats = jobs.stats().await.unwrap();
        assert_eq!((stats.intake.waiting, stats.intake.rejected.total()), (0, 3));
        held.complete();
        assert_eq!((accepted.await.unwrap(), ending.await.unwrap().completed), (0, 1));
        assert!(join_all(line).await.iter().all(is_shut_down));
        balanced(&ledger, &jobs).await;
    });
}

#[test]
fn messages_that_were_sent_before_the_last_handle_goes_are_processed() {
    paused(async || {
        let script = Script::new(tenfold);
        let jobs = Collector::builder(script.factory()).max_size(100).start().unwrap();
        quiet().await;
        let recipient = jobs.recipient().unwrap();
        (0..1_000).for_each(|number| recipient.do_send(SubmitJob::new(Tenfold(number))));
        drop((recipient, jobs));
        sleep(ms(100)).await;
        assert_eq!(script.sizes().iter().sum::<usize>(), 1_000);
    });
}

#[test]
fn messages_that_were_sent_before_a_shutdown_are_accepted_and_reported() {
    paused(async || {
        let script = Script::new(tenfold);
        let jobs = Collector::builder(script.factory()).max_size(100).start().unwrap();
        quiet().await;
        let recipient = jobs.recipient().unwrap();
        (0..1_000).for_each(|number| recipient.do_send(SubmitJob::new(Tenfold(number))));
        let shutdown = jobs.shutdown(Shutdown::drain());
        let report = shutdown.await.unwrap();
        assert_eq!(script.sizes().iter().sum::<usize>(), 1_000);
        assert_eq!(report.shut_down, 0);
        let stats = jobs.stats().await.unwrap();
        assert_eq!((stats.intake.accepted, stats.intake.rejected.total(), stats.succeeded), (1_000, 0, 1_000));
    });
}

#[test]
fn a_shutdown_refuses_handles_from_its_call_on_and_messages_that_are_sent_after_it() {
    paused(async || {
        let script = Script::new(tenfold);
        let jobs = Collector::builder(script.factory()).start().unwrap();
        quiet().await;
        let recipient = jobs.recipient().unwrap();
        let before = recipient.send(SubmitJob::new(Tenfold(1)));
        let mut shutdown = Box::pin(jobs.shutdown(Shutdown::drain()));
        assert!((&mut shutdown).now_or_never().is_none());
        let after = recipient.send(SubmitJob::new(Tenfold(2)));
        assert!(is_shut_down(&jobs.submit(Tenfold(3)).await));
        shutdown.await.unwrap();
        assert_eq!(before.await.unwrap().unwrap(), 10);
        assert!(is_shut_down(&after.await.unwrap()));
    });
}
