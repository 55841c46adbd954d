//! When a batch leaves, how large it is, and how batchers rearrange it.

use std::{hash::Hash, time::Duration};

use super::CollectorBuilder;
use crate::{
    batcher::{Batcher, Item},
    flush::{FlushPolicy, Strategy},
    processor::BatchProcessor,
};

impl<P: BatchProcessor> CollectorBuilder<P> {
    /// Which flush policy decides when a batch leaves. Default: [`Strategy::SizeOrInterval`].
    pub fn strategy(mut self, strategy: Strategy) -> Self {
        self.config.strategy = strategy;
        self
    }

    /// A flush policy of your own, or a combination of the provided ones, instead of the [`strategy`](Self::strategy). `max_size`
    /// caps it; `interval` is ignored.
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

    /// Computes a job's weight – bytes, rows, tokens – for [`Strategy::Weight`] and every policy that goes by weight. The function
    /// runs on the submitter's thread, once for each job. If it panics, the job counts as the heaviest.
    ///
    /// Default: no weights; a policy that needs them is refused.
    pub fn weigh(mut self, weigh: impl Fn(&P::Job) -> u64 + Send + Sync + 'static) -> Self {
        self.flushing.weigher = Some(Box::new(weigh));
        self
    }

    /// For [`Strategy::Weight`]: the largest weight of a batch, in the units of [`weigh`](Self::weigh). A job that is heavier gets a
    /// batch of its own. No default.
    pub fn max_weight(mut self, weight: u64) -> Self {
        self.config.max_weight = Some(weight);
        self
    }

    /// For [`Strategy::Debounce`]: the longest wait of a batch's first job, however many jobs follow. Default: 10 × `interval`.
    pub fn max_wait(mut self, max_wait: Duration) -> Self {
        self.config.max_wait = Some(max_wait);
        self
    }

    /// For [`Strategy::Adaptive`]: how soon a job should be answered. Default: 4 × `interval`.
    pub fn target_latency(mut self, target: Duration) -> Self {
        self.config.target_latency = Some(target);
        self
    }

    /// The largest number of jobs in a batch, from 1 to `max_pending`. Default: 100.
    pub fn max_size(mut self, jobs: usize) -> Self {
        self.config.max_size = jobs;
        self
    }

    /// How long a batch's first job waits for others; later jobs never postpone it. See [`Strategy`] for what it means to the other
    /// policies. The timer has a resolution of 1 ms. Default: 5 ms.
    pub fn interval(mut self, interval: Duration) -> Self {
        self.config.interval = interval;
        self
    }

    /// Adds a [`Batcher`], which rearranges the batches that leave the intake, after the batchers that were added before. Batchers
    /// run on the collector's thread, so they have to be quick. Default: none; batches stay as they are.
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
    /// // Jobs that arrive together are sent in order, at most 10 in a request.
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

    /// Adds a closure as a batcher: it takes a list of batches and returns a list of batches. See [`batcher`](crate::batcher) for
    /// examples.
    pub fn batch_with<F>(mut self, f: F) -> Self
    where
        F: for<'a> Fn(Vec<Vec<Item<'a, P::Job>>>) -> Vec<Vec<Item<'a, P::Job>>> + Send + 'static,
    {
        self.batchers = self.batchers.batch_with(f);
        self
    }

    /// Adds a batcher that makes a batch for each key. See [`group_by`](crate::batcher::group_by).
    pub fn group_by<K: Eq + Hash>(mut self, key: impl Fn(&P::Job) -> K + Send + 'static) -> Self {
        self.batchers = self.batchers.group_by(key);
        self
    }

    /// Adds a batcher that makes a batch for each key, borrowed from the job. See [`group_by_ref`](crate::batcher::group_by_ref).
    pub fn group_by_ref<K: Eq + Hash + ?Sized>(mut self, key: impl Fn(&P::Job) -> &K + Send + 'static) -> Self {
        self.batchers = self.batchers.group_by_ref(key);
        self
    }

    /// Adds a batcher that sorts each batch by a key. See [`order_by`](crate::batcher::order_by).
    pub fn order_by<K: Ord>(mut self, key: impl Fn(&P::Job) -> K + Send + 'static) -> Self {
        self.batchers = self.batchers.order_by(key);
        self
    }
}
