//! A chain of batchers, and the watch over what they hand on.
//!
//! Invariants:
//! - After each batcher every job is in exactly one batch, and no batch is empty.
//! - A panic of the user's code ends here.

use std::{
    fmt,
    hash::Hash,
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
};

use super::{Batcher, Item, batcher_fn, group_by, group_by_ref, order_by};
use crate::panics::discard;

/// Batchers, one after the other, from left to right. The builder of a collector has the same methods; this one is for tests
/// of a batcher, and for jobs that are at hand.
///
/// ```
/// use actix_batch::batcher::{Batchers, chunk};
///
/// let batchers = Batchers::<u32>::new().group_by(|n| n % 2).batcher(chunk(2));
/// assert_eq!(batchers.arrange(vec![1, 2, 3, 4, 5, 7]), [vec![1, 3], vec![5, 7], vec![2, 4]]);
/// ```
pub struct Batchers<J> {
    chain: Vec<Box<dyn Batcher<J> + Send>>,
}

/// How jobs, by their places, are to be batched.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) batches: Vec<Vec<usize>>,
    /// Jobs that some batcher left out. They are there all the same.
    pub(crate) left_out: usize,
    /// Batchers that panicked, and were passed over.
    pub(crate) panics: usize,
}

impl<J> Batchers<J> {
    /// None: everything stays together.
    pub fn new() -> Self {
        Self { chain: Vec::new() }
    }

    /// One more batcher, which gets what the last one makes.
    pub fn batcher(mut self, batcher: impl Batcher<J> + Send + 'static) -> Self {
        self.chain.push(Box::new(batcher));
        self
    }

    /// One more batcher, a closure: see [`batcher_fn`].
    pub fn batch_with<F>(self, f: F) -> Self
    where
        F: for<'a> Fn(Vec<Vec<Item<'a, J>>>) -> Vec<Vec<Item<'a, J>>> + Send + 'static,
    {
        self.batcher(batcher_fn(f))
    }

    /// One more batcher: see [`group_by`].
    pub fn group_by<K: Eq + Hash>(self, key: impl Fn(&J) -> K + Send + 'static) -> Self {
        self.batcher(group_by(key))
    }

    /// One more batcher: see [`group_by_ref`].
    pub fn group_by_ref<K: Eq + Hash + ?Sized>(self, key: impl Fn(&J) -> &K + Send + 'static) -> Self {
        self.batcher(group_by_ref(key))
    }

    /// One more batcher: see [`order_by`].
    pub fn order_by<K: Ord>(self, key: impl Fn(&J) -> K + Send + 'static) -> Self {
        self.batcher(order_by(key))
    }

    /// The batches that these jobs make: each job in one of them, whatever the batchers do.
    pub fn arrange(&self, jobs: Vec<J>) -> Vec<Vec<J>> {
        let plan = self.plan(&jobs);
        deal(jobs, &plan.batches)
    }

    /// Whether there is nothing to do.
    pub(crate) fn is_empty(&self) -> bool {
        self.chain.is_empty()
    }

    pub(crate) fn plan(&self, jobs: &[J]) -> Plan {
        let everything = if jobs.is_empty() { Vec::new() } else { vec![(0..jobs.len()).collect()] };
        let begin = Plan { batches: everything, left_out: 0, panics: 0 };
        self.chain.iter().fold(begin, |plan, batcher| plan.after(&**batcher, jobs))
    }
}

impl Plan {
    /// What the next batcher makes of it.
    fn after<J>(self, batcher: &dyn Batcher<J>, jobs: &[J]) -> Self {
        let item = |at: &usize| Item { job: &jobs[*at], at: *at };
        let items = self.batches.iter().map(|batch| batch.iter().map(item).collect()).collect();
        match catch_unwind(AssertUnwindSafe(|| batcher.batch(items))) {
            Ok(made) => self.conserved(made, jobs.len()),
            Err(panic) => {
                discard(panic);
                Self { panics: self.panics + 1, ..self }
            }
        }
    }

    /// What the batcher made, and last of all what it left out.
    fn conserved<J>(self, made: Vec<Vec<Item<'_, J>>>, jobs: usize) -> Self {
        let mut missing = vec![true; jobs];
        let mut found = |item: Item<'_, J>| mem::take(missing.get_mut(item.at)?).then_some(item.at);
        let mut batches: Vec<Vec<_>> =
            made.into_iter().map(|batch| batch.into_iter().filter_map(&mut found).collect()).collect();
        let left_out: Vec<_> = (0..jobs).filter(|at| missing[*at]).collect();
        let left_out_now = left_out.len();
        batches.push(left_out);
        batches.retain(|batch| !batch.is_empty());
        Self { batches, left_out: self.left_out + left_out_now, ..self }
    }
}

/// Deals things out to batches, by their places. Each place is in one batch.
pub(crate) fn deal<T>(things: Vec<T>, batches: &[Vec<usize>]) -> Vec<Vec<T>> {
    let mut things: Vec<_> = things.into_iter().map(Some).collect();
    batches.iter().map(|batch| batch.iter().filter_map(|at| things.get_mut(*at)?.take()).collect()).collect()
}

impl<J> Default for Batchers<J> {
    fn default() -> Self {
        Self::new()
    }
}

impl<J> fmt::Debug for Batchers<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batchers").field("len", &self.chain.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batcher::chunk;

    #[test]
    fn no_batchers_and_no_jobs_are_no_batches_at_all() {
        assert_eq!(Batchers::<u8>::new().arrange(Vec::new()), Vec::<Vec<u8>>::new());
        assert_eq!(Batchers::new().batcher(chunk(2)).arrange(Vec::<u8>::new()), Vec::<Vec<u8>>::new());
        assert_eq!(Batchers::new().arrange(vec![1, 2]), [[1, 2]]);
    }

    #[test]
    fn what_is_left_out_comes_last_and_is_counted_and_goes_through_the_rest_of_the_chain() {
        let batchers = Batchers::<u8>::new()
            .batch_with(|mut batches| {
                batches[0].drain(1..=3);
                batches
            })
            .batcher(chunk(2));
        let plan = batchers.plan(&[0, 1, 2, 3, 4]);
        assert_eq!(plan, Plan { batches: vec![vec![0, 4], vec![1, 2], vec![3]], left_out: 3, panics: 0 });
    }

    #[test]
    fn what_every_batcher_leaves_out_is_counted_every_time() {
        let batchers = Batchers::<u8>::new().batch_with(|_| Vec::new()).batch_with(|_| vec![Vec::new()]);
        assert_eq!(batchers.plan(&[7, 8]), Plan { batches: vec![vec![0, 1]], left_out: 4, panics: 0 });
    }

    #[test]
    fn a_batcher_that_panics_is_passed_over() {
        let batchers = Batchers::<u8>::new().batcher(chunk(2)).batch_with(|_| panic!("no")).batcher(chunk(1));
        let plan = batchers.plan(&[0, 1, 2]);
        assert_eq!(plan, Plan { batches: vec![vec![0], vec![1], vec![2]], left_out: 0, panics: 1 });
    }

    #[test]
    fn items_that_were_forgotten_are_left_out_like_any_others() {
        let forgetful = Batchers::<String>::new().batch_with(|batches| {
            mem::forget(batches);
            Vec::new()
        });
        assert_eq!(forgetful.arrange(vec!["a".to_owned()]), [["a"]]);
    }

    #[test]
    fn each_thing_is_dealt_to_its_place() {
        assert_eq!(deal(vec!['a', 'b', 'c'], &[vec![2, 0], vec![1]]), [vec!['c', 'a'], vec!['b']]);
    }
}
