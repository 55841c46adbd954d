//! What travels through a pipeline: a value, where it stands in its source, and where a person finds it.

use std::{
    fmt,
    ops::{Deref, DerefMut},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use crate::file_name::FileName;

/// One value on its way from a source to a sink.
///
/// It derefs to its value, and knows its [`Position`] and its [`Origin`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record<T> {
    value: T,
    position: Position,
    origin: Origin,
    /// Counts the records that are sent to a sink, with a gap where one was rejected: see [`sequence`](Self::sequence).
    sequence: u64,
}

/// Where a record comes from, for the bookkeeping: which source record of its range it is, or which part of one.
///
/// Positions are those of the *source*, so a filter that decides differently in a later run moves none of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Position {
    /// The number of the source record within its range, from 0.
    pub record: u64,
    /// Which of the records that a stage made of it, from 0.
    pub part: u32,
    /// The range that it belongs to.
    pub range: u32,
}

/// Where a person finds a record.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Origin {
    /// The source cannot say more than the record's number.
    #[default]
    Unknown,
    /// A place in a file.
    File {
        /// The file.
        file: FileName,
        /// The line on which the record begins, from 1.
        line: u64,
        /// The byte at which it begins, from 0. In a compressed file: of the decompressed text.
        byte: u64,
    },
    /// A row, a document or a message, by its key.
    Key(Arc<str>),
}

impl<T> Record<T> {
    /// A record at this position. Sources use [`Chunk::push`](crate::source::Chunk::push), which numbers its records itself.
    pub fn new(value: T, position: Position, origin: Origin) -> Self {
        Self { value, position, origin, sequence: 0 }
    }

    /// Where it stands in its source.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Where a person finds it.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The value alone.
    pub fn into_value(self) -> T {
        self.value
    }

    /// Another value in its place.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Record<U> {
        Record { value: f(self.value), position: self.position, origin: self.origin, sequence: self.sequence }
    }

    /// The value, and the record without it.
    pub fn take(self) -> (T, Record<()>) {
        (self.value, Record { value: (), position: self.position, origin: self.origin, sequence: self.sequence })
    }

    /// Its place among the records of its range that were sent to this sink. If this is one more than another record's, nothing but
    /// filtered records lies between the two, so they may stand in one [`Interval`](crate::checkpoint::Interval).
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Gives it this sequence number. The run does so when it sends the record; the test of a sink may too.
    pub fn set_sequence(&mut self, sequence: u64) {
        self.sequence = sequence;
    }

    pub(crate) fn origin_mut(&mut self) -> &mut Origin {
        &mut self.origin
    }

    pub(crate) fn set_part(&mut self, part: u32) {
        self.position.part = part;
    }
}

impl<T> Deref for Record<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for Record<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("(unknown)"),
            Self::File { file, line, byte } => write!(f, "{file}, line {line}, byte {byte}"),
            Self::Key(key) => write!(f, "key {key}"),
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "record {} of range {}", self.record, self.range)?;
        if self.part > 0 { write!(f, ", part {}", self.part) } else { Ok(()) }
    }
}
