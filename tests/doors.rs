//! Where a collector can run – in an actix app, beside a tokio runtime, as a service – and the doors by which callers reach it.
#![cfg(feature = "test-util")]

use std::{
    error::Error,
    rc::Rc,
    sync::{Arc, mpsc},
};

use actix_batch::{
    Closed, Flush, GetStats, Pause, RecipientError, Rejected, Resume, StartError, Stats,
    prelude::*,
    test_util::{Ledger, Script, Scripted},
};
use actix_rt::Arbiter;
use futures_util::future::join_all;
use tokio::runtime;

use self::support::{Broken, Tenfold, balanced, balanced_at_the_end, guarded, ms, paused, quiet, real_time, tenfold};

mod support;

/// Runs `main` as `#[tokio::main]` does.
fn tokio_main<F: Future<Output = ()>>(main: impl FnOnce() -> F + Send + 'static) {
    guarded(|| runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(main()));
}

#[test]
fn starting_outside_a_system_is_an_error_that_says_what_to_do() {
    guarded(|| {
        let start = || Collector::builder(Script::new(tenfold).factory()).start();
        let error = start().unwrap_err();
        assert!(matches!(error, StartError::NoSystem));
        assert!(error.to_string().contains("start_on_thread()"), "{error}");
        let tokio = runtime::Runtime::new().unwrap();
        assert!(matches!(tokio.block_on(async { start() }), Err(StartError::NoSystem)));
    });
}

#[test]
fn starting_after_the_system_has_ended_is_the_same_error() {
    guarded(|| {
        System::new().block_on(async { System::current().stop() });
        let late = Collector::builder(Script::new(tenfold).factory()).start();
        assert!(matches!(late, Err(StartError::NoSystem)), "{late:?}");
    });
}

#[test]
fn impossible_settings_are_refused_before_anything_starts() {
    guarded(|| {
        let script = Script::new(tenfold);
        let refused = || Collector::builder(script.factory()).max_size(0);
        assert_eq!(refused().build().unwrap_err().key, "max_size");
        assert!(matches!(refused().start(), Err(StartError::Config(error)) if error.key == "max_size"));
        assert!(matches!(refused().start_on_thread(), Err(StartError::Config(error)) if error.key == "max_size"));
        let crowded = Collector::builder(script.factory()).max_size(11).max_pending(10).build().unwrap_err();
        assert_eq!(crowded.to_string(), "`max_size` must be at most `max_pending`, which is 10 (got 11)");
        assert_eq!(script.built(), 0);
    });
}

#[test]
fn a_tokio_program_can_start_a_collector_on_a_thread_and_submit_from_every_task() {
    tokio_main(async || {
        let script = Script::new(tenfold);
        let jobs = Collector::builder(script.factory()).name("from-tokio").interval(ms(1)).start_on_thread().unwrap();
        let ledger = Ledger::new(&jobs);
        let tasks = (0..4).map(|task| {
            let ledger = ledger.clone();
            tokio::spawn(async move {
                for number in task * 100..(task + 1) * 100 {
                    assert_eq!(ledger.submit(Tenfold(number)).await.unwrap(), number * 10);
                }
            })
        });
        assert!(join_all(tasks).await.iter().all(Result::is_ok));
        let by_message = ledger.send(&jobs.recipient().unwrap(), Tenfold(1)).await;
        assert_eq!(by_message.unwrap().unwrap(), 10);
        assert_eq!(jobs.shutdown(Shutdown::drain()).await.unwrap().shut_down, 0);
        assert_eq!(balanced(&ledger, &jobs).await.succeeded, 401);
    });
}

#[test]
fn a_program_without_a_runtime_can_use_a_collector() {
    guarded(|| {
        let script = Script::new(tenfold);
        let jobs = Collector::builder(script.factory()).start_on_thread().unwrap();
        let reply = jobs.submit(Tenfold(7));
        let runtime = runtime::Builder::new_current_thread().build().unwrap();
        assert_eq!(runtime.block_on(reply).unwrap(), 70);
    });
}

