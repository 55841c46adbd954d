//! Which jobs belong together: by partition, in order, or as one job for many callers; and how urgency ages.

use std::{hash::Hash, time::Duration};

use super::{CollectorBuilder, OutputOf};
#[cfg(feature = "cache")]
use crate::collector::cache::{Cache, Store};
use crate::{
    collector::intake::{MemoryRules, SharingRules},
    job::{Key, fingerprint},
    processor::BatchProcessor,
};

impl<P: BatchProcessor> CollectorBuilder<P> {
    /// Collects the jobs of each key – a tenant, a shard, a table – in an open batch of their own. All jobs of a batch have the same
    /// key, so a processor can take it from `batch[0]`. The flush policy decides about each open batch separately. Default: all
    /// jobs share one open batch.
    ///
    /// The key function runs on the submitter's thread. A job for which it returns `None` has no key: it shares the open batch of the
    /// others without one. If it panics for a job, that job gets a batch of its own.
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

    /// The largest number of pending jobs of one partition, so that a slow or greedy one leaves room for the others. Its further jobs wait
    /// or are refused, as if the collector were full; jobs of other partitions overtake them. Jobs without a key are a partition of their
    /// own. From 1 to `max_pending`; needs [`partition_by`](Self::partition_by). Default: no bound but `max_pending`.
    ///
    /// ```
    /// use actix_batch::prelude::*;
    /// # struct Charge { tenant: u32 }
    /// # impl Job for Charge { type Output = (); type Error = String; }
    /// # struct Charges;
    /// # impl BatchProcessor for Charges {
    /// #     type Job = Charge;
    /// #     async fn process(&mut self, _: &Batch<Charge>) -> Result<Outcomes<Charge>, String> { Ok(Outcomes::all(())) }
    /// # }
    /// # actix_rt::System::new().block_on(async {
    /// let builder = Collector::builder(|| Charges).partition_by(|charge| charge.tenant);
    /// let charges = builder.max_pending(10_000).max_pending_per_partition(1_000).start().unwrap();
    /// charges.submit(Charge { tenant: 7 }).await.unwrap();
    /// # });
    /// ```
    pub fn max_pending_per_partition(mut self, jobs: usize) -> Self {
        self.config.max_pending_per_partition = Some(jobs);
        self
    }

    /// How many partitions may have an open batch at once, from 1. When one more opens, the least recently used one leaves. Default:
    /// 1,000.
    pub fn max_partitions(mut self, partitions: usize) -> Self {
        self.keying.max_partitions = partitions;
        self
    }

    /// Processes the jobs of each key one after the other, in the order of acceptance, whatever their priorities. A job is held
    /// until the one before it has been settled, including its retries, while jobs of other keys go on. So a batch holds at most
    /// one job of a key. Default: no order; batches are processed in parallel by all workers.
    ///
    /// Together with [`partition_by`](Self::partition_by) the same key, a batch may hold many jobs of the key: the processor keeps
    /// the order within the batch, and the next batch of the key waits for this one. The parts of such a batch – made by a
    /// batcher, by a split, or by a retry of its failed jobs – do not wait for each other.
    ///
    /// Jobs that wait for room are accepted in the order of arrival, too, whatever their priorities; but a job whose partition is full
    /// ([`max_pending_per_partition`](Self::max_pending_per_partition)) may be overtaken by one of another partition.
    ///
    /// A job's wait counts from its acceptance, so a job that was held for longer than the interval leaves at once afterwards. The
    /// key function runs on the submitter's thread; a job for which it returns `None`, or panics, is not ordered.
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

    /// Processes one job for many callers: while a job is buffered or in flight, jobs with the same key follow it instead of being
    /// processed. Each caller gets its own copy of the reply. Default: every job is processed.
    ///
    /// The first job is processed even if its caller has gone, because others may follow it. Each caller keeps its own
    /// [deadline](crate::SubmitJob::deadline): it expires alone, and the job is processed for the others. The job has the highest priority
    /// of its callers. The key function runs on the submitter's thread; a job for which it returns `None`, or panics, is processed by itself.
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

