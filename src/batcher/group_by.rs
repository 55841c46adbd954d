//! A batch for each key.

use std::{collections::HashMap, fmt, hash::Hash};

use super::{Batcher, Item};

/// Parts each batch into one for each key, in the order in which the keys first appear; within it the order stays.
///
/// The key is an owned value; [`group_by_ref`] borrows it.
///
/// ```
/// use actix_batch::batcher::{Batchers, group_by};
///
/// let by_length = Batchers::new().batcher(group_by(|word: &&str| word.len()));
/// assert_eq!(by_length.arrange(vec!["on", "a", "of", "I"]), [["on", "of"], ["a", "I"]]);
/// ```
pub fn group_by<J, K: Eq + Hash, F: Fn(&J) -> K>(key: F) -> GroupBy<F> {
    GroupBy { key }
}

/// As [`group_by`], by a key that is part of the job.
///
/// ```
/// use actix_batch::batcher::{Batchers, group_by_ref};
///
/// struct Row {
///     table: String,
///     id: u32,
/// }
///
/// let by_table = Batchers::new().batcher(group_by_ref(|row: &Row| row.table.as_str()));
/// let rows = [("users", 1), ("orders", 2), ("users", 3)].map(|(table, id)| Row { table: table.to_owned(), id });
/// let ids: Vec<Vec<_>> =
///     by_table.arrange(rows.into()).iter().map(|batch| batch.iter().map(|row| row.id).collect()).collect();
/// assert_eq!(ids, [vec![1, 3], vec![2]]);
/// ```
pub fn group_by_ref<J, K: Eq + Hash + ?Sized, F: Fn(&J) -> &K>(key: F) -> GroupByRef<F> {
    GroupByRef { key }
}

/// Parts batches by an owned key; made by [`group_by`].
#[derive(Clone, Copy)]
pub struct GroupBy<F> {
    key: F,
}

/// Parts batches by a borrowed key; made by [`group_by_ref`].
#[derive(Clone, Copy)]
pub struct GroupByRef<F> {
    key: F,
}

impl<J, K: Eq + Hash, F: Fn(&J) -> K> Batcher<J> for GroupBy<F> {
    fn batch<'a>(&self, batches: Vec<Vec<Item<'a, J>>>) -> Vec<Vec<Item<'a, J>>> {
        batches.into_iter().flat_map(|batch| grouped(batch, |job| (self.key)(job))).collect()
    }
}

impl<J, K: Eq + Hash + ?Sized, F: Fn(&J) -> &K> Batcher<J> for GroupByRef<F> {
    fn batch<'a>(&self, batches: Vec<Vec<Item<'a, J>>>) -> Vec<Vec<Item<'a, J>>> {
        batches.into_iter().flat_map(|batch| grouped(batch, |job| (self.key)(job))).collect()
    }
}

fn grouped<'a, J, K: Eq + Hash>(batch: Vec<Item<'a, J>>, key: impl Fn(&'a J) -> K) -> Vec<Vec<Item<'a, J>>> {
    let mut places = HashMap::new();
    let mut groups = Vec::new();
    for item in batch {
        let place = *places.entry(key(item.job)).or_insert(groups.len());
        if place == groups.len() {
            groups.push(Vec::new());
        }
        groups[place].push(item);
    }
    groups
}

impl<F> fmt::Debug for GroupBy<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GroupBy")
    }
}

impl<F> fmt::Debug for GroupByRef<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GroupByRef")
    }
}

#[cfg(test)]
mod tests {
    use crate::batcher::Batchers;

    #[test]
    fn groups_come_in_the_order_in_which_their_keys_first_appear() {
        let batchers = Batchers::<(u8, &str)>::new().group_by_ref(|job| job.1);
        let groups = batchers.arrange(vec![(1, "b"), (2, "a"), (3, "b"), (4, "c"), (5, "a")]);
        assert_eq!(groups, [vec![(1, "b"), (3, "b")], vec![(2, "a"), (5, "a")], vec![(4, "c")]]);
    }

    #[test]
    fn groups_of_groups_are_groups_of_both_keys() {
        let batchers = Batchers::<u32>::new().group_by(|n| n % 2).group_by(|n| n / 10);
        assert_eq!(batchers.arrange(vec![1, 12, 11, 2, 3]), [vec![1, 3], vec![11], vec![12], vec![2]]);
    }
}
