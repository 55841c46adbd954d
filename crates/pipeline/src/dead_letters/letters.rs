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
    syncing: tokio::sync::Mutex<()>,
}

impl Letters {
    /// Letters that are only logged and counted.
    pub(crate) fn new(pipeline: &str) -> Self {
        let zero = || AtomicU64::new(0);
        let (written, synced, syncing) = (zero(), zero(), tokio::sync::Mutex::default());
        Self { pipeline: pipeline.to_owned(), file: None, queue: None, written, synced, syncing }
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
        // One after the other: the system tells an error once, and whoever comes later must hear of it, too.
        let _turn = self.syncing.lock().await;
        let written = self.written();
        if written == self.synced.load(Ordering::Acquire) {
            return Ok(());
        }
        let flushed = file.lock().flush()?;
        let synced = spawn_blocking(move || flushed.sync_data()).await.unwrap_or_else(|lost| Err(lost.into()));
        synced.inspect_err(|error| file.lock().fail(error))?;
        self.synced.store(written, Ordering::Release);
        Ok(())
    }

    /// The file, for messages.
    pub(crate) fn path(&self) -> Option<PathBuf> {
        self.file.as_ref().map(|file| file.lock().path().to_owned())
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::{Letters, Path, Position, Rejection};
    use crate::record::Origin;

    #[tokio::test]
    async fn letters_that_could_not_be_written_are_missed_by_every_sync() {
        // A file system that is full.
        let letters = Letters::new("full").in_file(Path::new("/dev/full"), false, |_| true);
        let Ok(letters) = letters else { panic!("no /dev/full") };
        let (position, origin) = (Position::default(), Origin::Unknown);
        let rejection =
            Rejection { position, origin, by: "stage".into(), error: "x".into(), attempts: 1, record: None };
        letters.push(&rejection);
        for _ in 0..2 {
            assert!(letters.sync().await.is_err());
            assert_eq!((letters.synced(), letters.written()), (0, 1));
        }
    }
}
