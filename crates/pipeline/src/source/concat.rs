//! Several sources of one kind, one after the other.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Chunk, Cursor, Identity, More, Range, Reader, Size, Source, SourceError};

/// Sources that are read one after the other; made by [`concat()`].
#[derive(Debug)]
pub struct Concat<S>(Arc<[S]>);

/// Many sources into one sink: they are read in this order, as one. A run that goes on knows which of them it was in.
///
/// Files of one kind do not need it: [`JsonLines::glob`](super::JsonLines::glob) and its like read many.
///
/// ```
/// use actix_batch_pipeline::{prelude::*, source::{concat, from_iter}};
///
/// # actix_rt::System::new().block_on(async {
/// let regions = [("north", 0..3_u32), ("south", 10..12)].map(|(name, ids)| from_iter(name, move || ids.clone()));
/// let report = Pipeline::named("regions")
///     .read(concat(regions))
///     .write(for_each(|id: &u32| println!("{id}")))
///     .accept_duplicates(true)
///     .run()
///     .await?;
/// assert_eq!(report.written, 5);
/// # Ok::<(), RunError>(())
/// # }).unwrap();
/// ```
pub fn concat<S: Source>(sources: impl IntoIterator<Item = S>) -> Concat<S> {
    Concat(sources.into_iter().collect())
}

/// Where reading goes on in one of several sources.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConcatCursor<C> {
    /// The number of the source, from 0.
    pub source: u32,
    /// Where to go on in it; `None` is its beginning, where the source before it ends.
    pub cursor: Option<C>,
}

impl<C: Cursor> Cursor for ConcatCursor<C> {
    const VERSION: u32 = C::VERSION;

    fn migrate(version: u32, stored: Value) -> Result<Self, SourceError> {
        let wrong = |error| SourceError::changed(format!("the checkpoint's cursor does not fit this source: {error}"));
        let stored: ConcatCursor<Value> = serde_json::from_value(stored).map_err(wrong)?;
        let cursor = stored.cursor.map(|cursor| C::migrate(version, cursor)).transpose()?;
        Ok(Self { source: stored.source, cursor })
    }
}

/// Reads several sources, one after the other.
pub struct ConcatReader<S: Source> {
    sources: Arc<[S]>,
    current: S::Reader,
    number: u32,
    to: Option<ConcatCursor<S::Cursor>>,
}

impl<S: Source> Concat<S> {
    fn source(&self, number: u32) -> Result<&S, SourceError> {
        let source = self.0.get(number as usize);
        source.ok_or_else(|| SourceError::changed(format!("there is no source {number}: there are {}", self.0.len())))
    }

    /// The range of one source within a range of all.
    fn range(number: u32, all: &Range<ConcatCursor<S::Cursor>>) -> Range<S::Cursor> {
        let within = |end: &Option<ConcatCursor<S::Cursor>>| {
            end.as_ref().filter(|end| end.source == number).and_then(|end| end.cursor.clone())
        };
        Range { from: within(&all.from), to: within(&all.to) }
    }

    /// The ranges of one source as ranges of all of them.
    async fn split_one(
        &self,
        number: u32,
        from: Option<S::Cursor>,
        at_most: usize,
    ) -> Result<Vec<Range<ConcatCursor<S::Cursor>>>, SourceError> {
        let ranges = self.source(number)?.split(from, at_most).await?;
        let of = |cursor| ConcatCursor { source: number, cursor };
        Ok(ranges.into_iter().map(|range| Range { from: Some(of(range.from)), to: Some(of(range.to)) }).collect())
    }
}

impl<S: Source> Source for Concat<S> {
    type Record = S::Record;
    type Cursor = ConcatCursor<S::Cursor>;
    type Reader = ConcatReader<S>;

    fn describe(&self) -> String {
        // More sources may follow in a later run, which has the same plan.
        self.0.first().map(|first| format!("{} + …", first.describe())).unwrap_or_default()
    }

    fn is_resumable(&self) -> bool {
        self.0.iter().all(Source::is_resumable)
    }

    async fn identity(&self) -> Result<Identity, SourceError> {
        if self.0.is_empty() {
            return Err(SourceError::config("`concat` was given no source"));
        }
        if S::Reader::ACKNOWLEDGES && self.0.len() > 1 {
            let what = "a source that acknowledges has no end, so none can come after it: run a pipeline for each";
            return Err(SourceError::config(format!("{}: {what}", self.describe())));
        }
        let mut identities = Vec::new();
        for source in self.0.iter() {
            identities.push(source.identity().await?);
        }
        Ok(Identity::Array(identities))
    }

