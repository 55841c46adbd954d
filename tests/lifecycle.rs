//! How a worker gets ready and how it leaves: `prepare` within bounds, `close` at the end, and a shutdown that awaits it.
#![cfg(feature = "test-util")]

use std::{
    future::pending,
    io::Write,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    thread,
};

use actix_batch::{BreakerState, NoWorkers, prelude::*};
use tokio::time::{Instant, sleep};

use self::support::{Broken, Tenfold, guarded, ms, paused, quiet, real_time, tenfold};

mod support;

/// What a processor does in its life, one letter for each: prepared, closed, dropped.
type Life = Arc<Mutex<String>>;

#[derive(Clone, Copy)]
enum Prepare {
    Fine,
    Hangs,
    Blocks,
    Fails,
    Fatally,
}

struct Worker {
    prepare: Prepare,
    close_hangs: bool,
    life: Life,
}

impl Worker {
    fn note(&self, letter: char) {
        self.life.lock().unwrap().push(letter);
    }
}

impl BatchProcessor for Worker {
    type Job = Tenfold;

    async fn prepare(&mut self) -> Result<(), Broken> {
        match self.prepare {
            Prepare::Fine => self.note('p'),
            Prepare::Hangs => pending().await,
            Prepare::Blocks => loop {
                thread::park();
            },
            Prepare::Fails => return Err(Broken("no network")),
            Prepare::Fatally => return Err(Broken("no such table")),
        }
        Ok(())
    }

    fn is_fatal(error: &Broken) -> bool {
        error.0 == "no such table"
    }

    async fn process(&mut self, batch: &Batch<Tenfold>) -> Result<Outcomes<Tenfold>, Broken> {
        assert!(batch[0].0 != 666, "a panic");
        Ok(Outcomes::each(batch.iter().map(tenfold)))
    }

    async fn close(&mut self) {
        if self.close_hangs {
            return pending().await;
        }
        self.note('c');
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.note('d');
    }
}

fn workers(prepare: Prepare) -> (CollectorBuilder<Worker>, Life) {
    let life = Life::default();
    let seen = Arc::clone(&life);
    let factory = move || Worker { prepare, close_hangs: false, life: Arc::clone(&life) };
    (Collector::builder(factory).max_size(1), seen)
}

#[test]
fn a_prepare_that_hangs_is_given_a_new_processor_after_its_time() {
    paused(async || {
        let (life, calls) = (Life::default(), Arc::new(AtomicUsize::new(0)));
        let jobs = Collector::builder(move || {
            let prepare = if calls.fetch_add(1, SeqCst) == 0 { Prepare::Hangs } else { Prepare::Fine };
            Worker { prepare, close_hangs: false, life: Arc::clone(&life) }
        })
        .max_size(1)
        .workers(Workers::local(1))
        .prepare_timeout(ms(500))
        .start()
        .unwrap();
        let begin = Instant::now();
        assert_eq!(jobs.submit(Tenfold(1)).await.unwrap(), 10);
        assert_eq!(begin.elapsed(), ms(510));
    });
}

#[test]
fn a_prepare_that_blocks_its_thread_is_given_up_with_the_thread() {
    real_time(async || {
        let (life, calls) = (Life::default(), Arc::new(AtomicUsize::new(0)));
        let jobs = Collector::builder(move || {
            let prepare = if calls.fetch_add(1, SeqCst) == 0 { Prepare::Blocks } else { Prepare::Fine };
            Worker { prepare, close_hangs: false, life: Arc::clone(&life) }
        })
        .max_size(1)
        .workers(Workers::threads(1))
        .prepare_timeout(ms(50))
        .start()
        .unwrap();
        assert_eq!(jobs.submit(Tenfold(1)).await.unwrap(), 10);
    });
}

#[test]
fn jobs_fail_while_no_worker_can_be_prepared_if_the_builder_chose_that() {
    paused(async || {
        let (builder, _) = workers(Prepare::Fails);
        let jobs = builder.no_workers(NoWorkers::Fail).start().unwrap();
        sleep(ms(1)).await;
        assert!(matches!(jobs.submit(Tenfold(1)).await, Err(JobError::NoWorkers)));
        let stats = jobs.stats().await.unwrap();
        assert_eq!((stats.workers.able, stats.workers.unprepared), (0, 2));
    });
}

#[test]
fn a_prepare_that_fails_is_a_failed_call_to_the_breaker() {
    paused(async || {
        let (builder, _) = workers(Prepare::Fails);
        let breaker = Breaker::consecutive(3).reject_when_open(true);
        let jobs = builder.workers(Workers::local(1)).breaker(breaker).start().unwrap();
        sleep(ms(100)).await;
        assert_eq!(jobs.stats().await.unwrap().breaker, Some(BreakerState::Open));
        assert!(matches!(jobs.submit(Tenfold(1)).await, Err(JobError::CircuitOpen { .. })));
    });
}

#[test]
fn a_fatal_prepare_fails_jobs_with_its_cause_and_is_not_tried_again() {
    paused(async || {
        let (builder, life) = workers(Prepare::Fatally);
        let jobs = builder.start().unwrap();
        let error = jobs.submit(Tenfold(1)).await.unwrap_err();
        assert!(matches!(&error, JobError::PrepareFailed(cause) if cause.0 == "no such table"), "{error}");
        sleep(ms(60_000)).await;
        assert_eq!(*life.lock().unwrap(), "dd", "two workers, one attempt each");
    });
}

