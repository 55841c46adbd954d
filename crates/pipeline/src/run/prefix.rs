//! How far a range has settled: told what was sent and what settled, it says up to where nothing is open.
//!
//! The prefix never passes an open record, and always ends where a chunk does.

use std::collections::VecDeque;

/// The settled prefix of a range.
#[derive(Debug)]
pub(crate) struct Prefix<C> {
    chunks: VecDeque<Sent<C>>,
}

/// A chunk whose records have been sent.
#[derive(Debug)]
struct Sent<C> {
    end: Mark<C>,
    /// Records without a reply.
    open: usize,
}

/// Where a chunk ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mark<C> {
    /// The number of the next source record.
    pub(crate) record: u64,
    /// Where to go on.
    pub(crate) cursor: Option<C>,
}

impl<C> Prefix<C> {
    pub(crate) fn new() -> Self {
        Self { chunks: VecDeque::new() }
    }

    /// A chunk was sent, and this many of its records wait for a reply.
    pub(crate) fn sent(&mut self, end: Mark<C>, open: usize) {
        self.chunks.push_back(Sent { end, open });
    }

    /// The first open record has settled.
    pub(crate) fn settle_first(&mut self) {
        if let Some(chunk) = self.chunks.iter_mut().find(|chunk| chunk.open > 0) {
            chunk.open -= 1;
        }
    }

    /// Where the prefix ends now, if it has moved.
    pub(crate) fn advance(&mut self) -> Option<Mark<C>> {
        let mut end = None;
        while self.chunks.front().is_some_and(|chunk| chunk.open == 0) {
            let before = end.take().and_then(|end: Mark<C>| end.cursor);
            // A chunk without a cursor ends where the one before it did.
            end = self.chunks.pop_front().map(|chunk| Mark { cursor: chunk.end.cursor.or(before), ..chunk.end });
        }
        end
    }

    /// Whether everything that was sent has settled.
    pub(crate) fn is_settled(&self) -> bool {
        self.chunks.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Mark, Prefix};

    fn mark(record: u64) -> Mark<u64> {
        Mark { record, cursor: Some(record) }
    }

    #[test]
    fn a_chunk_without_open_records_settles_only_after_those_before_it() {
        let mut prefix = Prefix::new();
        prefix.sent(mark(2), 1);
        prefix.sent(mark(4), 0);
        assert_eq!(prefix.advance(), None);
        prefix.settle_first();
        assert_eq!(prefix.advance(), Some(mark(4)));
        assert!(prefix.is_settled());
    }

    #[test]
    fn a_chunk_without_a_cursor_leaves_the_one_before_it() {
        let mut prefix = Prefix::new();
        prefix.sent(mark(2), 0);
        prefix.sent(Mark { record: 2, cursor: None }, 0);
        assert_eq!(prefix.advance(), Some(mark(2)));
    }

    proptest! {
        #[test]
        fn the_prefix_never_passes_an_open_record(sizes in prop::collection::vec(0_usize..5, 1..20), settle in 0_usize..80) {
            let mut prefix = Prefix::new();
            let mut end = 0;
            let mut expected = None;
            for &size in &sizes {
                end += size as u64;
                prefix.sent(mark(end), size);
                if end <= settle as u64 {
                    expected = Some(mark(end));
                }
            }
            (0..settle.min(usize::try_from(end).unwrap())).for_each(|_| prefix.settle_first());
            prop_assert_eq!(prefix.advance(), expected);
        }
    }
}