    /// Other sources may have come after those of the checkpoint.
    async fn verify(&self, checkpoint: &Identity) -> Result<(), SourceError> {
        let known = checkpoint.as_array().filter(|known| known.len() <= self.0.len());
        let known = known.ok_or_else(|| SourceError::changed("the checkpoint was made for other sources"))?;
        for (source, known) in self.0.iter().zip(known) {
            source.verify(known).await?;
        }
        Ok(())
    }

    /// Each source has an equal share of the ranges, and one at least.
    async fn split(&self, from: Option<Self::Cursor>, at_most: usize) -> Result<Vec<Range<Self::Cursor>>, SourceError> {
        let begin = from.as_ref().map_or(0, |from| from.source);
        let left = self.0.len().saturating_sub(begin as usize);
        if at_most < left || left == 0 {
            return Ok(vec![Range { from, to: None }]);
        }
        let mut ranges: Vec<Range<Self::Cursor>> = Vec::new();
        for number in begin..begin + u32::try_from(left).unwrap_or(u32::MAX) {
            let from = from.as_ref().filter(|from| from.source == number).and_then(|from| from.cursor.clone());
            if let Some(before) = ranges.last_mut() {
                // A range begins where the one before it ends, also from one source to the next.
                before.to = Some(ConcatCursor { source: number, cursor: None });
            }
            ranges.extend(self.split_one(number, from, at_most / left).await?);
        }
        // What comes after the last source, and what it grows by, belongs to the last range.
        if let Some(last) = ranges.last_mut() {
            last.to = None;
        }
        Ok(ranges)
    }

    async fn open(&self, range: &Range<Self::Cursor>) -> Result<Self::Reader, SourceError> {
        let number = range.from.as_ref().map_or(0, |from| from.source);
        let current = self.source(number)?.open(&Self::range(number, range)).await?;
        Ok(ConcatReader { sources: Arc::clone(&self.0), current, number, to: range.to.clone() })
    }

    async fn release(&self) {
        for source in self.0.iter() {
            source.release().await;
        }
    }

    async fn size(&self) -> Option<Size> {
        let mut all = None;
        for source in self.0.iter() {
            all = match (all, source.size().await?) {
                (None, size) => Some(size),
                (Some(Size::Bytes(all)), Size::Bytes(more)) => Some(Size::Bytes(all + more)),
                (Some(Size::Records(all)), Size::Records(more)) => Some(Size::Records(all + more)),
                _ => return None,
            };
        }
        all
    }
}

impl<S: Source> ConcatReader<S> {
    /// Opens the next source, if it belongs to the range.
    async fn open_next(&mut self) -> Result<bool, SourceError> {
        let next = self.number + 1;
        let begins_within = |to: &ConcatCursor<_>| next < to.source || (next == to.source && to.cursor.is_some());
        let is_within = self.to.as_ref().is_none_or(begins_within) && (next as usize) < self.sources.len();
        if is_within {
            let range = Range { from: None, to: self.to.clone() };
            let current = self.sources[next as usize].open(&Concat::<S>::range(next, &range)).await?;
            std::mem::replace(&mut self.current, current).close().await?;
            self.number = next;
        }
        Ok(is_within)
    }
}

impl<S: Source> Reader for ConcatReader<S> {
    type Record = S::Record;
    type Cursor = ConcatCursor<S::Cursor>;

    const ACKNOWLEDGES: bool = S::Reader::ACKNOWLEDGES;

    async fn read(&mut self, chunk: &mut Chunk<S::Record, Self::Cursor>, limit: usize) -> Result<More, SourceError> {
        loop {
            let mut part = chunk.part();
            let more = self.current.read(&mut part, limit).await?;
            let source = self.number;
            part.name_source(source);
            chunk.fill_from(part, |cursor| ConcatCursor { source, cursor: Some(cursor) });
            if more != More::No || !self.open_next().await? {
                return Ok(more);
            }
            // An empty chunk would say that there is nothing for now.
            if !chunk.is_empty() {
                return Ok(More::Yes);
            }
        }
    }

    async fn settled(&mut self, up_to: &Self::Cursor) -> Result<(), SourceError> {
        match &up_to.cursor {
            Some(cursor) if up_to.source == self.number => self.current.settled(cursor).await,
            _ => Ok(()),
        }
    }

    async fn close(self) -> Result<(), SourceError> {
        self.current.close().await
    }
}

impl<S> Clone for Concat<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S: Source> std::fmt::Debug for ConcatReader<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConcatReader").field("source", &self.number).finish_non_exhaustive()
    }
}
