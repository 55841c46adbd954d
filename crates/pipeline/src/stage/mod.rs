//! What happens to records between the source and the sink.
//!
//! A stage takes the records of a chunk and gives an [`Output`] of records, filtered ones and rejected ones. Every record that goes in
//! ends by exactly one of these names; the sum is checked after each stage, and a stage that breaks it fails the run by its name.

use std::future::Future;

use crate::record::Record;

mod chain;
mod debounce;
mod dedupe;
mod filter;
mod flat_map;
mod inspect;
mod lookup;
mod map;
mod map_async;
mod output;
mod throttle;
mod validate;

pub(crate) use chain::{BrokenStage, Chain, Ledger, Start, Then};
pub(crate) use debounce::Debounce;
pub(crate) use dedupe::Dedupe;
pub(crate) use filter::Filter;
pub(crate) use flat_map::FlatMap;
pub(crate) use inspect::Inspect;
pub use lookup::Lookup;
pub(crate) use lookup::Through;
pub(crate) use map::{Map, TryMap};
pub(crate) use map_async::MapAsync;
pub use output::Output;
pub(crate) use throttle::Throttle;
pub(crate) use validate::Validate;

/// A stage of a pipeline: chunk in, chunk out. One stage serves all readers of a run, so it is shared.
///
/// Most stages are closures: [`Flow::map`](crate::Flow::map), [`Flow::filter`](crate::Flow::filter) and their like. Write your own for
/// what needs to see several records at once:
///
/// ```
/// use actix_batch_pipeline::{Output, Record, Stage, prelude::*, source::from_iter};
///
/// /// Passes the largest record of each chunk.
/// struct Largest;
///
/// impl Stage<u32> for Largest {
///     type Out = u32;
///
///     fn name(&self) -> String {
///         "largest".to_owned()
///     }
///
///     async fn process(&self, records: Vec<Record<u32>>, out: &mut Output<u32>) {
///         let largest = records.iter().map(|record| **record).max();
///         for record in records {
///             if Some(*record) == largest { out.emit(record) } else { out.filter(record) }
///         }
///     }
/// }
///
/// # actix_rt::System::new().block_on(async {
/// let report = Pipeline::named("largest")
///     .read(from_iter("numbers", || 0..10))
///     .stage(Largest)
///     .write(for_each(|number: &u32| assert_eq!(*number, 9)))
///     .accept_duplicates(true)
///     .run()
///     .await?;
/// assert_eq!((report.written, report.filtered), (1, 9));
/// # Ok::<(), RunError>(())
/// # }).unwrap();
/// ```
pub trait Stage<I>: Send + Sync + 'static {
    /// What it makes of its records.
    type Out: Send + Sync + 'static;

    /// Its name, for reports and for the plan's fingerprint. Change it, or append a version, when the stage changes its meaning: a
    /// checkpoint of another plan is refused.
    fn name(&self) -> String;

    /// Whether it remembers something from one chunk to the next, so that chunks must come in their order and one by one.
    fn is_stateful(&self) -> bool {
        false
    }

    /// Called before each run of the pipeline: forget what an earlier run has left, which may have failed.
    fn begin(&self) {}

    /// Processes the records of a chunk: each is emitted, filtered or rejected.
    fn process(&self, records: Vec<Record<I>>, out: &mut Output<Self::Out>) -> impl Future<Output = ()>;
}
