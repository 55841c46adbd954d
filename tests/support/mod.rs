//! What the tests share: a clock that stands still, a guard against hanging, a job, and a processor that the test commands.
#![allow(dead_code, reason = "each test file uses its part of it")]

use std::{
    fmt,
    future::{Future, pending},
    panic::resume_unwind,
    sync::mpsc,
    thread,
    time::Duration,
};

use actix_batch::{
    Trigger,
    prelude::*,
    test_util::{Balance, Ledger},
};
use actix_rt::SystemRunner;
use tokio::sync::{mpsc as queue, oneshot};

/// Longer than any test takes on a busy machine; a lost wake-up would last for ever.
const GUARD: Duration = Duration::from_secs(120);

/// Runs a test in an actix `System` whose clock stands still: it jumps to the next timer when there is nothing else to do,
/// and moves with `tokio::time::advance`.
pub(crate) fn paused<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) {
    guarded(|| paused_system().block_on(test()));
}

/// Runs a test in an actix `System` on real time: for what needs other threads. Nothing in it may depend on how long things
/// take.
pub(crate) fn real_time<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) {
    guarded(|| System::new().block_on(test()));
}

/// A `System` whose clock stands still.
pub(crate) fn paused_system() -> SystemRunner {
    System::with_tokio_rt(|| {
        // From its first moment, so that the timer's ticks and the test's milliseconds are the same.
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().expect("a runtime")
    })
}

/// Runs a test that fails instead of hanging.
pub(crate) fn guarded(test: impl FnOnce() + Send + 'static) {
    let (done, finished) = mpsc::channel();
    let thread = thread::spawn(move || {
        test();
        let _ = done.send(());
    });
    let hung = finished.recv_timeout(GUARD) == Err(mpsc::RecvTimeoutError::Timeout);
    assert!(!hung, "nothing happens any more: a reply or a wake-up was lost");
    if let Err(panic) = thread.join() {
        resume_unwind(panic);
    }
}

/// Lets everything on this arbiter run until nothing is left to do now.
pub(crate) async fn quiet() {
    for _ in 0..64 {
        tokio::task::yield_now().await;
    }
}

/// Waits for a future on a thread of `spawn_blocking`.
pub(crate) fn wait<F: Future>(future: F) -> F::Output {
    tokio::runtime::Handle::current().block_on(future)
}

/// Milliseconds.
pub(crate) fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Microseconds.
pub(crate) fn us(micros: u64) -> Duration {
    Duration::from_micros(micros)
}

/// The collector has answered for all that the ledger has seen.
pub(crate) async fn balanced<J: Job>(ledger: &Ledger<J>, collector: &Collector<J>) -> Balance {
    let stats = collector.stats().await.expect("the collector lives");
    ledger.check(&stats).unwrap_or_else(|imbalance| panic!("{imbalance}\n{stats:#?}"))
}

/// As [`balanced`], for a collector that has ended.
pub(crate) fn balanced_at_the_end<J: Job>(ledger: &Ledger<J>) -> Balance {
    ledger.check_ended().unwrap_or_else(|imbalance| panic!("{imbalance}"))
}

/// A job that wants ten times its number back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tenfold(pub(crate) u64);

impl Job for Tenfold {
    type Output = u64;
    type Error = Broken;
}

/// How a [`Tenfold`] is answered.
pub(crate) fn tenfold(job: &Tenfold) -> Result<u64, Broken> {
    Ok(job.0 * 10)
}

/// Answers after three milliseconds.
pub(crate) struct Slow;

impl BatchProcessor for Slow {
    type Job = Tenfold;

    async fn process(&mut self, batch: &Batch<Tenfold>) -> Result<Outcomes<Tenfold>, Broken> {
        tokio::time::sleep(ms(3)).await;
        Ok(Outcomes::each(batch.iter().map(tenfold)))
    }
}

/// An error that cannot be cloned.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Broken(pub(crate) &'static str);

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// Where processors hand in their batches and wait for what the test commands.
pub(crate) struct Desk<J: Job> {
    batches: queue::UnboundedReceiver<Held<J>>,
}

/// A processor that waits for the test's command at every batch.
pub(crate) struct Clerk<J: Job> {
    desk: queue::UnboundedSender<Held<J>>,
}

/// A batch that a processor holds until the test says what to do. Dropped, the processor hangs.
pub(crate) struct Held<J: Job> {
    pub(crate) jobs: Vec<J>,
    pub(crate) trigger: Trigger,
    command: oneshot::Sender<Command<J>>,
}

/// What a commanded panic says.
pub(crate) const COMMANDED: &str = "commanded by the test";

type Command<J> = Box<dyn FnOnce(&Batch<J>) -> Result<Outcomes<J>, <J as Job>::Error> + Send + 'static>;

impl<J: Job + Clone> Desk<J> {
    /// A desk, and the factory of the processors that hand in there.
    pub(crate) fn new() -> (Self, impl Fn() -> Clerk<J> + Send + Sync + 'static) {
        let (desk, batches) = queue::unbounded_channel();
        (Self { batches }, move || Clerk { desk: desk.clone() })
    }

    /// The next batch that a processor begins with.
    pub(crate) async fn next(&mut self) -> Held<J> {
        self.batches.recv().await.expect("a processor")
    }

    /// The batch that a processor has begun with, if there is one.
    pub(crate) fn try_next(&mut self) -> Option<Held<J>> {
        self.batches.try_recv().ok()
    }
}

impl<J: Job> Held<J> {
    /// The processor answers with this.
    pub(crate) fn answer(self, outcomes: impl FnOnce(&Batch<J>) -> Result<Outcomes<J>, J::Error> + Send + 'static) {
        let _ = self.command.send(Box::new(outcomes));
    }

    /// Nobody waits for it any more.
    pub(crate) fn is_given_up(&self) -> bool {
        self.command.is_closed()
    }

    /// The processor panics.
    pub(crate) fn panic(self) {
        self.answer(|_| panic!("{COMMANDED}"));
    }
}

impl Held<Tenfold> {
    /// The processor does its work.
    pub(crate) fn complete(self) {
        self.answer(|batch| Ok(Outcomes::each(batch.iter().map(tenfold))));
    }

    /// The numbers of its jobs.
    pub(crate) fn numbers(&self) -> Vec<u64> {
        self.jobs.iter().map(|job| job.0).collect()
    }
}

impl<J: Job + Clone> BatchProcessor for Clerk<J> {
    type Job = J;

    async fn process(&mut self, batch: &Batch<J>) -> Result<Outcomes<J>, J::Error> {
        let (command, commanded) = oneshot::channel();
        let _ = self.desk.send(Held { jobs: batch.to_vec(), trigger: batch.trigger(), command });
        match commanded.await {
            Ok(command) => command(batch),
            Err(_) => pending().await,
        }
    }
}
