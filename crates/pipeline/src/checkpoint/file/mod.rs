//! Checkpoints in a file.
//!
//! At every moment either the checkpoint before or the one after is on the disk: a save writes and syncs a temporary file, keeps the
//! checkpoint before as the previous generation, renames, and syncs the folder.

use std::{
    fs::{File, OpenOptions},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use fs4::FileExt;
use tokio::task::spawn_blocking;
use tracing::warn;

use super::{Checkpoint, CheckpointError, CheckpointErrorKind, Store, StoreFuture};

mod disk;
mod format;
#[cfg(test)]
mod tests;

use disk::{Disk, RealDisk};
use format::{FormatError, decode, encode};

/// Keeps the checkpoint in a file of its own, and the one before it beside it (`.1`).
///
/// A damaged file is replaced by the previous generation, with a warning; if that is damaged, too, the run is refused. It is never
/// taken for a first run.
#[derive(Debug)]
pub struct FileStore {
    files: Files,
    lease: Option<File>,
}

#[derive(Debug, Clone)]
struct Files {
    path: PathBuf,
    disk: Arc<dyn Disk>,
}

impl FileStore {
    /// A store at this path. The folder must exist.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { files: Files { path: path.into(), disk: Arc::new(RealDisk) }, lease: None }
    }
}

impl Store for FileStore {
    fn lease(&mut self) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            self.lease = Some(lease(&self.files.beside("lock"))?);
            Ok(())
        })
    }

    fn load(&mut self) -> StoreFuture<'_, Option<Checkpoint>> {
        let files = self.files.clone();
        Box::pin(async move { off_thread(move || files.load()).await })
    }

    fn save<'a>(&'a mut self, checkpoint: &'a Checkpoint) -> StoreFuture<'a, ()> {
        let files = self.files.clone();
        Box::pin(async move {
            let bytes = encode(checkpoint).map_err(|error| files.failed("encode the checkpoint for", error.into()))?;
            off_thread(move || files.save(&bytes)).await
        })
    }

    fn clear(&mut self) -> StoreFuture<'_, ()> {
        let files = self.files.clone();
        Box::pin(async move { off_thread(move || files.clear()).await })
    }
}

/// Takes the lease of the file at this path, or says that another run has it. It ends when the file is dropped.
pub(crate) fn lease(path: &Path) -> Result<File, CheckpointError> {
    let failed = |error: io::Error| {
        CheckpointError::new(CheckpointErrorKind::Io, format!("cannot take the lease {}", path.display()))
            .caused_by(error)
    };
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(path).map_err(failed)?;
    match FileExt::try_lock(&file) {
        Ok(()) => Ok(file),
        Err(fs4::TryLockError::WouldBlock) => {
            let message = format!(
                "another run of this pipeline is going on: it holds {}. Wait for its end, or give this one another name",
                path.display()
            );
            Err(CheckpointError::new(CheckpointErrorKind::Leased, message))
        }
        Err(fs4::TryLockError::Error(error)) => Err(failed(error)),
    }
}

/// A sync takes milliseconds, which the thread of the readers has better use for.
async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, CheckpointError> + Send + 'static,
) -> Result<T, CheckpointError> {
    let lost = |_| CheckpointError::new(CheckpointErrorKind::Io, "the thread that works on the checkpoint was lost");
    spawn_blocking(work).await.map_err(lost)?
}

impl Files {
    fn beside(&self, suffix: &str) -> PathBuf {
        let mut name = self.path.as_os_str().to_owned();
        name.push(".");
        name.push(suffix);
        PathBuf::from(name)
    }

    fn save(&self, bytes: &[u8]) -> Result<(), CheckpointError> {
        let (temporary, previous) = (self.beside("tmp"), self.beside("1"));
        let save = || {
            self.disk.write_synced(&temporary, bytes)?;
            // A damaged checkpoint must not take the place of a good one.
            if self.disk.read(&self.path).is_ok_and(|bytes| decode(&bytes).is_ok()) {
                self.disk.rename(&self.path, &previous)?;
            }
            self.disk.rename(&temporary, &self.path)?;
            self.disk.sync_folder(&self.path)
        };
        save().map_err(|error| self.failed("save the checkpoint", error))
    }

    fn load(&self) -> Result<Option<Checkpoint>, CheckpointError> {
        let previous = self.beside("1");
        let latest = match self.read(&self.path)? {
            Some(Ok(checkpoint)) => return Ok(Some(checkpoint)),
            Some(Err(FormatError::Future { version })) => return Err(future(&self.path, version)),
            Some(Err(FormatError::Foreign)) => return Err(self.foreign()),
            Some(Err(FormatError::Damaged(why))) => Some(why),
            None => None,
        };
        match (self.read(&previous)?, latest) {
            (Some(Ok(checkpoint)), why) => {
                let why = why.unwrap_or_else(|| "it is missing".to_owned());
                warn!(checkpoint = %self.path.display(), previous = %previous.display(), "going on from the previous checkpoint: {why}");
                Ok(Some(checkpoint))
            }
            (None, None) => Ok(None),
            (_, why) => {
                Err(self
                    .damaged(&why.unwrap_or_else(|| "only its previous generation is there, and damaged".to_owned())))
            }
        }
    }

    fn read(&self, path: &Path) -> Result<Option<Result<Checkpoint, FormatError>>, CheckpointError> {
        match self.disk.read(path) {
            Ok(bytes) => Ok(Some(decode(&bytes))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.failed("read the checkpoint", error)),
        }
    }

    fn clear(&self) -> Result<(), CheckpointError> {
        // The previous generation first: alone it would be taken for the checkpoint.
        for path in [self.beside("1"), self.beside("tmp"), self.path.clone()] {
            match self.disk.remove(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                removed => removed.map_err(|error| self.failed("remove the checkpoint", error))?,
            }
        }
        self.disk.sync_folder(&self.path).map_err(|error| self.failed("remove the checkpoint", error))
    }

    fn failed(&self, what: &str, error: io::Error) -> CheckpointError {
        let message = format!("cannot {what} {}", self.path.display());
        CheckpointError::new(CheckpointErrorKind::Io, message).caused_by(error)
    }

    fn foreign(&self) -> CheckpointError {
        let message = format!("{} is not a checkpoint, and is left as it is: choose another path", self.path.display());
        CheckpointError::new(CheckpointErrorKind::Corrupt, message)
    }

    fn damaged(&self, why: &str) -> CheckpointError {
        let message = format!(
            "the checkpoint {} is damaged ({why}), and so is the one before it: restore one of them, or run with `fresh` to start again",
            self.path.display()
        );
        CheckpointError::new(CheckpointErrorKind::Corrupt, message)
    }
}

fn future(path: &Path, version: u32) -> CheckpointError {
    let message = format!(
        "the checkpoint {} was saved by a newer version (format {version}): update this program, or run with `fresh` to start again",
        path.display()
    );
    CheckpointError::new(CheckpointErrorKind::Future, message)
}