#[test]
fn a_shutdown_reports_after_every_processor_is_closed_and_dropped() {
    paused(async || {
        let (builder, life) = workers(Prepare::Fine);
        let jobs = builder.start().unwrap();
        assert_eq!(jobs.submit(Tenfold(1)).await.unwrap(), 10);
        let report = jobs.shutdown(Shutdown::drain()).await.unwrap();
        assert_eq!(report.unclosed, 0);
        let mut life: Vec<_> = life.lock().unwrap().chars().collect();
        life.sort_unstable();
        assert_eq!(life, ['c', 'c', 'd', 'd', 'p', 'p']);
    });
}

#[test]
fn a_shutdown_reports_after_the_threads_of_the_workers_have_ended() {
    real_time(async || {
        struct Ended(Arc<AtomicBool>);
        impl Drop for Ended {
            fn drop(&mut self) {
                thread::sleep(ms(50));
                self.0.store(true, SeqCst);
            }
        }
        thread_local!(static END: std::cell::RefCell<Option<Ended>> = const { std::cell::RefCell::new(None) });
        let ended = Arc::new(AtomicBool::new(false));
        let (flag, life) = (Arc::clone(&ended), Life::default());
        let jobs = Collector::builder(move || {
            END.with(|end| *end.borrow_mut() = Some(Ended(Arc::clone(&flag))));
            Worker { prepare: Prepare::Fine, close_hangs: false, life: Arc::clone(&life) }
        })
        .max_size(1)
        .workers(Workers::threads(1))
        .start()
        .unwrap();
        assert_eq!(jobs.submit(Tenfold(1)).await.unwrap(), 10);
        jobs.shutdown(Shutdown::drain()).await.unwrap();
        assert!(ended.load(SeqCst), "the thread still runs");
    });
}

#[test]
fn a_close_that_hangs_ends_with_its_time_or_with_the_limit_of_the_shutdown_and_is_reported() {
    paused(async || {
        for (shutdown, waited) in [(Shutdown::drain(), ms(700)), (Shutdown::drain().within(ms(200)), ms(200))] {
            let life = Life::default();
            let factory = move || Worker { prepare: Prepare::Fine, close_hangs: true, life: Arc::clone(&life) };
            let builder = Collector::builder(factory).max_size(1).workers(Workers::local(1));
            let jobs = builder.close_timeout(ms(700)).start().unwrap();
            jobs.submit(Tenfold(1)).await.unwrap();
            let begin = Instant::now();
            let report = jobs.shutdown(shutdown).await.unwrap();
            assert_eq!(begin.elapsed(), waited);
            assert_eq!(report.unclosed, usize::from(waited == ms(200)));
        }
    });
}

#[test]
fn a_processor_is_never_closed_after_a_panic() {
    paused(async || {
        let (builder, life) = workers(Prepare::Fine);
        let jobs = builder.workers(Workers::local(1)).start().unwrap();
        assert!(jobs.submit(Tenfold(666)).await.is_err());
        assert_eq!(*life.lock().unwrap(), "pd");
        sleep(ms(100)).await;
        jobs.shutdown(Shutdown::drain()).await.unwrap();
        assert_eq!(*life.lock().unwrap(), "pdpcd");
    });
}

#[test]
fn processors_are_closed_when_the_last_handle_goes() {
    paused(async || {
        let (builder, life) = workers(Prepare::Fine);
        let jobs = builder.workers(Workers::local(1)).start().unwrap();
        jobs.submit(Tenfold(1)).await.unwrap();
        drop(jobs);
        quiet().await;
        assert_eq!(*life.lock().unwrap(), "pcd");
    });
}

#[test]
fn a_worker_keeps_its_seat_when_it_is_rebuilt() {
    paused(async || {
        let (seats, life) = (Arc::new(Mutex::new(Vec::new())), Life::default());
        let seen = Arc::clone(&seats);
        let jobs = Collector::builder_by_seat(move |seat| {
            seen.lock().unwrap().push(seat);
            Worker { prepare: Prepare::Fine, close_hangs: false, life: Arc::clone(&life) }
        })
        .max_size(1)
        .workers(Workers::local(3))
        .start()
        .unwrap();
        assert!(jobs.submit(Tenfold(666)).await.is_err());
        sleep(ms(100)).await;
        let seats = seats.lock().unwrap().clone();
        assert_eq!(seats[..3], [0, 1, 2]);
        assert_eq!(seats.len(), 4, "one of them again: {seats:?}");
    });
}

/// Run as a process by [`what_a_processor_buffers_is_written_when_main_returns_after_a_shutdown`].
#[test]
#[ignore = "the other half of a test"]
fn write_and_exit() {
    struct Log(std::io::BufWriter<std::fs::File>);
    impl BatchProcessor for Log {
        type Job = Tenfold;
        async fn process(&mut self, batch: &Batch<Tenfold>) -> Result<Outcomes<Tenfold>, Broken> {
            batch.iter().for_each(|job| writeln!(self.0, "{}", job.0).unwrap());
            Ok(Outcomes::each(batch.iter().map(tenfold)))
        }
        async fn close(&mut self) {
            self.0.flush().unwrap();
        }
    }
    let path = std::env::var_os("LOG").unwrap();
    System::new().block_on(async move {
        let factory = move || Log(std::io::BufWriter::new(std::fs::File::create(&path).unwrap()));
        let jobs = Collector::builder(factory).workers(Workers::threads(1)).start().unwrap();
        futures_util::future::join_all((0..500).map(|number| jobs.submit(Tenfold(number)))).await;
        jobs.shutdown(Shutdown::drain()).await.unwrap();
        std::process::exit(0);
    });
}

#[test]
fn what_a_processor_buffers_is_written_when_main_returns_after_a_shutdown() {
    guarded(|| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        for _ in 0..20 {
            let mut process = std::process::Command::new(std::env::current_exe().unwrap());
            process.args(["--exact", "write_and_exit", "--ignored"]).env("LOG", &path);
            assert!(process.output().unwrap().status.success());
            assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 500);
        }
    });
}
