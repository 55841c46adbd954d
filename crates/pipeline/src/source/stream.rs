//! Any stream as a source.

use std::{fmt, marker::PhantomData, pin::Pin, time::Duration};

use futures_util::{FutureExt, Stream, StreamExt};
use serde_json::json;
use tokio::time::timeout;

use super::{Chunk, Identity, More, Range, Reader, Source, SourceError};
use crate::record::Origin;

/// How long a read waits for a record: after that, a run that is to stop can do so.
const WAIT: Duration = Duration::from_millis(250);

/// Records from a stream that is made anew whenever it is read; made by [`from_stream`].
pub struct FromStream<F, I> {
    name: String,
    make: F,
    once: bool,
    stream: PhantomData<fn() -> I>,
}

/// Reads what a stream yields: a channel, a socket, the pages of an API. The closure makes the stream anew for each reader. A stream that
/// waits holds nothing up: what it has yielded goes on its way.
///
/// A run that goes on skips as many records as have settled, so the closure must make the same stream each time; for a stream that
/// exists only once there is [`once`](FromStream::once).
///
/// ```
/// use actix_batch_pipeline::{prelude::*, source::from_stream};
/// use futures_util::stream;
///
/// # actix_rt::System::new().block_on(async {
/// let report = Pipeline::named("numbers")
///     .read(from_stream("numbers", || stream::iter(1..=100_u32)))
///     .write(for_each(|number: &u32| assert!(*number <= 100)))
///     .accept_duplicates(true)
///     .run()
///     .await?;
/// assert_eq!(report.written, 100);
/// # Ok::<(), RunError>(())
/// # }).unwrap();
/// ```
pub fn from_stream<F, I>(name: impl Into<String>, make: F) -> FromStream<F, I>
where
    F: Fn() -> I + Send + Sync + 'static,
    I: Stream,
{
    FromStream { name: name.into(), make, once: false, stream: PhantomData }
}

impl<F, I> FromStream<F, I> {
    /// The stream exists only once: the closure makes what comes from now on. A run that goes on skips nothing, and records that had not
    /// settled are gone. Default: `false`.
    pub fn once(mut self, once: bool) -> Self {
        self.once = once;
        self
    }
}

/// Reads a stream.
pub struct StreamReader<I> {
    stream: Pin<Box<I>>,
    read: u64,
    to: Option<u64>,
}

impl<F, I> Source for FromStream<F, I>
where
    F: Fn() -> I + Send + Sync + 'static,
    I: Stream<Item: Send + Sync + 'static> + 'static,
{
    type Record = I::Item;
    type Cursor = u64;
    type Reader = StreamReader<I>;

    fn describe(&self) -> String {
        format!("stream:{}", self.name)
    }

    fn is_resumable(&self) -> bool {
        !self.once
    }

    async fn identity(&self) -> Result<Identity, SourceError> {
        Ok(json!({ "stream": self.name }))
    }

    async fn open(&self, range: &Range<u64>) -> Result<Self::Reader, SourceError> {
        let read = range.from.unwrap_or(0);
        let mut reader = StreamReader { stream: Box::pin((self.make)()), read, to: range.to };
        for skipped in 0..if self.once { 0 } else { read } {
            if reader.stream.next().await.is_none() {
                return Err(SourceError::changed(format!(
                    "{} has {skipped} records, fewer than the {read} that the checkpoint has settled: start again with `fresh`",
                    self.describe()
                )));
            }
        }
        Ok(reader)
    }
}

impl<I: Stream + 'static> Reader for StreamReader<I> {
    type Record = I::Item;
    type Cursor = u64;

    /// Waits a while for a record, and takes those that are there already.
    async fn read(&mut self, chunk: &mut Chunk<I::Item, u64>, limit: usize) -> Result<More, SourceError> {
        let left = self.to.map_or(limit, |to| usize::try_from(to - self.read).map_or(limit, |left| left.min(limit)));
        let mut more = if left < limit { More::No } else { More::Yes };
        while chunk.len() < left {
            let next = self.stream.next();
            let next = if chunk.is_empty() { timeout(WAIT, next).await.ok() } else { next.now_or_never() };
            match next {
                Some(Some(record)) => chunk.push(record, Origin::Unknown),
                Some(None) => {
                    more = More::No;
                    break;
                }
                None => {
                    more = More::Yes;
                    break;
                }
            }
        }
        let records = chunk.len() as u64;
        self.read += records;
        chunk.add_progress(records);
        chunk.set_after(self.read);
        Ok(more)
    }
}

impl<F, I> fmt::Debug for FromStream<F, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FromStream").field("name", &self.name).finish_non_exhaustive()
    }
}

impl<I> fmt::Debug for StreamReader<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamReader").field("read", &self.read).finish_non_exhaustive()
    }
}
