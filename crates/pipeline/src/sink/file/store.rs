//! The checkpoint beside a file that is being written.

use std::{
    fs::{self, File},
    io,
    path::PathBuf,
};

use serde_json::json;
use tokio::task::spawn_blocking;

use super::{PartialFile, Target, beside};
use crate::checkpoint::{Checkpoint, CheckpointError, CheckpointErrorKind, FileStore, Store, StoreFuture};

/// Keeps the checkpoint of a file sink: `<path>.partial.checkpoint`.
#[derive(Debug)]
pub struct PartialFileStore {
    target: Target,
    file: FileStore,
}

impl PartialFileStore {
    pub(super) fn new(target: Target) -> Self {
        let file = FileStore::at(beside(&target.path, "partial.checkpoint"));
        Self { target, file }
    }

    fn partial(&self) -> PathBuf {
        beside(&self.target.path, "partial")
    }

    /// Brings the file to the state that the checkpoint describes.
    fn restore(&self, checkpoint: Option<&Checkpoint>) -> Result<(), CheckpointError> {
        let partial = self.partial();
        let failed = |error: io::Error| io_error(&partial, error);
        let restored = match checkpoint {
            None if partial.metadata().is_ok_and(|file| file.len() > 0) => {
                let message = format!(
                    "{} is there without its checkpoint: remove it, or run with `fresh` to write it again",
                    partial.display()
                );
                return Err(CheckpointError::new(CheckpointErrorKind::Corrupt, message));
            }
            None => PartialFile::open(&self.target.path, 0, std::collections::HashMap::new()).map_err(failed)?,
            Some(checkpoint) => self.reopen(checkpoint)?,
        };
        *self.target.partial.lock() = Some(restored);
        Ok(())
    }

    fn reopen(&self, checkpoint: &Checkpoint) -> Result<PartialFile, CheckpointError> {
        let (partial, path) = (self.partial(), &self.target.path);
        let bytes = checkpoint.sink["bytes"].as_u64().unwrap_or(0);
        if partial.exists() {
            let beyond = checkpoint.ranges.iter().map(|range| (range.range, range.beyond.clone())).collect();
            return PartialFile::open(path, bytes, beyond).map_err(|error| {
                CheckpointError::new(
                    CheckpointErrorKind::Corrupt,
                    format!("{error}: run with `fresh` to write it again"),
                )
            });
        }
        let is_published = checkpoint.sink["published"] == true || checkpoint.ranges.iter().all(|range| range.done);
        if is_published && path.metadata().is_ok_and(|file| file.len() == bytes) {
            return PartialFile::published(path, bytes).map_err(|error| io_error(path, error));
        }
        let message = format!(
            "{} is gone, and {} is not what the checkpoint says: run with `fresh` to write it again",
            partial.display(),
            path.display()
        );
        Err(CheckpointError::new(CheckpointErrorKind::Corrupt, message))
    }

    fn damaged(&self) {
        if let Some(partial) = self.target.partial.lock().as_mut() {
            partial.damaged();
        }
    }

    /// The checkpoint, with what the file holds at the same moment. It may be saved once the file has been synced.
    fn snapshot(&self, checkpoint: &Checkpoint) -> io::Result<(Checkpoint, Option<File>)> {
        let mut snapshot = checkpoint.clone();
        let mut partial = self.target.partial.lock();
        let Some(partial) = partial.as_mut() else { return Ok((snapshot, None)) };
        snapshot.sink = json!({ "bytes": partial.bytes(), "published": partial.is_published() });
        for range in &mut snapshot.ranges {
            range.beyond = partial.beyond(range.range, range.record);
        }
        let unsynced = if partial.is_published() { None } else { Some(partial.handle()?) };
        Ok((snapshot, unsynced))
    }
}

impl Store for PartialFileStore {
    fn lease(&mut self) -> StoreFuture<'_, ()> {
        self.file.lease()
    }

    fn load(&mut self) -> StoreFuture<'_, Option<Checkpoint>> {
        Box::pin(async move {
            let checkpoint = self.file.load().await?;
            self.restore(checkpoint.as_ref())?;
            Ok(checkpoint)
        })
    }

    fn save<'a>(&'a mut self, checkpoint: &'a Checkpoint) -> StoreFuture<'a, ()> {
        Box::pin(async move {
            let failed = |error| io_error(&self.target.path, error);
            let (snapshot, file) = self.snapshot(checkpoint).map_err(failed)?;
            if let Some(file) = file {
                let synced = spawn_blocking(move || file.sync_data()).await.unwrap_or_else(|lost| Err(lost.into()));
                synced.inspect_err(|_| self.damaged()).map_err(failed)?;
            }
            self.file.save(&snapshot).await
        })
    }

    fn clear(&mut self) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            self.file.clear().await?;
            *self.target.partial.lock() = None;
            let partial = self.partial();
            match fs::remove_file(&partial) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_error(&partial, error)),
                _ => self.restore(None),
            }
        })
    }
}

fn io_error(path: &std::path::Path, error: io::Error) -> CheckpointError {
    CheckpointError::new(CheckpointErrorKind::Io, format!("{} cannot be used", path.display())).caused_by(error)
}
