//! Any iterator as a source.

use std::{fmt, marker::PhantomData};

use serde_json::json;

use super::{Chunk, Identity, More, Range, Reader, Size, Source, SourceError};
use crate::record::Origin;

/// Records from an iterator that is made anew whenever it is read; made by [`from_iter`].
pub struct FromIter<F, I> {
    name: String,
    make: F,
    items: PhantomData<fn() -> I>,
}

/// Reads what an iterator yields. The closure makes the iterator anew for each reader, and must make the same one each time: a run
/// that goes on skips the records that have settled.
///
/// ```
/// use actix_batch_pipeline::{prelude::*, source::from_iter};
///
/// # actix_rt::System::new().block_on(async {
/// let report = Pipeline::named("numbers")
///     .read(from_iter("numbers", || 1..=100_u32))
///     .write(for_each(|number: &u32| assert!(*number <= 100)))
///     .accept_duplicates(true)
///     .run()
///     .await?;
/// assert_eq!(report.written, 100);
/// # Ok::<(), RunError>(())
/// # }).unwrap();
/// ```
pub fn from_iter<F, I>(name: impl Into<String>, make: F) -> FromIter<F, I::IntoIter>
where
    F: Fn() -> I + Send + Sync + 'static,
    I: IntoIterator,
{
    FromIter { name: name.into(), make, items: PhantomData }
}

/// Reads an iterator.
#[derive(Debug)]
pub struct IterReader<I> {
    items: I,
    read: u64,
    to: Option<u64>,
}

impl<F, I, T> Source for FromIter<F, I::IntoIter>
where
    F: Fn() -> I + Send + Sync + 'static,
    I: IntoIterator<Item = T, IntoIter: 'static>,
    T: Send + Sync + 'static,
{
    type Record = T;
    type Cursor = u64;
    type Reader = IterReader<I::IntoIter>;

    fn describe(&self) -> String {
        format!("iterator:{}", self.name)
    }

    async fn identity(&self) -> Result<Identity, SourceError> {
        Ok(json!({ "iterator": self.name }))
    }

    async fn open(&self, range: &Range<u64>) -> Result<Self::Reader, SourceError> {
        let read = range.from.unwrap_or(0);
        let mut items = (self.make)().into_iter();
        if let Some(last) = read.checked_sub(1)
            && usize::try_from(last).ok().and_then(|last| items.nth(last)).is_none()
        {
            return Err(SourceError::changed(format!(
                "{} has fewer than the {read} records that the checkpoint has settled: start again with `fresh`",
                self.describe()
            )));
        }
        Ok(IterReader { items, read, to: range.to })
    }

    async fn size(&self) -> Option<Size> {
        let (least, most) = (self.make)().into_iter().size_hint();
        (most == Some(least)).then_some(Size::Records(least as u64))
    }
}

impl<I: Iterator + 'static> Reader for IterReader<I> {
    type Record = I::Item;
    type Cursor = u64;

    async fn read(&mut self, chunk: &mut Chunk<I::Item, u64>, limit: usize) -> Result<More, SourceError> {
        let left = self.to.map_or(limit, |to| usize::try_from(to - self.read).map_or(limit, |left| left.min(limit)));
        for item in self.items.by_ref().take(left) {
            chunk.push(item, Origin::Unknown);
        }
        let records = chunk.len();
        self.read += records as u64;
        chunk.add_progress(records as u64);
        chunk.set_after(self.read);
        Ok(if records == limit { More::Yes } else { More::No })
    }
}

impl<F, I> fmt::Debug for FromIter<F, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FromIter").field("name", &self.name).finish_non_exhaustive()
    }
}
