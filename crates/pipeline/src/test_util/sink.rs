//! Does a sink keep its promise whatever happens around it?

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use actix_batch::{Batch, Retry, Workers};
use tokio::task::yield_now;

use crate::{
    checkpoint::{RunId, Settled, Store},
    outlet::One,
    pipeline::Pipeline,
    progress::Ended,
    record::Record,
    sink::{Defaults, IntoSink, Promises, Sink, SinkError, Written},
    source::from_iter,
};

/// A sink that fails around another one: before it writes, after it has written, by a panic, and by answers that are lost. What happens to
/// each batch is drawn from a seed.
pub struct Unreliable<K> {
    sink: K,
    seed: u64,
    calls: Arc<AtomicU64>,
    /// How many of 100 calls fail.
    failing: u64,
}

impl<K> Unreliable<K> {
    /// Fails around this sink. Equal seeds draw the same failures for the same order of calls.
    pub fn new(sink: K, seed: u64) -> Self {
        Self { sink, seed, calls: Arc::default(), failing: 40 }
    }

    /// How many of 100 calls fail, up to 90. Default: 40.
    pub fn failing(mut self, percent: u64) -> Self {
        self.failing = percent.min(90);
        self
    }
}

/// What happens to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Fine,
    /// It fails before anything is written.
    FailsBefore,
    /// It has been written, and the answer is lost.
    LosesTheAnswer,
    /// It has been written, and the worker dies.
    PanicsAfter,
    /// It is slow, so that batches overtake each other.
    Slow,
}

impl Fate {
    fn draw(seed: u64, call: u64, failing: u64) -> Self {
        // A multiplicative hash with a good last step (splitmix64): equal seeds give equal fates everywhere.
        let mut x = seed.wrapping_add(call.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        x ^= x >> 31;
        if x % 100 >= failing {
            return if x.is_multiple_of(7) { Self::Slow } else { Self::Fine };
        }
        [Self::FailsBefore, Self::LosesTheAnswer, Self::PanicsAfter][usize::try_from((x / 100) % 3).unwrap_or(0)]
    }
}

impl<T: 'static, K: IntoSink<T>> IntoSink<T> for Unreliable<K> {
    type Sink = UnreliableSink<K::Sink>;

    fn describe(&self) -> String {
        self.sink.describe()
    }

    fn promises(&self) -> Promises {
        self.sink.promises()
    }

    fn defaults(&self) -> Defaults {
        self.sink.defaults()
    }

    fn sink(&self, worker: usize, run: &RunId, settled: &Arc<Settled>) -> Self::Sink {
        let (seed, failing, calls) = (self.seed, self.failing, Arc::clone(&self.calls));
        UnreliableSink { sink: self.sink.sink(worker, run, settled), seed, calls, failing }
    }

    fn store(&self, run: &RunId) -> Option<Box<dyn Store>> {
        self.sink.store(run)
    }

    async fn publish(&self) -> Result<(), SinkError> {
        self.sink.publish().await
    }
}

/// Writes by a sink, and fails around it.
pub struct UnreliableSink<K> {
    sink: K,
    seed: u64,
    calls: Arc<AtomicU64>,
    failing: u64,
}

impl<T: 'static, K: Sink<T>> Sink<T> for UnreliableSink<K> {
    async fn prepare(&mut self) -> Result<(), SinkError> {
        self.sink.prepare().await
    }

    async fn write(&mut self, batch: &Batch<Record<T>>) -> Result<Written, SinkError> {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        let fate = Fate::draw(self.seed, call, self.failing);
        match fate {
            Fate::FailsBefore => return Err(SinkError::temporary("the test's downstream is away")),
            Fate::Slow => {
                for _ in 0..20 {
                    yield_now().await;
                }
            }
            _ => {}
        }
        let written = self.sink.write(batch).await?;
        match fate {
            Fate::LosesTheAnswer => Err(SinkError::temporary("the test has lost the answer")),
            Fate::PanicsAfter => panic!("the test's worker dies"),
            _ => Ok(written),
        }
    }

    fn show(record: &T) -> Option<String> {
        K::show(record)
    }

    async fn close(&mut self) -> Result<(), SinkError> {
        self.sink.close().await
    }
}

