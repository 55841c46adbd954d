//! Batches of so many.

use super::{Batcher, Item};

/// Parts each batch into batches of `n` jobs, and one of what remains; 0 counts as 1.
///
/// ```
/// use actix_batch::batcher::{Batchers, chunk};
///
/// let batches = Batchers::new().batcher(chunk(2)).arrange(vec![1, 2, 3, 4, 5]);
/// assert_eq!(batches, [vec![1, 2], vec![3, 4], vec![5]]);
/// ```
pub fn chunk(n: usize) -> Chunk {
    Chunk { n: n.max(1) }
}

/// Parts batches into batches of a certain size; made by [`chunk`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk {
    n: usize,
}

impl<J> Batcher<J> for Chunk {
    fn batch<'a>(&self, batches: Vec<Vec<Item<'a, J>>>) -> Vec<Vec<Item<'a, J>>> {
        batches.into_iter().flat_map(|batch| divide(batch, std::iter::repeat(self.n))).collect()
    }
}

/// Parts a batch into batches of these sizes, in order, until there is nothing left.
pub(super) fn divide<T>(batch: Vec<T>, sizes: impl Iterator<Item = usize>) -> impl Iterator<Item = Vec<T>> {
    let mut rest = batch.into_iter();
    sizes.map(move |size| rest.by_ref().take(size).collect::<Vec<_>>()).take_while(|batch| !batch.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batcher::Batchers;

    #[test]
    fn the_last_batch_has_what_remains() {
        let sizes = |jobs: usize, n: usize| -> Vec<usize> {
            Batchers::new().batcher(chunk(n)).arrange((0..jobs).collect()).iter().map(Vec::len).collect()
        };
        assert_eq!(sizes(7, 3), [3, 3, 1]);
        assert_eq!(sizes(6, 3), [3, 3]);
        assert_eq!(sizes(2, 3), [2]);
        assert_eq!(sizes(3, 1), [1, 1, 1]);
        assert_eq!(sizes(3, usize::MAX), [3]);
        assert_eq!(sizes(2, 0), [1, 1]);
    }

    #[test]
    fn each_batch_is_parted_by_itself() {
        let batchers = Batchers::<u32>::new().group_by(|n| n / 10).batcher(chunk(2));
        assert_eq!(batchers.arrange(vec![1, 11, 2, 12, 3]), [vec![1, 2], vec![3], vec![11, 12]]);
    }
}
