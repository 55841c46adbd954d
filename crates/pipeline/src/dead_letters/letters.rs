//! The dead letters of one run: counted, logged, and sent to where they are kept.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;
use tokio::task::spawn_blocking;
use tracing::warn;

use super::{DeadRecord, file::LetterFile, queue::DeadLetterQueue};
use crate::{record::Position, rejection::Rejection};

/// Rejections that are logged; more are only counted.
const LOGGED: u64 = 20;

/// The dead letters of one run.
#[derive(Debug)]
pub(crate) struct Letters {
    pipeline: String,
    file: Option<Mutex<LetterFile>>,
    /// For a sink that keeps them beside its rows.
    queue: Option<Arc<DeadLetterQueue>>,
    written: AtomicU64,
    synced: AtomicU64,
}

impl Letters {
    /// Letters that are only logged and counted.
    pub(crate) fn new(pipeline: &str) -> Self {
        let zero = || AtomicU64::new(0);
        Self { pipeline: pipeline.to_owned(), file: None, queue: None, written: zero(), synced: zero() }
    }

    /// Keeps them in a file, too. A run that goes on does so behind the records that have settled.
    pub(crate) fn in_file(
        mut self,
        path: &Path,
        goes_on: bool,
        is_settled: impl Fn(Position) -> bool,
    ) -> io::Result<Self> {
        self.file = Some(Mutex::new(LetterFile::open(path, goes_on, is_settled)?));
        Ok(self)
    }

    /// Keeps them beside the rows of a sink, too.
    pub(crate) fn beside_the_rows(mut self, queue: Arc<DeadLetterQueue>) -> Self {
        self.queue = Some(queue);
        self
    }

    /// Adds a letter, unless an earlier attempt has written it.
    pub(crate) fn push(&self, rejection: &Rejection) {
        let letter = DeadRecord::new(&self.pipeline, rejection);
        if let Some(file) = &self.file {
            file.lock().push(&letter);
        }
        // Counted once it is written: who sees the number and then syncs finds the letter in the file.
        if self.written.fetch_add(1, Ordering::AcqRel) < LOGGED {
            let DeadRecord { pipeline, origin, by, error, .. } = &letter;
            warn!(%pipeline, %origin, %by, "record rejected: {error}");
        }
        if let Some(queue) = &self.queue {
            queue.push(letter);
        }
    }

    /// Letters so far: once [`synced`](Self::synced) has reached this number, all of them are durable.
    pub(crate) fn written(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }

    pub(crate) fn synced(&self) -> u64 {
        if self.file.is_some() { self.synced.load(Ordering::Acquire) } else { u64::MAX }
    }

    /// Makes all letters of the file durable.
    pub(crate) async fn sync(&self) -> io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let written = self.written();
        if written == self.synced.load(Ordering::Acquire) {
            return Ok(());
        }
        let file = file.lock().flush()?;
        spawn_blocking(move || file.sync_data()).await.unwrap_or_else(|lost| Err(lost.into()))?;
        // Two readers may sync at once, and the one that knew of fewer may end last.
        self.synced.fetch_max(written, Ordering::AcqRel);
        Ok(())
    }

    /// The file, for messages.
    pub(crate) fn path(&self) -> Option<PathBuf> {
        self.file.as_ref().map(|file| file.lock().path().to_owned())
    }
}