/// Checks that a sink keeps what it promises while everything fails around it: batches fail before and after they are written, answers are
/// lost, workers die, several batches are in flight, and the run is stopped again and again and goes on. Runs it for each of the seeds.
///
/// `make` makes the empty sink of a seed, `to_record` a record of a number (which is its key, if the sink has one), and `read` reads the numbers
/// of that sink back. A transactional or keyed sink has each number once, any other each at least once. The runs take long rests after panics,
/// so the clock should stand still (`start_paused`).
///
/// # Panics
///
/// If the sink does not keep its promise.
pub async fn check_sink<T: Send + Sync + 'static, K: IntoSink<T> + Clone>(
    seeds: std::ops::Range<u64>,
    to_record: impl Fn(u64) -> T + Clone + Send + Sync + 'static,
    make: impl Fn(u64) -> K,
    read: impl AsyncFn(u64) -> Vec<u64>,
) {
    for seed in seeds {
        let sink = make(seed);
        let promises = sink.promises();
        write_all(sink, seed, to_record.clone()).await;
        let mut times = BTreeMap::<u64, usize>::new();
        read(seed).await.into_iter().for_each(|number| *times.entry(number).or_default() += 1);
        let missing: Vec<_> = (0..NUMBERS).filter(|number| !times.contains_key(number)).collect();
        assert!(
            missing.is_empty(),
            "seed {seed}: {} numbers are missing, the first ones: {:?}",
            missing.len(),
            &missing[..missing.len().min(5)]
        );
        let strange: Vec<_> = times.keys().filter(|number| **number >= NUMBERS).collect();
        assert!(strange.is_empty(), "seed {seed}: numbers that were never written: {strange:?}");
        let doubled: Vec<_> = times.iter().filter(|(_, times)| **times > 1).collect();
        let once = promises != Promises::Append;
        assert!(!once || doubled.is_empty(), "seed {seed}: {} numbers are stored more than once", doubled.len());
    }
}

const NUMBERS: u64 = 300;

/// Writes all numbers, in as many runs as it takes.
async fn write_all<T: Send + Sync + 'static, K: IntoSink<T> + Clone>(
    sink: K,
    seed: u64,
    to_record: impl Fn(u64) -> T + Clone + Send + Sync + 'static,
) {
    let store = crate::checkpoint::MemoryStore::default();
    for run in 0_u64.. {
        assert!(run < 1_000, "seed {seed}: the runs do not come to an end");
        let unreliable = Unreliable::new(sink.clone(), seed.wrapping_mul(1_000).wrapping_add(run));
        let retry = Retry::exponential(Duration::from_millis(1)).attempts(3).on_panic(true);
        let max_size = 1 + usize::try_from(seed % 13).unwrap_or(0);
        let outlet = One::new(unreliable).collector(move |collector| {
            let collector = collector.max_size(max_size).interval(Duration::from_millis(1));
            // On this thread, so that the clock can stand still; and many, because one that panics often rests for long.
            collector.workers(Workers::local(8)).retry(retry.clone())
        });
        let own = store.clone();
        let report = Pipeline::named("check")
            .read(from_iter("numbers", || 0..NUMBERS))
            .map(to_record.clone())
            .write_to(outlet)
            .checkpoint_store(move || Box::new(own.clone()))
            .checkpoint_every(Duration::from_millis(40))
            .accept_duplicates(true)
            .chunk(17)
            .look_ahead(120)
            .max_records(60 + seed % 90)
            .run()
            .await;
        // A run that has failed goes on like one that was stopped.
        if report.is_ok_and(|report| report.ended == Ended::Complete) {
            return;
        }
    }
}

impl<K> fmt::Debug for Unreliable<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unreliable").field("seed", &self.seed).finish_non_exhaustive()
    }
}

impl<K> fmt::Debug for UnreliableSink<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnreliableSink").field("seed", &self.seed).finish_non_exhaustive()
    }
}
