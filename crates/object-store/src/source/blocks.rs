//! Reads an object by ranges, some blocks ahead.
//!
//! What holds here:
//! - No range begins at or beyond the object's end.
//! - Every answer is of the object that was listed: its `ETag` and its size are compared, whatever was asked.
//! - Bytes that were asked for and not read yet are at most two blocks. A block is asked for once there is room for all of it, so that an
//!   answer never waits for a slow sink.

use std::{fmt, ops::Range, sync::Arc, time::Duration};

use actix_batch_pipeline::source::{Blocks, SourceError, SourceErrorKind};
use bytes::Bytes;
use futures_util::TryStreamExt;
use object_store::{Error, GetOptions, GetRange, GetResult, ObjectStoreExt};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task::JoinHandle,
    time::sleep,
};

use super::{ObjectFile, Seen};

/// As much as is handed on at once.
const PIECE: usize = 64 * 1024;
/// The first block of an object, which may hold all that is wanted: a header.
const FIRST: u32 = 256 * 1024;
/// How often an answer may break off without a byte before that is an error.
const ATTEMPTS: u32 = 4;
/// How long to wait after the first such answer.
const PAUSE: Duration = Duration::from_millis(100);

/// The bytes of an object, from some byte on.
pub struct ObjectBlocks {
    file: ObjectFile,
    fetching: Fetching,
    piece: Bytes,
    /// Room that is given back with the piece.
    room: Option<OwnedSemaphorePermit>,
}

type Fetched = Result<(Bytes, OwnedSemaphorePermit), SourceError>;

enum Fetching {
    /// No byte has been asked for yet.
    Idle {
        byte: u64,
        block: u32,
    },
    Running {
        blocks: mpsc::UnboundedReceiver<Fetched>,
        task: JoinHandle<()>,
    },
}

impl ObjectBlocks {
    pub(super) fn open(file: ObjectFile, byte: u64, block: u32) -> Self {
        Self { file, fetching: Fetching::Idle { byte, block }, piece: Bytes::new(), room: None }
    }

    async fn next(&mut self) -> Option<Fetched> {
        if let Fetching::Idle { byte, block } = self.fetching {
            let (send, blocks) = mpsc::unbounded_channel();
            let fetch = Fetch { file: self.file.clone(), at: byte, block, has_ranges: true, send, room: room(block) };
            self.fetching = Fetching::Running { blocks, task: tokio::spawn(fetch.run()) };
        }
        match &mut self.fetching {
            Fetching::Running { blocks, .. } => blocks.recv().await,
            Fetching::Idle { .. } => None,
        }
    }
}

fn room(block: u32) -> Arc<Semaphore> {
    Arc::new(Semaphore::new((block as usize).saturating_mul(2).min(u32::MAX as usize)))
}

impl Blocks for ObjectBlocks {
    async fn read(&mut self, into: &mut Vec<u8>) -> Result<(), SourceError> {
        while self.piece.is_empty() {
            self.room = None;
            match self.next().await {
                None => return Ok(()),
                Some(fetched) => {
                    let (piece, room) = fetched?;
                    (self.piece, self.room) = (piece, Some(room));
                }
            }
        }
        let piece = self.piece.split_to(self.piece.len().min(PIECE));
        into.extend_from_slice(&piece);
        Ok(())
    }
}

impl Drop for ObjectBlocks {
    fn drop(&mut self) {
        if let Fetching::Running { task, .. } = &self.fetching {
            task.abort();
        }
    }
}

/// What runs beside the reader.
struct Fetch {
    file: ObjectFile,
    /// The byte that comes next.
    at: u64,
    block: u32,
    /// As far as is known.
    has_ranges: bool,
    send: mpsc::UnboundedSender<Fetched>,
    room: Arc<Semaphore>,
}

/// Why a block did not come to its end.
enum Broken {
    /// It may be better the next time.
    Off(SourceError),
    /// It will not.
    For(SourceError),
    /// The reader is gone.
    Unread,
}

impl Fetch {
    async fn run(mut self) {
        let (mut failures, mut block) = (0, self.block.min(FIRST));
        while self.at < self.file.seen.bytes {
            let before = self.at;
            let end = self.file.seen.bytes.min(before + u64::from(block));
            let error = match self.fetch(before..end).await {
                Ok(()) => {
                    (failures, block) = (0, self.block);
                    continue;
                }
                Err(Broken::Unread) => return,
                Err(Broken::For(error)) => return drop(self.send.send(Err(error))),
                Err(Broken::Off(error)) => error,
            };
            failures = if self.at > before { 1 } else { failures + 1 };
            if failures >= ATTEMPTS {
                return drop(self.send.send(Err(error)));
            }
            tracing::warn!(byte = self.at, "an object is asked for again: {error}");
            sleep(PAUSE * failures).await;
        }
    }

