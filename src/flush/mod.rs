//! When the open batch leaves.
//!
//! A [`FlushPolicy`] is a pure decision: it is told what is in the open batch and answers what to do. It is asked before a job
//! joins, when a worker becomes free, and when a time that it has named has come. It sees neither actix nor a job: what a job
//! weighs comes as a number, from [`CollectorBuilder::weigh`](crate::CollectorBuilder::weigh).
//!
//! | policy | the batch leaves when | [`Strategy`] |
//! |---|---|---|
//! | [`SizeOrInterval`] | it is full, or its first job has waited for the interval | `size-or-interval`, the default; `capacity`: no interval |
//! | [`FixedInterval`] | the next tick of a fixed grid comes | `fixed-interval` |
//! | [`Debounce`] | nothing new has come for a while | `debounce` |
//! | [`Idle`] | a worker is free | `idle` |
//! | [`Weight`] | its jobs would weigh too much together | `weight` |
//! | [`Adaptive`] | by a size and an interval that follow a target latency | `adaptive` |
//! | [`a.or(b)`](FlushPolicy::or) | whichever comes first | |
//!
//! Whatever a policy says: `max_size` caps the batch, a collector that has become full sends what it has, a job's
//! [deadline](crate::SubmitJob::deadline) brings the flush forward, and `Flush` and a shutdown send it at once. Jobs whose batch has
//! left still wait for a worker, and while the collector is paused.
//!
//! Jobs of other [priorities](crate::Priority) and [partitions](crate::CollectorBuilder::partition_by) have open batches of their own. One
//! policy is asked about each of them, so what belongs to a batch is what [`OpenBatch`] says of it, not what the policy remembers.
//!
//! `docs/batching.md` in the repository draws what each of them does; [`replay`] says what it would do with your jobs.
//!
//! # One of your own
//!
//! A policy runs under the collector's lock, so it must be quick, and **it must not call the collector**: that would wait for
//! itself. A panic in it is caught and means "send now".
//!
//! ```
//! use actix_batch::{
//!     Trigger,
//!     flush::{Arrival, Decision, FlushPolicy, OpenBatch},
//! };
//! use tokio::time::Instant;
//!
//! /// Sends pairs.
//! struct Pairs;
//!
//! impl FlushPolicy for Pairs {
//!     fn on_job(&mut self, open: &OpenBatch, _: &Arrival) -> Decision {
//!         if open.jobs == 1 { Decision::AddAndSend(Trigger::Size) } else { Decision::Add }
//!     }
//!
//!     fn due(&self, _: &OpenBatch) -> Option<Instant> {
//!         None
//!     }
//! }
//!
//! # use actix_batch::prelude::*;
//! # struct Double(u64);
//! # impl Job for Double { type Output = u64; type Error = String; }
//! # struct Doubles;
//! # impl BatchProcessor for Doubles {
//! #     type Job = Double;
//! #     async fn process(&mut self, batch: &Batch<Double>) -> Result<Outcomes<Double>, String> {
//! #         assert_eq!(batch.len(), 2);
//! #         Ok(Outcomes::in_order(batch.iter().map(|job| job.0 * 2)))
//! #     }
//! # }
//! # actix_rt::System::new().block_on(async {
//! let doubles = Collector::builder(|| Doubles).policy(Pairs).start().unwrap();
//! let (four, six) = (doubles.submit(Double(2)), doubles.submit(Double(3)));
//! assert_eq!((four.await.unwrap(), six.await.unwrap()), (4, 6));
//! # });
//! ```

use std::time::Duration;

use tokio::time::Instant;

use crate::batch::Trigger;

mod adaptive;
mod debounce;
mod fixed_interval;
mod idle;
mod or;
mod policy_state;
pub mod replay;
mod size_or_interval;
mod strategy;
mod weight;

pub use adaptive::Adaptive;
pub use debounce::Debounce;
pub use fixed_interval::FixedInterval;
pub use idle::Idle;
pub use or::Or;
pub(crate) use policy_state::PolicyState;
pub use size_or_interval::SizeOrInterval;
pub use strategy::Strategy;
pub use weight::Weight;