#[test]
fn a_collector_starts_even_if_its_name_cannot_be_a_thread_name() {
    guarded(|| {
        let script = Script::new(tenfold);
        let jobs = Collector::builder(script.factory()).name("nul\0byte").start_on_thread().unwrap();
        assert_eq!(jobs.name(), "nul\0byte");
    });
}

#[test]
fn every_door_works_from_the_moment_start_returns() {
    paused(async || {
        let script = Script::new(tenfold);
        let jobs = Collector::builder(script.factory()).max_size(2).start().unwrap();
        let ledger = Ledger::new(&jobs);
        // The actor has not run yet at this point.
        let recipient = jobs.recipient().unwrap();
        ledger.do_send(&recipient, Tenfold(1));
        assert_eq!(ledger.send(&recipient, Tenfold(2)).await.unwrap().unwrap(), 20);
        assert_eq!(script.sizes(), [2]);
        balanced(&ledger, &jobs).await;
    });
}

#[test]
fn every_door_works_from_the_moment_start_on_thread_returns() {
    guarded(|| {
        for _ in 0..50 {
            let script = Script::new(tenfold);
            let jobs = Collector::builder(script.factory()).max_size(1).start_on_thread().unwrap();
            let reply = runtime::Builder::new_current_thread()
                .build()
                .unwrap()
                .block_on(jobs.recipient().unwrap().send(SubmitJob::new(Tenfold(1))));
            assert_eq!(reply.unwrap().unwrap(), 10);
        }
    });
}

#[test]
fn recipient_fails_with_the_reason_before_the_actor_starts_and_after_it_ends() {
    real_time(async || {
        let script = Script::new(tenfold);
        let actor = Collector::builder(script.factory()).interval(ms(1)).build().unwrap();
        let jobs = actor.handle();
        let ledger = Ledger::new(&jobs);
        assert_eq!(jobs.recipient().unwrap_err(), RecipientError::NotStarted);

        let arbiter = Arbiter::new();
        arbiter.spawn_fn(move || drop(actor.start()));
        assert_eq!(ledger.submit(Tenfold(1)).await.unwrap(), 10);
        let recipient = jobs.recipient().unwrap();
        assert_eq!(ledger.send(&recipient, Tenfold(2)).await.unwrap().unwrap(), 20);

        balanced(&ledger, &jobs).await;
        arbiter.stop();
        tokio::task::spawn_blocking(|| arbiter.join().unwrap()).await.unwrap();
        assert_eq!(ledger.send(&recipient, Tenfold(3)).await.unwrap_err(), MailboxError::Closed);
        assert_eq!(jobs.recipient().unwrap_err(), RecipientError::Ended);
        assert_eq!(jobs.flush().await, Err(Closed));
        balanced_at_the_end(&ledger);
    });
}

#[test]
fn an_actor_under_the_users_own_supervisor_answers_every_message() {
    paused(async || {
        let script = Script::new(tenfold);
        let actor = Collector::builder(script.factory()).max_size(3).build().unwrap();
        let jobs = actor.handle();
        let ledger = Ledger::new(&jobs);
        let addr = Supervisor::start(|_| actor);
        let door = addr.clone().recipient();
        let replies = [0, 1].map(|number| ledger.send(&door, Tenfold(number)));
        assert_eq!(addr.send(Flush).await.unwrap(), 2);
        assert!(join_all(replies).await.into_iter().all(|reply| reply.unwrap().is_ok()));
        addr.send(Pause).await.unwrap();
        assert!(addr.send(GetStats).await.unwrap().paused);
        addr.send(Resume).await.unwrap();
        assert!(!addr.send(GetStats).await.unwrap().paused);
        let converted: SubmitJob<Tenfold> = Tenfold(5).into();
        let unrecorded = jobs.stats().await.unwrap().intake.accepted;
        assert_eq!(unrecorded, 2);
        assert_eq!(addr.send(Shutdown::drain()).await.unwrap().completed, 0);
        assert!(matches!(addr.send(converted).await.unwrap(), Err(JobError::ShutDown)));
    });
}