    /// Gives jobs an idempotency key: a job whose key was seen before, within the time to live, gets the outcome of the first job –
    /// an output or an error, as soon as there is one – and is not processed again. A job with the same key and another content
    /// (compared by its `Hash`) is refused as [`JobError::KeyConflict`](crate::JobError::KeyConflict). Default: jobs have no
    /// idempotency keys.
    ///
    /// Until there is an outcome, each caller keeps its own deadline, and the job has the highest priority of its callers, as with
    /// [`coalesce_by`](Self::coalesce_by). Only outcomes of jobs that a processor may have seen are remembered: after `Expired`, `CircuitOpen`, `NoWorkers`,
    /// `TooLarge` or `ShutDown` the key is free again. The time to live starts with the outcome. Outcomes are remembered in this
    /// process only, and at most [`max_outcomes`](Self::max_outcomes) of them. A job for which the key function returns `None` has no
    /// idempotency key: it is processed whatever came before.
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
        let memory = MemoryRules { time_to_live, fingerprint: fingerprint() };
        self.keying.idempotence =
            Some(SharingRules { key: Key::by(key), copy: OutputOf::<P>::clone, memory: Some(memory) });
        self
    }

    /// How many outcomes [`idempotent_by`](Self::idempotent_by) remembers at most, from 1. When there is one more, the oldest is
    /// forgotten early. Default: 100,000.
    pub fn max_outcomes(mut self, outcomes: usize) -> Self {
        self.keying.max_outcomes = outcomes;
        self
    }

    /// Whether a job that fails for good, after its retries, fails the jobs that are held behind it by [`in_order_by`](Self::in_order_by):
    /// they get [`JobError::EarlierFailed`](crate::JobError::EarlierFailed), and no processor sees them. Jobs that come afterwards are
    /// processed. Default: `false`, what follows is processed in any case.
    ///
    /// ```
    /// use actix_batch::{JobError, prelude::*};
    /// # struct Booking { account: u32, amount: i64 }
    /// # impl Job for Booking { type Output = (); type Error = String; }
    /// # struct Bookings;
    /// # impl BatchProcessor for Bookings {
    /// #     type Job = Booking;
    /// #     async fn process(&mut self, batch: &Batch<Booking>) -> Result<Outcomes<Booking>, String> {
    /// #         Ok(Outcomes::each(batch.iter().map(|booking| if booking.amount < 0 { Err("overdrawn".to_owned()) } else { Ok(()) })))
    /// #     }
    /// # }
    /// # actix_rt::System::new().block_on(async {
    /// let bookings =
    ///     Collector::builder(|| Bookings).in_order_by(|booking| booking.account).fail_following(true).start().unwrap();
    /// let first = bookings.submit(Booking { account: 7, amount: -1 });
    /// let second = bookings.submit(Booking { account: 7, amount: 5 });
    /// assert!(matches!(first.await, Err(JobError::Failed(_))));
    /// assert!(matches!(second.await, Err(JobError::EarlierFailed)));
    /// # });
    /// ```
    pub fn fail_following(mut self, fail: bool) -> Self {
        self.keying.fail_following = fail;
        self
    }

    /// Whether [`idempotent_by`](Self::idempotent_by) remembers failures, too. With `false` only successes are remembered, and a job whose
    /// key has failed is processed again. Default: `true`.
    pub fn remember_failures(mut self, remember: bool) -> Self {
        self.keying.remember_failures = remember;
        self
    }

    /// Caches outputs by key: a job whose key is cached is answered at once, with a copy, and is not processed. Errors are never
    /// cached. Default: no cache.
    ///
    /// Such a job needs no room in a full collector, and only counts as a
    /// [cache hit](crate::observe::IntakeCounts::cache_hits); after a shutdown it is refused like any other. [`Cache`] sets how many
    /// outputs are kept and for how long, [`Collector::prime`](crate::Collector::prime) adds one,
    /// [`Collector::clear`](crate::Collector::clear) and [`Collector::clear_all`](crate::Collector::clear_all) remove them. The output
    /// of a job that was in flight when its key was cleared is not cached.
    ///
    /// The key function runs on the submitter's thread, and again when the job is settled. If it returns `None` or panics for a job, or
    /// the output's `Clone` panics, that output is not cached. A cache together with [`idempotent_by`](Self::idempotent_by), which remembers
    /// outcomes itself, is refused.
    ///
    /// With [`coalesce_by`](Self::coalesce_by) the same key, and [`Collector::submit_all`](crate::Collector::submit_all), this is a
    /// `DataLoader`: a job that comes before the first answer follows it, a job that comes later finds the answer in the cache.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use actix_batch::{Cache, prelude::*};
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

    /// How much longer than a job of the next higher priority a job has to have waited to go first, up to 24 hours. A `Low` job is
    /// never overtaken by a `High` job that was accepted more than twice this time after it. Default: 1 s.
    pub fn ageing(mut self, step: Duration) -> Self {
        self.rules.ageing = step;
        self
    }
}
