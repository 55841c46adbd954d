//! In the order of the keys.

use std::fmt;

use super::{Batcher, Item};

/// Orders each batch by a key, an owned value; jobs of the same key stay in order. The key is asked for once for each job.
///
/// ```
/// use std::cmp::Reverse;
///
/// use actix_batch::batcher::{Batchers, chunk};
///
/// // The highest bids first, two by two.
/// let batchers = Batchers::<u32>::new().order_by(|bid| Reverse(*bid)).batcher(chunk(2));
/// assert_eq!(batchers.arrange(vec![3, 9, 1, 7]), [[9, 7], [3, 1]]);
/// ```
pub fn order_by<J, K: Ord, F: Fn(&J) -> K>(key: F) -> OrderBy<F> {
    OrderBy { key }
}

/// Orders batches; made by [`order_by`].
#[derive(Clone, Copy)]
pub struct OrderBy<F> {
    key: F,
}

impl<J, K: Ord, F: Fn(&J) -> K> Batcher<J> for OrderBy<F> {
    fn batch<'a>(&self, mut batches: Vec<Vec<Item<'a, J>>>) -> Vec<Vec<Item<'a, J>>> {
        for batch in &mut batches {
            batch.sort_by_cached_key(|item| (self.key)(item));
        }
        batches
    }
}

impl<F> fmt::Debug for OrderBy<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OrderBy")
    }
}

#[cfg(test)]
mod tests {
    use crate::batcher::{Batchers, chunk};

    #[test]
    fn equal_keys_stay_in_order_and_each_batch_is_ordered_by_itself() {
        let jobs = vec![(2, 'a'), (1, 'b'), (2, 'c'), (1, 'd'), (0, 'e')];
        let whole = Batchers::<(u8, char)>::new().order_by(|job| job.0).arrange(jobs.clone());
        assert_eq!(whole, [[(0, 'e'), (1, 'b'), (1, 'd'), (2, 'a'), (2, 'c')]]);
        let parted = Batchers::<(u8, char)>::new().batcher(chunk(3)).order_by(|job| job.0).arrange(jobs);
        assert_eq!(parted, [vec![(1, 'b'), (2, 'a'), (2, 'c')], vec![(0, 'e'), (1, 'd')]]);
    }

    #[test]
    fn a_key_whose_order_is_nonsense_loses_nothing() {
        #[derive(PartialEq, Eq)]
        struct Nonsense(u32);
        impl PartialOrd for Nonsense {
            fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
                Some(self.cmp(other))
            }
        }
        impl Ord for Nonsense {
            fn cmp(&self, other: &Self) -> std::cmp::Ordering {
                (self.0.wrapping_mul(2_654_435_761)).cmp(&other.0.rotate_left(13))
            }
        }
        let batches = Batchers::<u32>::new().order_by(|n| Nonsense(*n)).arrange((0..1_000).collect());
        let mut jobs: Vec<u32> = batches.into_iter().flatten().collect();
        jobs.sort_unstable();
        assert_eq!(jobs, (0..1_000).collect::<Vec<_>>());
    }
}
