//! How a collector is set up and started.

use std::{
    fmt,
    hash::{BuildHasher, Hash, RandomState},
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use actix::{Actor, Supervisor};
use actix_rt::{Arbiter, System};

#[cfg(feature = "cache")]
use super::cache::{Cache, Store};
use super::{
    Collector, CollectorActor,
    intake::{Flushing, Keying, Remembered, SharingRules},
};
#[cfg(feature = "record")]
use crate::observe::TraceRecorder;
use crate::{
    batcher::{Batcher, Batchers, Item},
    config::{CollectorConfig, NoWorkers, Workers},
    dead_letters::DeadLetters,
    dispatch::{Breaker, RateLimit, Retry, Rules},
    error::{ConfigError, StartError},
    flush::{FlushPolicy, Strategy},
    job::{Job, Key},
    observe::Observer,
    processor::{BatchProcessor, Factory},
};

/// Sets up a collector; made by [`Collector::builder`].
///
/// Nothing is checked before [`build`](Self::build) or a `start`: these refuse what cannot be.
#[must_use = "a builder does nothing until it is built or started"]
pub struct CollectorBuilder<P: BatchProcessor> {
    pub(super) config: CollectorConfig,
    pub(super) factory: Factory<P>,
    pub(super) rules: Rules<ErrorOf<P>>,
    pub(super) dead_letters: Option<Box<dyn DeadLetters<P::Job>>>,
    pub(super) flushing: Flushing<P::Job>,
    pub(super) keying: Keying<P::Job>,
    pub(super) batchers: Batchers<P::Job>,
    pub(super) observers: Vec<Box<dyn Observer>>,
    pub(super) history: Option<usize>,
    #[cfg(feature = "metrics")]
    pub(super) metrics: bool,
    #[cfg(feature = "record")]
    pub(super) record: Option<std::path::PathBuf>,
}

type ErrorOf<P> = <<P as BatchProcessor>::Job as Job>::Error;
type OutputOf<P> = <<P as BatchProcessor>::Job as Job>::Output;

impl<P: BatchProcessor> CollectorBuilder<P> {
    pub(super) fn new(factory: impl Fn() -> P + Send + Sync + 'static) -> Self {
        let flushing = Flushing { policy: None, weigher: None, ageing: Duration::ZERO };
        let rules = Rules::default();
        Self {
            config: CollectorConfig::default(),
            factory: Arc::new(factory),
            rules,
            flushing,
            keying: Keying::default(),
            batchers: Batchers::new(),
            dead_letters: None,
            observers: Vec::new(),
            history: None,
            #[cfg(feature = "metrics")]
            metrics: false,
            #[cfg(feature = "record")]
            record: None,
        }
    }

    /// Replaces all settings at once, for instance by those of a file or of [`CollectorConfig::from_env`].
    pub fn config(mut self, config: CollectorConfig) -> Self {
        self.config = config;
        self
    }

    /// Labels every span, log line, event and statistic. Default: `"collector"`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.config.name = name.into();
        self
    }

    /// Which flush policy decides when a batch leaves. Default: [`Strategy::SizeOrInterval`].
    pub fn strategy(mut self, strategy: Strategy) -> Self {
        self.config.strategy = strategy;
        self
    }

    /// A flush policy of your own, or a combination of the ready ones; it takes the place of the [`strategy`](Self::strategy).
    /// `max_size` caps it, and `interval` is nothing to it.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use actix_batch::{flush::{FlushPolicy, Idle, SizeOrInterval}, prelude::*};
    /// # struct Double(u64);
    /// # impl Job for Double { type Output = u64; type Error = String; }
    /// # struct Doubles;
    /// # impl BatchProcessor for Doubles {
    /// #     type Job = Double;
    /// #     async fn process(&mut self, batch: &Batch<Double>) -> Result<Outcomes<Double>, String> {
    /// #         Ok(Outcomes::in_order(batch.iter().map(|job| job.0 * 2)))
    /// #     }
    /// # }
    ///
    /// # actix_rt::System::new().block_on(async {
    /// let policy = Idle.or(SizeOrInterval::new(50, Some(Duration::from_millis(20))));
    /// let doubles = Collector::builder(|| Doubles).policy(policy).start().unwrap();
    /// assert_eq!(doubles.submit(Double(2)).await.unwrap(), 4);
    /// # });
    /// ```
    pub fn policy(mut self, policy: impl FlushPolicy) -> Self {
        self.flushing.policy = Some(Box::new(policy));
        self
    }

    /// What a job weighs – bytes, rows, tokens – for [`Strategy::Weight`] and every policy that goes by weight. It runs on the
    /// submitter's thread, once for each job. A job of which it panics counts as the heaviest.
    ///
    /// Default: nobody weighs, and a policy that needs weights is refused.
    pub fn weigh(mut self, weigh: impl Fn(&P::Job) -> u64 + Send + Sync + 'static) -> Self {
        self.flushing.weigher = Some(Box::new(weigh));
        self
    }

    /// For [`Strategy::Weight`]: what the jobs of a batch weigh together at the most, in the units of [`weigh`](Self::weigh);
    /// a job that is heavier goes alone. No default.
    pub fn max_weight(mut self, weight: u64) -> Self {
        self.config.max_weight = Some(weight);
        self
    }

    /// For [`Strategy::Session`]: how long a batch's first job waits at most, however many follow. Default: 10 × `interval`.
    pub fn max_wait(mut self, max_wait: Duration) -> Self {
        self.config.max_wait = Some(max_wait);
        self
    }

    /// For [`Strategy::Adaptive`]: how soon a job should be answered. Default: 4 × `interval`.
    pub fn target_latency(mut self, target: Duration) -> Self {
        self.config.target_latency = Some(target);
        self
    }

    /// Jobs per batch at the most, from 1 to `max_pending`. Default: 100.
    pub fn max_size(mut self, jobs: usize) -> Self {
        self.config.max_size = jobs;
        self
    }

    /// How long a batch's first job waits for others; later jobs never push it back. [`Strategy`] says what it is to the others.
    /// The timer ticks in milliseconds. Default: 5 ms.
    pub fn interval(mut self, interval: Duration) -> Self {
        self.config.interval = interval;
        self
    }

    /// Jobs accepted and not yet settled – buffered, ready and in flight – at the most. Default: 10,000.
    pub fn max_pending(mut self, jobs: usize) -> Self {
        self.config.max_pending = jobs;
        self
    }

    /// How many workers, and where they run. Default: [`Workers::local(2)`](Workers::local).
    pub fn workers(mut self, workers: Workers) -> Self {
        self.config.workers = workers;
        self
    }

    /// What becomes of jobs while every worker rests. Default: [`NoWorkers::Wait`].
    pub fn no_workers(mut self, no_workers: NoWorkers) -> Self {
        self.config.no_workers = no_workers;
        self
    }

    /// Tries again what failed. Default: no. See [`Retry`].
    pub fn retry(mut self, retry: Retry<ErrorOf<P>>) -> Self {
        self.rules.retry = Some(retry);
        self
    }

    /// Halves a batch that fails whole – an error, a panic, a time-out, a wrong number of results – and sends the halves, until
    /// the job that spoils it stands alone. Default: no.
    ///
    /// It begins after the retries, and not while the breaker is open. One poisonous job in n costs at most 2⌈log₂ n⌉ more
    /// calls, and every other job succeeds. Like a retry, it sends jobs downstream more than once.
    pub fn split_poison(mut self) -> Self {
        self.rules.split_poison = true;
        self
    }

    /// How long a processor may take for an attempt, from 1 ms to 24 hours; [`Batch::heartbeat`](crate::Batch::heartbeat)
    /// starts it anew. Default: as long as it likes.
    ///
    /// The jobs are settled as [`JobError::TimedOut`](crate::JobError::TimedOut) (or tried again where [`Retry::timeouts`] says
    /// so), the processor's future is dropped, and the worker built anew. A worker on a thread that does not return within a
    /// second is given up with its thread, its jobs are settled, and another takes its place. Where jobs are tried again, split
    /// or kept as dead letters after a time-out, that second is waited for them. A *local* processor that blocks its
    /// thread blocks the collector too, time-out and all: use [`Workers::threads`] for those.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.rules.timeout = Some(limit);
        self
    }

    /// Stops calling a downstream that fails. Default: no. See [`Breaker`].
    pub fn breaker(mut self, breaker: Breaker) -> Self {
        self.rules.breaker = Some(breaker);
        self
    }

    /// Limits jobs or batches per second. Default: no limit. Clones of one [`RateLimit`] share it.
    pub fn rate_limit(mut self, limit: RateLimit) -> Self {
        self.rules.rate_limit = Some(limit);
        self
    }

    /// How many batches may be with workers at once; 0 holds everything until
    /// [`set_max_in_flight`](Collector::set_max_in_flight) says otherwise. Default: as many as there are workers.
    pub fn max_in_flight(mut self, batches: usize) -> Self {
        self.rules.max_in_flight = Some(batches);
        self
    }

    /// Hears what happens: see [`Observer`]. Several may be set; each is told, in this order. Default: nobody.
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.observers.push(Box::new(observer));
        self
    }

    /// Follows each job, so that [`Collector::job_state`] can say where it is, and remembers this many jobs after their replies.
    /// It costs some work per batch, and per settled job. Default: no.
    ///
    /// ```
    /// use actix_batch::prelude::*;
    /// # struct Double(u64);
    /// # impl Job for Double { type Output = u64; type Error = String; }
    /// # struct Doubles;
    /// # impl BatchProcessor for Doubles {
    /// #     type Job = Double;
    /// #     async fn process(&mut self, batch: &Batch<Double>) -> Result<Outcomes<Double>, String> {
    /// #         Ok(Outcomes::in_order(batch.iter().map(|job| job.0 * 2)))
    /// #     }
    /// # }
    /// # actix_rt::System::new().block_on(async {
    /// let doubles = Collector::builder(|| Doubles).track_jobs(1_000).start().unwrap();
    /// let reply = doubles.submit(Double(2));
    /// let job = reply.id().unwrap();
    /// assert_eq!(doubles.job_state(job).await.unwrap(), Some(JobState::Buffered));
    /// reply.await.unwrap();
    /// assert_eq!(doubles.job_state(job).await.unwrap(), Some(JobState::Succeeded));
    /// # });
    /// ```
    pub fn track_jobs(mut self, history: usize) -> Self {
        self.history = Some(history);
        self
    }

    /// Counts and measures through the [`metrics`](https://docs.rs/metrics) facade, under the collector's name. Default: no.
    ///
    /// The metrics are registered when the collector is built, with the recorder that is installed then: install yours first.
    /// `docs/observability.md` lists them with their units and labels.
    ///
    /// ```
    /// use actix_batch::prelude::*;
    /// # struct Double(u64);
    /// # impl Job for Double { type Output = u64; type Error = String; }
    /// # struct Doubles;
    /// # impl BatchProcessor for Doubles {
    /// #     type Job = Double;
    /// #     async fn process(&mut self, batch: &Batch<Double>) -> Result<Outcomes<Double>, String> {
    /// #         Ok(Outcomes::in_order(batch.iter().map(|job| job.0 * 2)))
    /// #     }
    /// # }
    /// # actix_rt::System::new().block_on(async {
    /// // An exporter is installed here, for instance that of `metrics-exporter-prometheus`.
    /// let doubles = Collector::builder(|| Doubles).name("doubles").metrics().start().unwrap();
    /// assert_eq!(doubles.submit(Double(2)).await.unwrap(), 4);
    /// # });
    /// ```
    #[cfg(feature = "metrics")]
    pub fn metrics(mut self) -> Self {
        self.metrics = true;
        self
    }

    /// Records when jobs come and how batches go, as lines of JSON in this file: a [`Trace`](crate::observe::Trace), from which
    /// `examples/tune` says what other settings would have done. Default: no.
    ///
    /// It can be left on: where a job costs 256 ns, a job that is recorded costs 304 (medians of 21 interleaved rounds of 1,000
    /// callers on one thread, on a busy machine), and the file grows by some 4 bytes for each job and 100 for each batch. An
    /// earlier trace at this path is replaced; weights are not recorded. [`TraceRecorder`](crate::observe::TraceRecorder) says what happens when the disk is full or slow.
    ///
    /// ```
    /// use actix_batch::{observe::Trace, prelude::*};
    /// # struct Double(u64);
    /// # impl Job for Double { type Output = u64; type Error = String; }
    /// # struct Doubles;
    /// # impl BatchProcessor for Doubles {
    /// #     type Job = Double;
    /// #     async fn process(&mut self, batch: &Batch<Double>) -> Result<Outcomes<Double>, String> {
    /// #         Ok(Outcomes::in_order(batch.iter().map(|job| job.0 * 2)))
    /// #     }
    /// # }
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let path = folder.path().join("trace.jsonl");
    /// # actix_rt::System::new().block_on(async {
    /// let doubles = Collector::builder(|| Doubles).record(&path).start().unwrap();
    /// assert_eq!(doubles.submit(Double(2)).await.unwrap(), 4);
    /// doubles.shutdown(Shutdown::drain()).await.unwrap();
    ///
    /// let trace = Trace::read(&path).unwrap();
    /// assert_eq!((trace.jobs.len(), trace.batches.len()), (1, 1));
    /// # });
    /// ```
    #[cfg(feature = "record")]
    pub fn record(mut self, path: impl Into<std::path::PathBuf>) -> Self {
        self.record = Some(path.into());
        self
    }

    /// Begins the trace, if there is to be one.
    #[cfg(feature = "record")]
    fn begin_trace(&mut self) -> Result<(), ConfigError> {
        let Some(path) = &self.record else { return Ok(()) };
        let recorder = TraceRecorder::create_for(path, &self.config, self.flushing.policy.is_some());
        let refused = |error| {
            let allowed = format!("a file that can be written, or an earlier trace to be replaced ({error})");
            ConfigError::new("record", path.display(), allowed)
        };
        self.observers.push(Box::new(recorder.map_err(refused)?));
        Ok(())
    }

    /// Where jobs go that failed for good: a closure, or a file. Default: nowhere. See [`DeadLetters`].
    pub fn dead_letters(mut self, letters: impl DeadLetters<P::Job>) -> Self {
        self.dead_letters = Some(Box::new(letters));
        self.rules.keeps_failed = true;
        self
    }

    /// Parts and orders what leaves the open batch: one more [`Batcher`], after those that are there. They run on the
    /// collector's thread, so they had better be quick. Default: none, everything stays together.
    ///
    /// ```
    /// use actix_batch::{batcher::even, prelude::*};
    /// # struct Double(u64);
    /// # impl Job for Double { type Output = u64; type Error = String; }
    /// # struct Doubles;
    /// # impl BatchProcessor for Doubles {
    /// #     type Job = Double;
    /// #     async fn process(&mut self, batch: &Batch<Double>) -> Result<Outcomes<Double>, String> {
    /// #         assert!(batch.len() <= 10 && batch.windows(2).all(|pair| pair[0].0 <= pair[1].0));
    /// #         Ok(Outcomes::in_order(batch.iter().map(|job| job.0 * 2)))
    /// #     }
    /// # }
    ///
    /// # actix_rt::System::new().block_on(async {
    /// // What arrives together is sent in order, in requests of 10 at the most.
    /// let doubles = Collector::builder(|| Doubles).order_by(|job| job.0).batcher(even(10)).start().unwrap();
    /// # use futures_util::future::join_all;
    /// let replies = join_all((0..21).rev().map(|n| doubles.submit(Double(n)))).await;
    /// assert_eq!(*replies[0].as_ref().unwrap(), 40);
    /// # });
    /// ```
    pub fn batcher(mut self, batcher: impl Batcher<P::Job> + Send + 'static) -> Self {
        self.batchers = self.batchers.batcher(batcher);
        self
    }

    /// One more batcher, a closure: a list of batches in, a list of batches out. [`batcher`](crate::batcher) has examples.
    pub fn batch_with<F>(mut self, f: F) -> Self
    where
        F: for<'a> Fn(Vec<Vec<Item<'a, P::Job>>>) -> Vec<Vec<Item<'a, P::Job>>> + Send + 'static,
    {
        self.batchers = self.batchers.batch_with(f);
        self
    }

    /// One more batcher: a batch for each key. See [`group_by`](crate::batcher::group_by).
    pub fn group_by<K: Eq + Hash>(mut self, key: impl Fn(&P::Job) -> K + Send + 'static) -> Self {
        self.batchers = self.batchers.group_by(key);
        self
    }

    /// One more batcher: a batch for each key, borrowed from the job. See [`group_by_ref`](crate::batcher::group_by_ref).
    pub fn group_by_ref<K: Eq + Hash + ?Sized>(mut self, key: impl Fn(&P::Job) -> &K + Send + 'static) -> Self {
        self.batchers = self.batchers.group_by_ref(key);
        self
    }

    /// One more batcher: each batch in the order of the keys. See [`order_by`](crate::batcher::order_by).
    pub fn order_by<K: Ord>(mut self, key: impl Fn(&P::Job) -> K + Send + 'static) -> Self {
        self.batchers = self.batchers.order_by(key);
        self
    }

    /// Jobs of one key – a tenant, a shard, a table – gather in an open batch of their own: each batch is of one key, so a
    /// processor asks `batch[0]`. The flush policy is asked about each open batch by itself. Default: all gather together.
    ///
    /// The key is told on the submitter's thread. A job of which it panics shares a batch with no other.
    ///
    /// ```
    /// use actix_batch::prelude::*;
    ///
    /// struct Charge {
    ///     tenant: u32,
    ///     cents: u64,
    /// }
    /// impl Job for Charge {
    ///     type Output = ();
    ///     type Error = String;
    /// }
    ///
    /// struct Charges;
    /// impl BatchProcessor for Charges {
    ///     type Job = Charge;
    ///     async fn process(&mut self, batch: &Batch<Charge>) -> Result<Outcomes<Charge>, String> {
    ///         let (tenant, cents) = (batch[0].tenant, batch.iter().map(|charge| charge.cents).sum::<u64>());
    ///         println!("tenant {tenant} pays {cents}");
    /// #       assert!(batch.iter().all(|charge| charge.tenant == tenant));
    ///         Ok(Outcomes::all(()))
    ///     }
    /// }
    ///
    /// # actix_rt::System::new().block_on(async {
    /// let charges = Collector::builder(|| Charges).partition_by(|charge| charge.tenant).start().unwrap();
    /// charges.submit(Charge { tenant: 7, cents: 100 }).await.unwrap();
    /// # });
    /// ```
    pub fn partition_by<K>(mut self, key: impl Fn(&P::Job) -> K + Send + Sync + 'static) -> Self
    where
        K: Eq + Hash + Send + Sync + 'static,
    {
        self.keying.partition = Some(Key::by(key));
        self
    }

    /// How many partitions may have an open batch at once, from 1; one more makes that leave which has not been added to for the
    /// longest time. Default: 1,000.
    pub fn max_partitions(mut self, partitions: usize) -> Self {
        self.keying.max_partitions = partitions;
        self
    }

    /// Jobs of one key are processed one after the other, in the order in which they were accepted, whatever their priorities:
    /// a job is held until the one before it has been settled, retries and all, while other keys go on. So a batch has one
    /// job of a key at the most. Default: batches are processed at the same time, as there are workers.
    ///
    /// Together with [`partition_by`](Self::partition_by) the same key, a batch may have many jobs of it: the processor keeps
    /// the order within the batch, and the next batch of the key waits for this one. What such a batch is parted into – by a
    /// batcher, by a split, by a retry of those of its jobs that failed – is not held for each other.
    ///
    /// A job counts as waiting from its acceptance, so one that was held for longer than the interval leaves at once
    /// afterwards. The key is told on the submitter's thread; a job of which it panics waits for nobody.
    ///
    /// ```
    /// use actix_batch::prelude::*;
    /// # struct Booking { account: u32 }
    /// # impl Job for Booking { type Output = (); type Error = String; }
    /// # struct Bookings;
    /// # impl BatchProcessor for Bookings {
    /// #     type Job = Booking;
    /// #     async fn process(&mut self, batch: &Batch<Booking>) -> Result<Outcomes<Booking>, String> {
    /// #         assert_eq!(batch.len(), 1);
    /// #         Ok(Outcomes::all(()))
    /// #     }
    /// # }
    /// # actix_rt::System::new().block_on(async {
    /// // Two workers, and never two bookings of one account at once.
    /// let bookings = Collector::builder(|| Bookings).in_order_by(|booking| booking.account).start().unwrap();
    /// let (first, second) = (bookings.submit(Booking { account: 7 }), bookings.submit(Booking { account: 7 }));
    /// first.await.unwrap();
    /// second.await.unwrap();
    /// # });
    /// ```
    pub fn in_order_by<K>(mut self, key: impl Fn(&P::Job) -> K + Send + Sync + 'static) -> Self
    where
        K: Eq + Hash + Send + Sync + 'static,
    {
        self.keying.sequence = Some(Key::by(key));
        self
    }

    /// One job for many callers: while a job is buffered or in flight, those with the same key ride on it. Each caller gets a
    /// reply of its own, a copy. Default: every job goes its own way.
    ///
    /// Such a job is processed even if the caller who came first has gone, for others may ride on it. A job with a
    /// [deadline](crate::SubmitJob::deadline) of its own neither rides nor is ridden on. Who rides goes at the priority of the
    /// first. The key is told on the submitter's thread; a job of which it panics goes its own way.
    ///
    /// ```
    /// use actix_batch::prelude::*;
    /// # struct Double(u64);
    /// # impl Job for Double { type Output = u64; type Error = String; }
    /// # struct Doubles;
    /// # impl BatchProcessor for Doubles {
    /// #     type Job = Double;
    /// #     async fn process(&mut self, batch: &Batch<Double>) -> Result<Outcomes<Double>, String> {
    /// #         Ok(Outcomes::in_order(batch.iter().map(|job| job.0 * 2)))
    /// #     }
    /// # }
    /// # actix_rt::System::new().block_on(async {
    /// let doubles = Collector::builder(|| Doubles).coalesce_by(|job| job.0).start().unwrap();
    /// let (one, other) = (doubles.submit(Double(2)), doubles.submit(Double(2)));
    /// assert_eq!((one.await.unwrap(), other.await.unwrap()), (4, 4));
    /// assert_eq!(doubles.stats().await.unwrap().intake.coalesced, 1);
    /// # });
    /// ```
    pub fn coalesce_by<K>(mut self, key: impl Fn(&P::Job) -> K + Send + Sync + 'static) -> Self
    where
        K: Eq + Hash + Send + Sync + 'static,
        OutputOf<P>: Clone,
    {
        self.keying.coalescing = Some(SharingRules { key: Key::by(key), copy: OutputOf::<P>::clone, memory: None });
        self
    }

    /// An idempotency key: a job whose key was seen before, within its time to live, gets the outcome of the first – an output
    /// or an error, as soon as there is one – and is not processed again. A job that holds something else under the same key is
    /// refused as [`JobError::KeyConflict`](crate::JobError::KeyConflict); what it holds is told by its `Hash`. Default: jobs
    /// have no such keys.
    ///
    /// Until there is an outcome, the priority and the deadline of the first count for all: who waits for a job that expires has
    /// expired with it. Only what a processor may have seen is remembered: after `Expired`, `CircuitOpen`, `NoWorkers`,
    /// `TooLarge` or `ShutDown` the key is free again. The time begins with the outcome. It is remembered in this process and
    /// nowhere else. [`max_outcomes`](Self::max_outcomes) bounds how many are.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use actix_batch::prelude::*;
    ///
    /// #[derive(Hash)]
    /// struct Payment {
    ///     request: &'static str,
    ///     cents: u64,
    /// }
    /// impl Job for Payment {
    ///     type Output = u64;
    ///     type Error = String;
    /// }
    /// # struct Payments(u64);
    /// # impl BatchProcessor for Payments {
    /// #     type Job = Payment;
    /// #     async fn process(&mut self, batch: &Batch<Payment>) -> Result<Outcomes<Payment>, String> {
    /// #         self.0 += 1;
    /// #         Ok(Outcomes::all(self.0))
    /// #     }
    /// # }
    ///
    /// # actix_rt::System::new().block_on(async {
    /// let day = Duration::from_secs(24 * 60 * 60);
    /// let payments = Collector::builder(|| Payments(0)).idempotent_by(|payment| payment.request, day).start().unwrap();
    /// let receipt = payments.submit(Payment { request: "a1", cents: 100 }).await.unwrap();
    /// // The client did not hear the answer, and asks again: it is not charged twice.
    /// assert_eq!(payments.submit(Payment { request: "a1", cents: 100 }).await.unwrap(), receipt);
    /// // Another request under the same key is a mistake.
    /// let conflict = payments.submit(Payment { request: "a1", cents: 900 }).await.unwrap_err();
    /// assert!(matches!(conflict, JobError::KeyConflict));
    /// # });
    /// ```
    pub fn idempotent_by<K>(
        mut self,
        key: impl Fn(&P::Job) -> K + Send + Sync + 'static,
        time_to_live: Duration,
    ) -> Self
    where
        K: Eq + Hash + Send + Sync + 'static,
        P::Job: Hash,
        OutputOf<P>: Clone,
    {
        // Two hashes, each with random keys of its own: 128 bits, which nobody can make collide on purpose.
        let states = [RandomState::new(), RandomState::new()];
        let fingerprint = move |job: &P::Job| {
            let [high, low] = [&states[0], &states[1]].map(|state| u128::from(state.hash_one(job)));
            (high << 64) | low
        };
        let remembered = Remembered { time_to_live, fingerprint: Box::new(fingerprint) };
        self.keying.idempotence =
            Some(SharingRules { key: Key::by(key), copy: OutputOf::<P>::clone, memory: Some(remembered) });
        self
    }

    /// How many outcomes [`idempotent_by`](Self::idempotent_by) remembers at the most, from 1: one more, and the oldest is
    /// forgotten before its time. Default: 100,000.
    pub fn max_outcomes(mut self, outcomes: usize) -> Self {
        self.keying.max_outcomes = outcomes;
        self
    }

    /// Keeps results by key: a job whose key has one is answered at once, with a copy, and is not processed. Only outputs are
    /// kept, never errors. Default: nothing is kept.
    ///
    /// Such a job needs no room in a full collector, and counts as [`Stats::cache_hits`](crate::Stats::cache_hits) and nowhere
    /// else; after a shutdown it is refused like any other. [`Cache`] says how many results are kept and for how long,
    /// [`Collector::prime`] puts one there, [`Collector::clear`] and [`Collector::clear_all`] forget. What was in flight when it was
    /// cleared is not kept afterwards.
    ///
    /// The key is told on the submitter's thread, and once more where the job is settled; of jobs of which it panics nothing is
    /// kept, and neither is an output whose `Clone` panics. Together with [`idempotent_by`](Self::idempotent_by), which remembers
    /// outcomes itself, it is refused.
    ///
    /// With [`coalesce_by`](Self::coalesce_by) the same key, and [`Collector::submit_all`], it is what is known as a
    /// `DataLoader`: who asks before the first answer rides along, who asks later finds it.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use actix_batch::prelude::*;
    /// # struct Double(u64);
    /// # impl Job for Double { type Output = u64; type Error = String; }
    /// # struct Doubles;
    /// # impl BatchProcessor for Doubles {
    /// #     type Job = Double;
    /// #     async fn process(&mut self, batch: &Batch<Double>) -> Result<Outcomes<Double>, String> {
    /// #         Ok(Outcomes::in_order(batch.iter().map(|job| job.0 * 2)))
    /// #     }
    /// # }
    ///
    /// # actix_rt::System::new().block_on(async {
    /// let minute = Cache::new(10_000).time_to_live(Duration::from_secs(60));
    /// let doubles =
    ///     Collector::builder(|| Doubles).coalesce_by(|job| job.0).cache(|job| job.0, minute).start().unwrap();
    /// assert_eq!(doubles.submit(Double(2)).await.unwrap(), 4);
    /// assert_eq!(doubles.submit(Double(2)).await.unwrap(), 4);
    /// let stats = doubles.stats().await.unwrap();
    /// assert_eq!((stats.intake.accepted, stats.intake.cache_hits), (1, 1));
    ///
    /// // Two has changed.
    /// doubles.clear(&Double(2));
    /// # });
    /// ```
    #[cfg(feature = "cache")]
    pub fn cache<K>(mut self, key: impl Fn(&P::Job) -> K + Send + Sync + 'static, cache: Cache) -> Self
    where
        K: Eq + Hash + Send + Sync + 'static,
        OutputOf<P>: Clone,
    {
        self.keying.cache = Some(Box::new(Store::new(Key::by(key), OutputOf::<P>::clone, cache)));
        self
    }

    /// By how much longer a job waits than one of the next higher priority before it goes first, up to 24 hours: a `Low` job is
    /// overtaken by no `High` one that was accepted more than twice this time after it. Default: 1 s.
    pub fn ageing(mut self, step: Duration) -> Self {
        self.rules.ageing = step;
        self
    }

    /// Whether jobs are left out whose callers have dropped their `Submit` before the batch began; their reply would reach
    /// nobody. A `do_send` is not one of them. A collector that [coalesces](Self::coalesce_by) or has
    /// [idempotency keys](Self::idempotent_by) leaves nobody out: others may ride on the job. Default: yes.
    pub fn skip_abandoned(mut self, skip: bool) -> Self {
        self.rules.skip_abandoned = skip;
        self
    }

    /// The actor, not yet started: for your own `Supervisor` or `Arbiter`. Take a handle with [`CollectorActor::handle`].
    ///
    /// # Errors
    ///
    /// [`ConfigError`] for a setting that cannot be.
    #[cfg_attr(not(feature = "record"), allow(unused_mut, reason = "a trace is one more observer"))]
    pub fn build(mut self) -> Result<CollectorActor<P>, ConfigError> {
        self.config.check()?;
        self.rules.check()?;
        self.flushing.check(self.config.strategy)?;
        self.keying.check()?;
        // Last: what is refused leaves an earlier trace as it was.
        #[cfg(feature = "record")]
        self.begin_trace()?;
        Ok(CollectorActor::new(self))
    }

    /// Starts the collector on this thread's arbiter, under actix's `Supervisor`.
    ///
    /// It ends when the last handle and address are dropped and everything is settled.
    ///
    /// # Errors
    ///
    /// [`StartError::Config`] for a setting that cannot be; [`StartError::NoSystem`] where no actix `System` runs.
    pub fn start(self) -> Result<Collector<P::Job>, StartError> {
        let actor = self.build()?;
        let arbiter = Arbiter::try_current().filter(|arbiter| System::is_registered() && arbiter.alive());
        let arbiter = arbiter.ok_or(StartError::NoSystem)?;
        let handle = actor.handle();
        Supervisor::start_in_arbiter(&arbiter, move |_| actor);
        Ok(handle)
    }

    /// Starts the collector on a thread and `System` of its own, for programs under `#[tokio::main]` or without a runtime.
    ///
    /// The thread ends with the collector: when the last handle and address are dropped and everything is settled. A process
    /// that exits earlier takes it along, so await [`Collector::shutdown`] first.
    ///
    /// # Errors
    ///
    /// [`StartError::Config`] for a setting that cannot be; [`StartError::Thread`] where no thread could be started.
    pub fn start_on_thread(self) -> Result<Collector<P::Job>, StartError> {
        let actor = self.build()?;
        let handle = actor.handle();
        let (up, is_up) = mpsc::channel();
        // A thread's name may hold no NUL; std would panic.
        let name = actor.shared().name.replace('\0', "");
        thread::Builder::new().name(name).spawn(move || {
            let system = System::new();
            let ended = actor.shared().ended();
            system.block_on(async move {
                actor.start();
                let _ = up.send(());
                ended.await;
                System::current().stop();
            });
        })?;
        // An error means that the thread could not bring up its `System`; the actor was dropped, and the intake is closed.
        is_up.recv().map_err(|_| StartError::Thread(std::io::Error::other("its `System` did not start")))?;
        Ok(handle)
    }
}

impl<P: BatchProcessor> fmt::Debug for CollectorBuilder<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CollectorBuilder").field("config", &self.config).finish_non_exhaustive()
    }
}