    /// Fetches a range, or as much of it as comes.
    async fn fetch(&mut self, range: Range<u64>) -> Result<(), Broken> {
        let is_all = range.start == 0 && range.end == self.file.seen.bytes;
        if !self.has_ranges || is_all {
            return self.fetch_all().await;
        }
        let length = u32::try_from(range.end - range.start).unwrap_or(u32::MAX);
        let Ok(mut room) = Arc::clone(&self.room).acquire_many_owned(length).await else { return Err(Broken::Unread) };
        let options = GetOptions { range: Some(GetRange::Bounded(range.clone())), ..GetOptions::default() };
        let answer = match self.file.store.objects.get_opts(&self.file.seen.key(), options).await {
            Ok(answer) => answer,
            // The server has sent everything instead.
            Err(Error::NotSupported { .. }) => {
                self.has_ranges = false;
                drop(room);
                return self.fetch_all().await;
            }
            // It has been tried again already.
            Err(error) => return Err(Broken::For(self.failed(&error).await)),
        };
        self.check(&answer)?;
        let mut pieces = answer.into_stream();
        while let Some(piece) = self.next(&mut pieces).await? {
            let held = room.split(piece.len()).ok_or_else(|| self.too_long())?;
            self.hand_on(piece, held)?;
        }
        if self.at < range.end { Err(self.cut_off()) } else { Ok(()) }
    }

    /// Fetches the whole object, and passes what was read before.
    async fn fetch_all(&mut self) -> Result<(), Broken> {
        let answer = match self.file.store.objects.get_opts(&self.file.seen.key(), GetOptions::default()).await {
            Ok(answer) => answer,
            // It has been tried again already.
            Err(error) => return Err(Broken::For(self.failed(&error).await)),
        };
        self.check(&answer)?;
        let (mut passed, mut pieces) = (0_u64, answer.into_stream());
        while let Some(mut piece) = self.next(&mut pieces).await? {
            let known = usize::try_from(self.at.saturating_sub(passed)).unwrap_or(usize::MAX).min(piece.len());
            passed += piece.len() as u64;
            let mut piece = piece.split_off(known);
            while !piece.is_empty() {
                let part = piece.split_to(piece.len().min(PIECE).min(self.block as usize));
                let length = u32::try_from(part.len()).unwrap_or(u32::MAX);
                let Ok(room) = Arc::clone(&self.room).acquire_many_owned(length).await else {
                    return Err(Broken::Unread);
                };
                self.hand_on(part, room)?;
            }
        }
        if self.at < self.file.seen.bytes { Err(self.cut_off()) } else { Ok(()) }
    }

    async fn next(
        &self,
        pieces: &mut (impl TryStreamExt<Ok = Bytes, Error = Error> + Unpin),
    ) -> Result<Option<Bytes>, Broken> {
        match pieces.try_next().await {
            Ok(piece) => Ok(piece),
            Err(error) => Err(match self.failed(&error).await {
                error if error.kind() == SourceErrorKind::Io => Broken::Off(error),
                error => Broken::For(error),
            }),
        }
    }

    fn hand_on(&mut self, piece: Bytes, room: OwnedSemaphorePermit) -> Result<(), Broken> {
        self.at += piece.len() as u64;
        if self.at > self.file.seen.bytes {
            return Err(self.too_long());
        }
        self.send.send(Ok((piece, room))).map_err(|_| Broken::Unread)
    }

    /// Whether an answer is of the object that was listed. Not every server looks at `If-Match`, so the answer itself is looked at.
    fn check(&self, answer: &GetResult) -> Result<(), Broken> {
        let now = Seen::from(answer.meta.clone());
        self.file.seen.compare(&self.file.store, &now).map_err(Broken::For)
    }

    /// An error may be the first sign of an object that has changed, or is gone.
    async fn failed(&self, error: &Error) -> SourceError {
        let key = self.file.seen.key();
        match self.file.store.objects.head(&key).await.map(Seen::from) {
            Ok(now) => match self.file.seen.compare(&self.file.store, &now) {
                Err(changed) => changed,
                Ok(()) => self.file.store.failed("cannot read", &key, error).into(),
            },
            Err(Error::NotFound { .. }) => super::seen::changed(&format!("{} is gone", self.file)),
            Err(_) => self.file.store.failed("cannot read", &key, error).into(),
        }
    }

    fn cut_off(&self) -> Broken {
        Broken::Off(SourceError::io(format!("the answer for {} broke off before byte {}", self.file, self.at)))
    }

    fn too_long(&self) -> Broken {
        Broken::For(SourceError::io(format!("the server has sent more of {} than was asked for", self.file)))
    }
}

impl fmt::Debug for ObjectBlocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObjectBlocks").field("file", &self.file).finish_non_exhaustive()
    }
}