#[test]
fn the_collectors_of_one_program_do_not_mix_their_jobs() {
    paused(async || {
        let script = Script::new(tenfold);
        let all: Vec<_> = (0..20)
            .map(|number| Collector::builder(script.factory()).name(format!("number {number}")).start().unwrap())
            .collect();
        let ledgers: Vec<_> = all.iter().map(Ledger::new).collect();
        let replies = join_all((0..200).map(|number| ledgers[number % 20].submit(Tenfold(number as u64)))).await;
        assert!((0..).zip(replies).all(|(number, reply)| reply.unwrap() == number * 10));
        for (number, (jobs, ledger)) in all.iter().zip(&ledgers).enumerate() {
            assert_eq!(balanced(ledger, jobs).await.succeeded, 10);
            assert_eq!(jobs.stats().await.unwrap().collector, format!("number {number}"));
        }
    });
}

/// A processor that is an actix service.
struct Service;

impl BatchProcessor for Service {
    type Job = Tenfold;

    async fn process(&mut self, batch: &Batch<Tenfold>) -> Result<Outcomes<Tenfold>, Broken> {
        Ok(Outcomes::each(batch.iter().map(tenfold)))
    }
}

impl CollectorService for Service {
    fn collector() -> CollectorBuilder<Self> {
        Collector::builder(|| Self).name("service").max_size(2)
    }
}

#[test]
fn a_service_is_started_once_by_the_first_request() {
    paused(async || {
        let [one, other] = [(); 2].map(|()| CollectorActor::<Service>::from_registry());
        let (first, second) = (one.send(SubmitJob::new(Tenfold(1))), other.send(SubmitJob::new(Tenfold(2))));
        assert_eq!((first.await.unwrap().unwrap(), second.await.unwrap().unwrap()), (10, 20));
        let stats = one.send(GetStats).await.unwrap();
        assert_eq!((stats.collector.as_str(), stats.intake.accepted, stats.batches.len()), ("service", 2, 1));
    });
}

/// A service with impossible settings.
struct Misconfigured;

impl BatchProcessor for Misconfigured {
    type Job = Tenfold;

    async fn process(&mut self, _: &Batch<Tenfold>) -> Result<Outcomes<Tenfold>, Broken> {
        unreachable!("it accepts nothing")
    }
}

impl CollectorService for Misconfigured {
    fn collector() -> CollectorBuilder<Self> {
        Collector::builder(|| Self).ageing(std::time::Duration::MAX)
    }
}

#[test]
fn a_service_with_refused_settings_answers_shut_down_and_does_not_panic() {
    paused(async || {
        assert_eq!(Misconfigured::collector().build().unwrap_err().key, "ageing");
        let addr = CollectorActor::<Misconfigured>::from_registry();
        assert!(matches!(addr.send(SubmitJob::new(Tenfold(1))).await.unwrap(), Err(JobError::ShutDown)));
        assert_eq!(addr.send(Shutdown::drain()).await.unwrap().completed, 0);
    });
}

/// A job whose error is a `Box<dyn Error>`, with a processor that is not `Send`.
struct AnyError(u64);

impl Job for AnyError {
    type Output = u64;
    type Error = Box<dyn Error + Send + Sync>;
}

struct Local(Rc<u64>);

impl BatchProcessor for Local {
    type Job = AnyError;

    async fn prepare(&mut self) -> Result<(), Box<dyn Error + Send + Sync>> {
        Ok(())
    }

