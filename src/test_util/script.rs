//! A processor that does what it is told, at the n-th batch.

use std::{
    collections::HashMap,
    fmt,
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use actix_rt::Arbiter;
use parking_lot::Mutex;

use crate::{
    batch::{Batch, Outcomes, Trigger},
    job::Job,
    processor::BatchProcessor,
};

/// What a scripted processor does, and what it has seen.
///
/// It answers each job with the function it was given, and does something else at the n-th batch, counted from 1 over all
/// workers and all processors that one script has made. Clones are the same script: add steps and read what was seen at any
/// time.
///
/// ```
/// # use actix_batch::{prelude::*, test_util::Script};
/// # #[derive(Clone)]
/// # struct Double(u64);
/// # impl Job for Double { type Output = u64; type Error = String; }
/// # actix_rt::System::new().block_on(async {
/// let script = Script::new(|job: &Double| Ok(job.0 * 2)).keep_jobs().panic_at(1);
/// let doubles = Collector::builder(script.factory()).workers(Workers::local(1)).start().unwrap();
///
/// assert!(matches!(doubles.submit(Double(1)).await, Err(JobError::Panicked)));
/// assert_eq!(doubles.submit(Double(2)).await.unwrap(), 4);
///
/// let seen = script.seen();
/// assert_eq!(seen[1].jobs[0].0, 2);
/// assert_eq!((seen[0].processor, seen[1].processor), (1, 2)); // the worker came back as a new processor
/// # });
/// ```
pub struct Script<J: Job> {
    shared: Arc<Shared<J>>,
}

struct Shared<J: Job> {
    answer: Box<Answer<J>>,
    state: Mutex<State<J>>,
    built: AtomicU64,
}

/// How a job is answered.
type Answer<J> = dyn Fn(&J) -> Result<<J as Job>::Output, <J as Job>::Error> + Send + Sync;

struct State<J: Job> {
    steps: HashMap<u64, Step<J::Error>>,
    refusals: HashMap<u64, Refusal<J::Error>>,
    /// How jobs are copied, where they are to be kept.
    keep: Option<fn(&J) -> J>,
    seen: Vec<Seen<J>>,
    prepared: u64,
}

/// What happens at a batch instead of an answer.
enum Step<E> {
    Fail(E),
    Panic,
    Hang,
    Stop,
}

/// What happens at a `prepare` instead of success.
enum Refusal<E> {
    Fail(E),
    Panic,
}

/// A batch that a scripted processor was given.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Seen<J> {
    /// Which processor of the script got it, from 1 in the order in which the factory built them.
    pub processor: u64,
    /// The batch's number.
    pub id: u64,
    /// Why it left.
    pub trigger: Trigger,
    /// How often its jobs were sent, from 1.
    pub attempt: u32,
    /// How many jobs it had.
    pub len: usize,
    /// Its jobs; empty unless the script [keeps them](Script::keep_jobs).
    pub jobs: Vec<J>,
}

impl<J: Job> Script<J> {
    /// Answers every job with this function.
    pub fn new(answer: impl Fn(&J) -> Result<J::Output, J::Error> + Send + Sync + 'static) -> Self {
        let state =
            State { steps: HashMap::new(), refusals: HashMap::new(), keep: None, seen: Vec::new(), prepared: 0 };
        let shared = Shared { answer: Box::new(answer), state: Mutex::new(state), built: AtomicU64::new(0) };
        Self { shared: Arc::new(shared) }
    }

    /// The n-th batch fails as a whole, with this error.
    pub fn fail_at(self, n: u64, error: J::Error) -> Self {
        self.step(n, Step::Fail(error))
    }

    /// The n-th batch makes the processor panic.
    pub fn panic_at(self, n: u64) -> Self {
        self.step(n, Step::Panic)
    }

    /// The n-th batch is never answered: `process` never returns, without blocking its thread.
    pub fn hang_at(self, n: u64) -> Self {
        self.step(n, Step::Hang)
    }

    /// The n-th batch stops the arbiter of its worker and is not answered. For [`Workers::threads`](crate::Workers::threads):
    /// a local worker stops the collector's own arbiter.
    pub fn stop_at(self, n: u64) -> Self {
        self.step(n, Step::Stop)
    }