/// What a policy sees of the open batch.
///
/// Tests of a policy make one from [`default`](Default::default), the empty batch, and set its fields.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct OpenBatch {
    /// Jobs in it.
    pub jobs: usize,
    /// What they weigh together; 0 without [`CollectorBuilder::weigh`](crate::CollectorBuilder::weigh).
    pub weight: u64,
    /// When its first job joined; `None` while it is empty.
    pub opened_at: Option<Instant>,
    /// When its last job joined; `None` while it is empty, and for a policy that does not
    /// [read the clock](FlushPolicy::reads_clock).
    pub last_at: Option<Instant>,
    /// Whether a worker was free, with no batch waiting for it, when the collector last looked.
    pub idle: bool,
}

/// What a policy sees of a job that is about to join.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Arrival {
    /// What it weighs; 0 without [`CollectorBuilder::weigh`](crate::CollectorBuilder::weigh).
    pub weight: u64,
    /// The time; `None` for a policy that does not [read the clock](FlushPolicy::reads_clock).
    pub at: Option<Instant>,
}

/// What to do with a job that is about to join. The [`Trigger`] is the reason that the batch will carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It joins.
    Add,
    /// It joins, and the batch leaves with it.
    AddAndSend(Trigger),
    /// The batch leaves without it; the policy is asked again, about the empty batch. Of an empty batch it means
    /// [`Add`](Self::Add).
    SendThenAdd(Trigger),
}

/// What to do with the open batch when a worker is free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFree {
    /// It goes on waiting.
    Wait,
    /// It leaves.
    Send,
}

/// How a batch went, once a worker has answered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timing {
    /// Jobs in it.
    pub jobs: usize,
    /// From its first job to its start.
    pub waited: Duration,
    /// From its start to the worker's answer.
    pub took: Duration,
}

/// Decides when the open batch leaves.
pub trait FlushPolicy: Send + 'static {
    /// A job is about to join.
    fn on_job(&mut self, open: &OpenBatch, job: &Arrival) -> Decision;

    /// When the open batch leaves even if nothing more joins; `None`: not by time. Asked when the batch opens, perhaps when others
    /// join it, and again whenever the time it named has come: an answer that has moved on means "look again then". One that has moved closer is
    /// noticed no earlier than that.
    fn due(&self, open: &OpenBatch) -> Option<Instant>;

    /// A worker is free, and no batch waits for it. Asked when that comes about, and, while it is so, when a batch opens.
    /// Default: the batch waits.
    fn on_free(&mut self, open: &OpenBatch) -> OnFree {
        let _ = open;
        OnFree::Wait
    }

    /// A worker has answered a batch, and not with an error of the whole. Default: of no interest.
    fn on_done(&mut self, timing: &Timing) {
        let _ = timing;
    }

    /// The collector is set up; called once, before anything else. Default: of no interest.
    fn start(&mut self, now: Instant) {
        let _ = now;
    }

    /// Whether the clock is to be read for each job (some 25 ns) and not only for the first of a batch: [`Arrival::at`] and
    /// [`OpenBatch::last_at`] are there only then. Asked once. Default: no.
    fn reads_clock(&self) -> bool {
        false
    }

    /// Whether it is useless without weights: a collector without [`weigh`](crate::CollectorBuilder::weigh) is then refused. Asked
    /// once. Default: no.
    fn reads_weight(&self) -> bool {
        false
    }

    /// This policy or another one, whichever sends first.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use actix_batch::flush::{Debounce, FlushPolicy, Weight};
    ///
    /// // A megabyte, or nothing new for 2 ms.
    /// let policy = Weight::new(1 << 20).or(Debounce::new(Duration::from_millis(2)));
    /// assert!(policy.reads_weight() && policy.reads_clock());
    /// ```
    fn or<B: FlushPolicy>(self, other: B) -> Or<Self, B>
    where
        Self: Sized,
    {
        Or::new(self, other)
    }
}

impl FlushPolicy for Box<dyn FlushPolicy> {
    fn on_job(&mut self, open: &OpenBatch, job: &Arrival) -> Decision {
        (**self).on_job(open, job)
    }

    fn due(&self, open: &OpenBatch) -> Option<Instant> {
        (**self).due(open)
    }

    fn on_free(&mut self, open: &OpenBatch) -> OnFree {
        (**self).on_free(open)
    }

    fn on_done(&mut self, timing: &Timing) {
        (**self).on_done(timing);
    }

    fn start(&mut self, now: Instant) {
        (**self).start(now);
    }

    fn reads_clock(&self) -> bool {
        (**self).reads_clock()
    }

    fn reads_weight(&self) -> bool {
        (**self).reads_weight()
    }
}
