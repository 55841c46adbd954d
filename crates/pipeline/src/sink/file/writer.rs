//! The file that is being written.

use std::{
    collections::HashMap,
    fs::{self, File, OpenOptions},
    io::{self, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use actix_batch::Batch;

use super::beside;
use crate::{
    checkpoint::{Interval, Intervals},
    record::{Position, Record},
    sink::{SinkError, Written},
};

/// A file that is written under its temporary name.
#[derive(Debug)]
pub(super) struct PartialFile {
    file: File,
    path: PathBuf,
    bytes: u64,
    /// What it holds, as far as that lies beyond the settled prefix.
    beyond: HashMap<u32, Intervals>,
    /// It has its final name.
    is_published: bool,
    /// A sync has failed: what of it is on the disk is not known, and the next sync would not say so.
    is_damaged: bool,
}

impl PartialFile {
    /// Opens the file for this final path, cut back to its first `bytes`.
    pub(super) fn open(path: &Path, bytes: u64, beyond: HashMap<u32, Intervals>) -> io::Result<Self> {
        let partial = beside(path, "partial");
        let mut file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&partial)?;
        if file.metadata()?.len() < bytes {
            return Err(io::Error::other(format!("{} is shorter than its checkpoint says", partial.display())));
        }
        file.set_len(bytes)?;
        file.seek(SeekFrom::Start(bytes))?;
        Ok(Self { file, path: partial, bytes, beyond, is_published: false, is_damaged: false })
    }

    /// The file under its final name, which holds everything up to `bytes`.
    pub(super) fn published(path: &Path, bytes: u64) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).open(path)?;
        let path = beside(path, "partial");
        Ok(Self { file, path, bytes, beyond: HashMap::new(), is_published: true, is_damaged: false })
    }

    /// Whether it has its final name.
    pub(super) fn is_published(&self) -> bool {
        self.is_published
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    pub(super) fn holds(&self, position: Position) -> bool {
        self.beyond.get(&position.range).is_some_and(|beyond| beyond.contains(position))
    }

    /// Appends the text of a batch; `written` says which of its records are in it.
    pub(super) fn append<T>(
        &mut self,
        text: &[u8],
        batch: &Batch<Record<T>>,
        is_written: impl Fn(usize) -> bool,
        path: &Path,
    ) -> Result<(), SinkError> {
        self.append_bytes(text, path).map_err(|error| self.failed("written", error))?;
        for (range, interval) in Interval::of_written(batch, is_written) {
            self.beyond.entry(range).or_default().insert(interval);
        }
        Ok(())
    }

    fn append_bytes(&mut self, text: &[u8], path: &Path) -> io::Result<()> {
        if self.is_published {
            self.unpublish(path)?;
        }
        if let Err(error) = self.file.write_all(text) {
            // Half a batch must not stand there; if it cannot be cut away, the checkpoint's length will.
            let _ = self.file.set_len(self.bytes).and_then(|()| self.file.seek(SeekFrom::Start(self.bytes)));
            return Err(error);
        }
        self.bytes += text.len() as u64;
        Ok(())
    }

    /// More records come after the file was published: they are added to a copy, which will replace it.
    fn unpublish(&mut self, path: &Path) -> io::Result<()> {
        // Until the copy is whole, the file under its final name is the one that counts.
        let copy = beside(path, "partial.copy");
        fs::copy(path, &copy)?;
        File::open(&copy)?.sync_all()?;
        fs::rename(&copy, &self.path)?;
        let beyond = std::mem::take(&mut self.beyond);
        *self = Self::open(path, self.bytes, beyond)?;
        Ok(())
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Another handle, by which what was written so far can be synced while more is written.
    pub(super) fn handle(&self) -> io::Result<File> {
        self.check()?;
        self.file.try_clone()
    }

    /// A sync has failed.
    pub(super) fn damaged(&mut self) {
        self.is_damaged = true;
    }

    fn check(&self) -> io::Result<()> {
        if self.is_damaged {
            return Err(io::Error::other(
                "a sync of it has failed before: run again, to go on from the last checkpoint",
            ));
        }
        Ok(())
    }

    /// What the file holds beyond this source record of a range.
    pub(super) fn beyond(&mut self, range: u32, record: u64) -> Intervals {
        let beyond = self.beyond.entry(range).or_default();
        beyond.forget_before(record);
        beyond.clone()
    }

    pub(super) fn publish(&mut self, path: &Path) -> Result<(), SinkError> {
        if self.is_published {
            return Ok(());
        }
        let publish = || {
            self.check()?;
            self.file.sync_all()?;
            fs::rename(&self.path, path)?;
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            File::open(folder)?.sync_all()
        };
        publish().map_err(|error| self.failed("published", error))?;
        self.is_published = true;
        Ok(())
    }

    fn failed(&self, what: &str, error: io::Error) -> SinkError {
        SinkError::fatal(format!("{} cannot be {what}", self.path.display())).caused_by(error)
    }
}

/// The text of a batch, and which of its records are in it.
#[derive(Debug, Default)]
pub(super) struct BatchText {
    pub(super) text: Vec<u8>,
    pub(super) written: Written,
    /// Records that the file holds already.
    pub(super) held: Vec<usize>,
}

impl BatchText {
    pub(super) fn is_written(&self, position: usize) -> bool {
        !self.held.contains(&position) && self.written.refused().iter().all(|(refused, _)| *refused != position)
    }
}

#[cfg(test)]
mod tests {
    use super::{HashMap, PartialFile};

    #[test]
    fn a_file_whose_sync_has_failed_is_neither_saved_nor_published() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.jsonl");
        let mut partial = PartialFile::open(&path, 0, HashMap::new()).unwrap();
        assert!(partial.handle().is_ok());
        partial.damaged();
        assert!(partial.handle().is_err() && partial.publish(&path).is_err() && !path.exists());
    }
}