    fn step(self, n: u64, step: Step<J::Error>) -> Self {
        self.shared.state.lock().steps.insert(n, step);
        self
    }

    /// The n-th `prepare` fails with this error, counted from 1 over all processors of the script.
    pub fn fail_prepare_at(self, n: u64, error: J::Error) -> Self {
        self.shared.state.lock().refusals.insert(n, Refusal::Fail(error));
        self
    }

    /// The n-th `prepare` panics.
    pub fn panic_prepare_at(self, n: u64) -> Self {
        self.shared.state.lock().refusals.insert(n, Refusal::Panic);
        self
    }

    /// Keeps a copy of every job, in [`Seen::jobs`]. By default only their number is kept.
    pub fn keep_jobs(self) -> Self
    where
        J: Clone,
    {
        self.shared.state.lock().keep = Some(J::clone);
        self
    }

    /// What [`Collector::builder`](crate::Collector::builder) wants.
    pub fn factory(&self) -> impl Fn() -> Scripted<J> + Send + Sync + 'static + use<J> {
        let script = self.clone();
        move || script.processor()
    }

    /// One processor that follows this script.
    pub fn processor(&self) -> Scripted<J> {
        let number = self.shared.built.fetch_add(1, Ordering::Relaxed) + 1;
        Scripted { script: self.clone(), number }
    }

    /// Every batch so far, in the order in which processors began with them.
    pub fn seen(&self) -> Vec<Seen<J>>
    where
        J: Clone,
    {
        self.shared.state.lock().seen.clone()
    }

    /// How many jobs each batch so far had.
    pub fn sizes(&self) -> Vec<usize> {
        self.shared.state.lock().seen.iter().map(|seen| seen.len).collect()
    }

    /// How many processors the factory has built.
    pub fn built(&self) -> u64 {
        self.shared.built.load(Ordering::Relaxed)
    }

    /// How often a processor was asked to prepare.
    pub fn prepared(&self) -> u64 {
        self.shared.state.lock().prepared
    }
}

impl<J: Job> State<J> {
    /// Notes the batch, and returns what to do with it.
    fn begin(&mut self, processor: u64, batch: &Batch<J>) -> (u64, Option<Step<J::Error>>) {
        self.seen.push(Seen {
            processor,
            id: batch.id(),
            trigger: batch.trigger(),
            attempt: batch.attempt(),
            len: batch.len(),
            jobs: self.keep.map_or_else(Vec::new, |copy| batch.iter().map(copy).collect()),
        });
        let n = self.seen.len() as u64;
        (n, self.steps.remove(&n))
    }

    fn prepare(&mut self) -> (u64, Option<Refusal<J::Error>>) {
        self.prepared += 1;
        (self.prepared, self.refusals.remove(&self.prepared))
    }
}

impl<J: Job> Clone for Script<J> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<J: Job> fmt::Debug for Script<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Script").field("built", &self.built()).field("sizes", &self.sizes()).finish_non_exhaustive()
    }
}

/// A processor that follows a [`Script`].
#[derive(Debug)]
pub struct Scripted<J: Job> {
    script: Script<J>,
    number: u64,
}

impl<J: Job> BatchProcessor for Scripted<J> {
    type Job = J;

    async fn prepare(&mut self) -> Result<(), J::Error> {
        let (n, refusal) = self.script.shared.state.lock().prepare();
        match refusal {
            None => Ok(()),
            Some(Refusal::Fail(error)) => Err(error),
            Some(Refusal::Panic) => panic!("scripted: prepare number {n} panics"),
        }
    }

    async fn process(&mut self, batch: &Batch<J>) -> Result<Outcomes<J>, J::Error> {
        let (n, step) = self.script.shared.state.lock().begin(self.number, batch);
        match step {
            None => Ok(Outcomes::each(batch.iter().map(|job| (self.script.shared.answer)(job)))),
            Some(Step::Fail(error)) => Err(error),
            Some(Step::Panic) => panic!("scripted: batch number {n} panics"),
            Some(Step::Hang) => pending().await,
            Some(Step::Stop) => {
                Arbiter::current().stop();
                pending().await
            }
        }
    }
}