    async fn process(&mut self, batch: &Batch<AnyError>) -> Result<Outcomes<AnyError>, Box<dyn Error + Send + Sync>> {
        let kept = Rc::clone(&self.0);
        tokio::task::yield_now().await;
        Ok(Outcomes::each(batch.iter().map(|job| match job.0 {
            0 => Err("zero".into()),
            number => Ok(number + *kept),
        })))
    }
}

#[test]
fn a_processor_need_not_be_send_and_its_error_need_not_be_an_error() {
    for workers in [Workers::local(1), Workers::threads(1)] {
        real_time(async move || {
            let jobs = Collector::builder(|| Local(Rc::new(1))).workers(workers).interval(ms(1)).start().unwrap();
            let ledger = Ledger::new(&jobs);
            assert_eq!(ledger.submit(AnyError(1)).await.unwrap(), 2);
            let error: Box<dyn Error> = ledger.submit(AnyError(0)).await.unwrap_err().into();
            assert_eq!(error.to_string(), "the processor failed: zero");
            balanced(&ledger, &jobs).await;
        });
    }
}

#[test]
fn a_reply_can_be_awaited_on_another_runtime_and_a_handle_dropped_on_another_thread() {
    real_time(async || {
        let script = Script::new(tenfold);
        let jobs = Collector::builder(script.factory()).interval(ms(1)).start().unwrap();
        let ledger = Ledger::new(&jobs);
        let (reply, elsewhere) = (ledger.submit(Tenfold(1)), jobs.clone());
        let awaited = tokio::task::spawn_blocking(move || {
            let runtime = runtime::Builder::new_current_thread().build().unwrap();
            let reply = runtime.block_on(reply);
            drop(elsewhere);
            reply
        });
        assert_eq!(awaited.await.unwrap().unwrap(), 10);
        balanced(&ledger, &jobs).await;
    });
}

#[test]
fn the_factory_is_called_on_the_thread_where_its_processor_works() {
    real_time(async || {
        let (tell, told) = mpsc::channel();
        let script = Script::new(tenfold);
        let factory = script.factory();
        let jobs = Collector::builder(move || {
            tell.send(std::thread::current().id()).unwrap();
            factory()
        });
        let jobs = jobs.workers(Workers::threads(2)).max_size(1).start().unwrap();
        assert_eq!(jobs.submit(Tenfold(1)).await.unwrap(), 10);
        while script.built() < 2 {
            tokio::task::yield_now().await;
        }
        let here = std::thread::current().id();
        let threads: Vec<_> = told.try_iter().collect();
        assert!(threads[0] != threads[1] && !threads.contains(&here), "{here:?} {threads:?}");
    });
}

#[test]
fn handles_can_be_shared_between_threads_and_futures_can_move_to_another() {
    fn anywhere<T: Send + 'static>() {}
    fn shared<T: Send + Sync + Clone + 'static>() {}
    fn pinless<T: Unpin>() {}
    shared::<Collector<Tenfold>>();
    shared::<Stats>();
    shared::<JobError<Broken>>();
    shared::<Recipient<SubmitJob<Tenfold>>>();
    shared::<Addr<CollectorActor<Scripted<Tenfold>>>>();
    shared::<Ledger<Tenfold>>();
    shared::<Script<Tenfold>>();
    anywhere::<Submit<Tenfold>>();
    pinless::<Submit<Tenfold>>();
    anywhere::<CollectorActor<Scripted<Tenfold>>>();
    anywhere::<Arc<Rejected<Tenfold>>>();
}

#[test]
fn an_idle_collector_answers_jobs_that_come_later() {
    paused(async || {
        let script = Script::new(tenfold);
        let jobs = Collector::builder(script.factory()).start().unwrap();
        let ledger = Ledger::new(&jobs);
        for _ in 0..5 {
            tokio::time::sleep(std::time::Duration::from_secs(3600)).await;
            quiet().await;
            assert_eq!(ledger.submit(Tenfold(1)).await.unwrap(), 10);
        }
        balanced(&ledger, &jobs).await;
    });
}
