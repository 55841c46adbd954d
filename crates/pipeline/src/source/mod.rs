//! Where records come from.

use std::future::Future;

use serde::Serialize;
use serde_json::Value;

mod chunk;
mod concat;
#[cfg(feature = "csv")]
mod csv;
mod cursor;
mod error;
mod files;
mod iterator;
mod json_lines;
#[cfg(feature = "sqlite")]
mod sqlite;
mod stream;

pub use chunk::{Chunk, More, Unreadable};
pub use concat::{Concat, ConcatCursor, ConcatReader, concat};
#[cfg(feature = "csv")]
pub use csv::{Csv, CsvReader};
pub use cursor::{Cursor, Range};
pub use error::{SourceError, SourceErrorKind};
pub use files::{Blocks, LocalBlocks, LocalFile, LocalFiles, TextCursor, TextFiles};
pub use iterator::{FromIter, from_iter};
pub use json_lines::{JsonLines, JsonLinesReader};
#[cfg(feature = "sqlite")]
pub use sqlite::{SqliteKey, SqliteReader, SqliteTable};
pub use stream::{FromStream, StreamReader, from_stream};

/// The description of a data set that can be read: a file, a table, a topic.
///
/// A source is usually serde data: it opens nothing until the pipeline runs, and each [`open`](Self::open) gives a reader of its own.
pub trait Source: Send + Sync + 'static {
    /// What it yields.
    type Record: Send + Sync + 'static;
    /// Where its readers can go on.
    type Cursor: Cursor;
    /// What reads it.
    type Reader: Reader<Record = Self::Record, Cursor = Self::Cursor>;

    /// What it reads, for people and for the plan's fingerprint: `csv:flights.csv`.
    fn describe(&self) -> String;

    /// Whether a reader can go on after a cursor. A stream that only exists once cannot.
    fn is_resumable(&self) -> bool {
        true
    }

    /// What makes a cursor valid: hashes of the heads of files, a header, the columns of a key. It is stored in every checkpoint.
    ///
    /// # Errors
    ///
    /// If the source cannot be read, or is configured wrongly: this is asked before anything else, so it is where a missing file or
    /// column is found.
    fn identity(&self) -> impl Future<Output = Result<Identity, SourceError>>;

    /// Checks that this is still the source that a checkpoint was made for. By default the identities must be equal.
    ///
    /// # Errors
    ///
    /// [`SourceError::changed`], which names what differs.
    fn verify(&self, checkpoint: &Identity) -> impl Future<Output = Result<(), SourceError>> {
        async move {
            let now = self.identity().await?;
            if now == *checkpoint {
                return Ok(());
            }
            Err(SourceError::changed(format!("{} was {checkpoint} and is now {now}", self.describe())))
        }
    }

    /// Cuts what lies after `from` into at most `at_most` ranges of about the same size, in the order of the source. Each begins with the cursor
    /// that the one before it ends with, and the last one has no end. By default there is one range.
    ///
    /// # Errors
    ///
    /// If the source cannot be read.
    fn split(
        &self,
        from: Option<Self::Cursor>,
        _at_most: usize,
    ) -> impl Future<Output = Result<Vec<Range<Self::Cursor>>, SourceError>> {
        async move { Ok(vec![Range { from, to: None }]) }
    }

    /// The first `at_most` of the `ranges` into which [`split`](Self::split) would cut what lies after `from`: a runner on other machines
    /// plans a few of very many. By default all of them are cut.
    ///
    /// # Errors
    ///
    /// If the source cannot be read.
    fn split_first(
        &self,
        from: Option<Self::Cursor>,
        ranges: usize,
        at_most: usize,
    ) -> impl Future<Output = Result<Vec<Range<Self::Cursor>>, SourceError>> {
        async move {
            let mut all = self.split(from, ranges).await?;
            all.truncate(at_most);
            Ok(all)
        }
    }

    /// Opens a range. Reading goes on after `range.from`.
    ///
    /// # Errors
    ///
    /// If the source cannot be read, or the cursor does not belong to it.
    fn open(&self, range: &Range<Self::Cursor>) -> impl Future<Output = Result<Self::Reader, SourceError>>;

    /// How much there is to read, if that is known: bytes for files, rows for tables.
    fn size(&self) -> impl Future<Output = Option<Size>> {
        async { None }
    }

    /// A run has ended, however it did: what the source holds for all readers of a run, such as a snapshot, is given back here. By default it
    /// holds nothing.
    fn release(&self) -> impl Future<Output = ()> {
        async {}
    }
}

/// Reads a range of a source, chunk by chunk.
pub trait Reader: 'static {
    /// What it yields.
    type Record;
    /// Where it can go on.
    type Cursor;
    /// Whether it waits for [`settled`](Self::settled). The run then saves the checkpoint whenever there is something to acknowledge.
    const ACKNOWLEDGES: bool = false;

    /// Fills an empty chunk with up to `limit` records, and sets its cursor to where reading goes on after them.
    ///
    /// A record that cannot be read is [`refused`](Chunk::refuse) and does not stop the others. A reader that waits for new data
    /// returns what it has, also nothing, after a while: an empty chunk and [`More::Yes`] say that there is nothing for now. A broker
    /// that gives no more before it has been answered says [`More::OnceSettled`].
    ///
    /// # Errors
    ///
    /// If the source fails. The run ends with this error, and can go on from its checkpoint.
    fn read(
        &mut self,
        chunk: &mut Chunk<Self::Record, Self::Cursor>,
        limit: usize,
    ) -> impl Future<Output = Result<More, SourceError>>;

    /// Everything up to this cursor has settled, and the checkpoint says so: a broker acknowledges here.
    ///
    /// # Errors
    ///
    /// If the source fails.
    fn settled(&mut self, _up_to: &Self::Cursor) -> impl Future<Output = Result<(), SourceError>> {
        async { Ok(()) }
    }

    /// Called once, after the last record has settled.
    ///
    /// # Errors
    ///
    /// If the source fails.
    fn close(self) -> impl Future<Output = Result<(), SourceError>>
    where
        Self: Sized,
    {
        async { Ok(()) }
    }
}

/// How much there is to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub enum Size {
    /// Bytes of files, as they are stored.
    Bytes(u64),
    /// Records.
    Records(u64),
}

/// What makes a cursor valid, as JSON that people can read.
pub type Identity = Value;
