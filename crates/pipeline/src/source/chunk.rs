//! What is read at once.

use crate::record::{Origin, Position, Record};

/// Whether a reader may have more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum More {
    /// Ask again.
    Yes,
    /// Ask again once more of what was handed over has been acknowledged by [`settled`](super::Reader::settled): until then there is
    /// nothing. What the sinks hold is written at once. Only for readers that [acknowledge](super::Reader::ACKNOWLEDGES).
    OnceSettled,
    /// This was the end of the range.
    No,
}

/// Records that were read at once, and the cursor after them.
///
/// Every source record is [pushed](Self::push) or [refused](Self::refuse), in the order of the source; the chunk numbers them.
#[derive(Debug)]
pub struct Chunk<T, C> {
    pub(crate) records: Vec<Record<T>>,
    pub(crate) unreadable: Vec<Record<Unreadable>>,
    pub(crate) after: Option<C>,
    /// Bytes or rows that reading has passed, for the progress.
    pub(crate) progress: u64,
    range: u32,
    first: u64,
    next: u64,
}

/// A record that the source has, and that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// Why, and what to do.
    pub reason: String,
    /// What stands there, as far as it can be shown: at most 4 KiB of it.
    pub text: Option<String>,
}

impl<T, C> Chunk<T, C> {
    /// An empty chunk whose first record gets this number.
    pub fn new(range: u32, first: u64) -> Self {
        Self { records: Vec::new(), unreadable: Vec::new(), after: None, progress: 0, range, first, next: first }
    }

    /// Adds the next record of the source.
    pub fn push(&mut self, value: T, origin: Origin) {
        let position = self.take_position();
        self.records.push(Record::new(value, position, origin));
    }

    /// The next record of the source cannot be read.
    pub fn refuse(&mut self, unreadable: Unreadable, origin: Origin) {
        let position = self.take_position();
        self.unreadable.push(Record::new(unreadable, position, origin));
    }

    /// Where reading goes on after what the chunk holds.
    pub fn set_after(&mut self, cursor: C) {
        self.after = Some(cursor);
    }

    /// How many bytes of files, or rows of a table, reading has passed since the chunk before.
    pub fn add_progress(&mut self, amount: u64) {
        self.progress += amount;
    }

    /// Source records, readable or not.
    pub fn len(&self) -> usize {
        usize::try_from(self.next - self.first).unwrap_or(usize::MAX)
    }

    /// Whether it holds no source record.
    pub fn is_empty(&self) -> bool {
        self.next == self.first
    }

    /// The records that could be read.
    pub fn records(&self) -> &[Record<T>] {
        &self.records
    }

    /// The records that could not.
    pub fn unreadable(&self) -> &[Record<Unreadable>] {
        &self.unreadable
    }

    /// Where reading goes on after what the chunk holds.
    pub fn after(&self) -> Option<&C> {
        self.after.as_ref()
    }

    /// The number that the next chunk begins with.
    pub fn next_record(&self) -> u64 {
        self.next
    }

    /// An empty chunk that goes on where this one is, for a reader within a reader.
    pub(super) fn part<D>(&self) -> Chunk<T, D> {
        Chunk::new(self.range, self.next)
    }

    /// Says of keys which of several sources they belong to, from 0: two of them may have a row of the same key.
    pub(super) fn name_source(&mut self, number: u32) {
        let records = self.records.iter_mut().map(Record::origin_mut);
        for origin in records.chain(self.unreadable.iter_mut().map(Record::origin_mut)) {
            if let Origin::Key(key) = origin {
                *key = format!("{key} of source {}", number + 1).into();
            }
        }
    }

    /// Takes over what another reader has read into a [part](Self::part) of this empty chunk.
    pub(super) fn fill_from<D>(&mut self, part: Chunk<T, D>, cursor: impl FnOnce(D) -> C) {
        (self.records, self.unreadable, self.next) = (part.records, part.unreadable, part.next);
        self.after = part.after.map(cursor).or(self.after.take());
        self.progress += part.progress;
    }

    fn take_position(&mut self) -> Position {
        let position = Position { record: self.next, part: 0, range: self.range };
        self.next += 1;
        position
    }
}
