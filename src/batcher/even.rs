//! Batches of the same size.

use super::{Batcher, Item, chunk::divide};

/// Parts each batch into as few batches of at most `n` jobs as there can be, whose sizes differ by one at the most, the larger
/// ones first; 0 counts as 1. So no request is much smaller than the others.
///
/// ```
/// use actix_batch::batcher::{Batchers, even};
///
/// let batches = Batchers::new().batcher(even(10)).arrange((0..21).collect());
/// assert_eq!(batches.iter().map(Vec::len).collect::<Vec<_>>(), [7, 7, 7]);
/// ```
pub fn even(n: usize) -> Even {
    Even { n: n.max(1) }
}

/// Parts batches evenly; made by [`even`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Even {
    n: usize,
}

impl Even {
    /// The sizes of the batches.
    fn sizes(self, jobs: usize) -> impl Iterator<Item = usize> {
        let parts = jobs.div_ceil(self.n).max(1);
        let (size, larger) = (jobs / parts, jobs % parts);
        (0..parts).map(move |part| size + usize::from(part < larger))
    }
}

impl<J> Batcher<J> for Even {
    fn batch<'a>(&self, batches: Vec<Vec<Item<'a, J>>>) -> Vec<Vec<Item<'a, J>>> {
        batches
            .into_iter()
            .flat_map(|batch| {
                let sizes = self.sizes(batch.len());
                divide(batch, sizes)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_differ_by_one_at_the_most_and_there_are_as_few_as_can_be() {
        for (jobs, n, sizes) in [
            (21, 10, vec![7, 7, 7]),
            (22, 10, vec![8, 7, 7]),
            (20, 10, vec![10, 10]),
            (10, 10, vec![10]),
            (11, 10, vec![6, 5]),
            (1, 10, vec![1]),
            (3, 1, vec![1, 1, 1]),
            (3, usize::MAX, vec![3]),
            (2, 0, vec![1, 1]),
            (0, 10, vec![0]),
        ] {
            assert_eq!(even(n).sizes(jobs).collect::<Vec<_>>(), sizes, "{jobs} by {n}");
        }
    }
}
