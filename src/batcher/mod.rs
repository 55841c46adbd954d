//! Which jobs share a batch.
//!
//! When a batch has left the intake, a chain of [`Batcher`]s may divide it and order its jobs. The first gets one batch with everything;
//! each hands its list of batches to the next. Every batch that comes out is dispatched, retried and answered by itself.
//!
//! ```
//! use actix_batch::{batcher::chunk, prelude::*};
//! # struct Charge { customer: u64 }
//! # impl Job for Charge { type Output = (); type Error = String; }
//! # struct Charges;
//! # impl BatchProcessor for Charges {
//! #     type Job = Charge;
//! #     async fn process(&mut self, batch: &Batch<Charge>) -> Result<Outcomes<Charge>, String> {
//! #         assert!(batch.iter().all(|charge| charge.customer == batch[0].customer));
//! #         Ok(Outcomes::all(()))
//! #     }
//! # }
//!
//! # actix_rt::System::new().block_on(async {
//! // Each request is of one customer, and of 50 charges at the most.
//! let charges = Collector::builder(|| Charges).group_by(|charge| charge.customer).batcher(chunk(50)).start().unwrap();
//! charges.submit(Charge { customer: 7 }).await.unwrap();
//! # });
//! ```
//!
//! | batcher | of each batch it makes |
//! |---|---|
//! | [`chunk(n)`](chunk) | batches of `n`, and one of what remains |
//! | [`even(n)`](even) | as few batches of `n` at the most as there can be, of the same size if that can be |
//! | [`group_by(key)`](group_by), [`group_by_ref(key)`](group_by_ref) | a batch for each key, in the order in which the keys first appear |
//! | [`order_by(key)`](order_by) | a batch in the order of the keys |
//! | [`batcher_fn(f)`](batcher_fn) | whatever you like |
//!
//! Order is kept unless a batcher changes it; an empty batch is never sent.
//!
//! # No batcher can lose, double or change a job
//!
//! A batcher moves [`Item`]s. They cannot be made, copied or changed, so the worst that it can do is to leave some out: these
//! come in a last batch of their own, counted and logged. If it panics, the jobs go on as they were before it.
//!
//! ```
//! use actix_batch::batcher::{Batchers, Item};
//!
//! // Pairs the lightest with the heaviest.
//! let pairs = Batchers::<u32>::new().batch_with(|batches| {
//!     let mut items: Vec<Item<'_, u32>> = batches.into_iter().flatten().collect();
//!     items.sort_by_key(|item| **item);
//!     let heavy = items.split_off(items.len() / 2);
//!     items.into_iter().zip(heavy.into_iter().rev()).map(|(light, heavy)| vec![light, heavy]).collect()
//! });
//!
//! assert_eq!(pairs.arrange(vec![4, 8, 1, 6]), [[1, 8], [4, 6]]);
//! // `zip` leaves one out of an odd number of jobs; it comes all the same.
//! assert_eq!(pairs.arrange(vec![4, 8, 1, 6, 5]), [vec![1, 8], vec![4, 6], vec![5]]);
//! ```

use std::{fmt, ops::Deref};

mod batchers;
mod chunk;
mod even;
mod group_by;
mod order_by;

pub use batchers::Batchers;
pub(crate) use batchers::{Plan, deal};
pub use chunk::{Chunk, chunk};
pub use even::{Even, even};
pub use group_by::{GroupBy, GroupByRef, group_by, group_by_ref};
pub use order_by::{OrderBy, order_by};

/// Decides which jobs share a batch.
///
/// The same batchers serve whatever is batched, so `J` has no bound, and there are no replies in sight.
pub trait Batcher<J> {
    /// Takes a list of batches and gives a list of batches.
    fn batch<'a>(&self, batches: Vec<Vec<Item<'a, J>>>) -> Vec<Vec<Item<'a, J>>>;
}

impl<J, B: Batcher<J> + ?Sized> Batcher<J> for Box<B> {
    fn batch<'a>(&self, batches: Vec<Vec<Item<'a, J>>>) -> Vec<Vec<Item<'a, J>>> {
        (**self).batch(batches)
    }
}

/// A job in a batcher's hands: it can be read and moved to another batch, and nothing else.
///
/// It cannot be copied, so no job can be doubled:
///
/// ```compile_fail,E0277
/// # use actix_batch::batcher::{Batchers, Item};
/// Batchers::<u32>::new().batch_with(|batches: Vec<Vec<Item<'_, u32>>>| {
///     batches.into_iter().flatten().map(|item| vec![item; 2]).collect()
/// });
/// ```
///
/// make one,
///
/// ```compile_fail,E0451
/// # use actix_batch::batcher::Item;
/// let item = Item { job: &7, at: 0 };
/// ```
///
/// change what is in it,
///
/// ```compile_fail,E0594
/// # use actix_batch::batcher::{Batchers, Item};
/// Batchers::<u32>::new().batch_with(|mut batches: Vec<Vec<Item<'_, u32>>>| {
///     *batches[0][0] = 8;
///     batches
/// });
/// ```
///
/// or keep one for the next batch:
///
/// ```compile_fail,E0521
/// # use actix_batch::batcher::{Batchers, Item};
/// # use std::sync::Mutex;
/// static KEPT: Mutex<Vec<Vec<Item<'static, u32>>>> = Mutex::new(Vec::new());
/// Batchers::<u32>::new().batch_with(|batches: Vec<Vec<Item<'_, u32>>>| {
///     KEPT.lock().unwrap().extend(batches);
///     Vec::new()
/// });
/// ```
pub struct Item<'a, J> {
    job: &'a J,
    /// Its place among all jobs.
    at: usize,
}

impl<'a, J> Item<'a, J> {
    /// The job, for as long as the batcher runs: a key may borrow from it while the item moves. An associated function, so that
    /// it hides no method of the job's.
    pub fn job(item: &Self) -> &'a J {
        item.job
    }
}

impl<J> Deref for Item<'_, J> {
    type Target = J;

    fn deref(&self) -> &J {
        self.job
    }
}

impl<J: fmt::Debug> fmt::Debug for Item<'_, J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.job.fmt(f)
    }
}

/// A closure as a batcher; [`Batchers::batch_with`] and [`CollectorBuilder::batch_with`](crate::CollectorBuilder::batch_with) make one by
/// themselves.
///
/// ```
/// use actix_batch::batcher::{Batchers, Item, batcher_fn};
///
/// /// The last shall be first.
/// let reversed = batcher_fn(|batches: Vec<Vec<Item<'_, char>>>| {
///     batches.into_iter().map(|batch| batch.into_iter().rev().collect()).collect()
/// });
///
/// assert_eq!(Batchers::new().batcher(reversed).arrange(vec!['a', 'b', 'c']), [['c', 'b', 'a']]);
/// ```
pub fn batcher_fn<J, F>(f: F) -> BatcherFn<F>
where
    F: for<'a> Fn(Vec<Vec<Item<'a, J>>>) -> Vec<Vec<Item<'a, J>>>,
{
    BatcherFn(f)
}

/// A closure as a batcher; made by [`batcher_fn`].
#[derive(Clone, Copy)]
pub struct BatcherFn<F>(F);

impl<J, F> Batcher<J> for BatcherFn<F>
where
    F: for<'a> Fn(Vec<Vec<Item<'a, J>>>) -> Vec<Vec<Item<'a, J>>>,
{
    fn batch<'a>(&self, batches: Vec<Vec<Item<'a, J>>>) -> Vec<Vec<Item<'a, J>>> {
        (self.0)(batches)
    }
}

impl<F> fmt::Debug for BatcherFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BatcherFn")
    }
}
