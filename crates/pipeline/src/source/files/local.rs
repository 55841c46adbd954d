//! Files of this machine.

use std::{
    fmt,
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    time::SystemTime,
};

use same_file::Handle;
use serde::{Deserialize, Serialize};

use super::{Blocks, Identity, Size, SourceError, TextFiles, changed};

/// Bytes at the beginning of a file that its identity looks at.
const HEAD: usize = 4096;
/// Bytes that are read at once.
const READ: usize = 64 * 1024;

/// Which files of this machine are read, in their order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LocalFiles {
    /// One file.
    File(PathBuf),
    /// These files, as listed.
    Files(Vec<PathBuf>),
    /// The files that match a pattern, sorted by path.
    Glob(String),
}

/// One file of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalFile(PathBuf);

/// The bytes of a file of this machine.
#[derive(Debug)]
pub struct LocalBlocks {
    file: File,
    path: PathBuf,
    /// The byte that is read next.
    byte: u64,
}

/// What is remembered of a file: how it begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Head {
    file: String,
    bytes: usize,
    checksum: u32,
}

impl LocalFiles {
    fn paths(&self) -> Result<Vec<PathBuf>, SourceError> {
        match self {
            Self::File(path) => Ok(vec![path.clone()]),
            Self::Files(paths) if paths.is_empty() => Err(SourceError::config("the list of files is empty")),
            Self::Files(paths) => Ok(paths.clone()),
            Self::Glob(pattern) => glob_files(pattern),
        }
    }
}

impl TextFiles for LocalFiles {
    type File = LocalFile;
    type Blocks = LocalBlocks;

    const IS_NEAR: bool = true;

    fn describe(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            // More files may follow in a later run, which has the same plan.
            Self::Files(paths) => paths.first().map(|path| format!("{}, …", path.display())).unwrap_or_default(),
            Self::Glob(pattern) => pattern.clone(),
        }
    }

    async fn list(&self) -> Result<Vec<LocalFile>, SourceError> {
        Ok(self.paths()?.into_iter().map(LocalFile).collect())
    }

    /// How each file begins.
    async fn identity(&self) -> Result<Identity, SourceError> {
        let heads: Result<Vec<_>, _> = self.paths()?.iter().map(|path| head(path, HEAD)).collect();
        serde_json::to_value(heads?).map_err(|error| SourceError::config(error.to_string()))
    }

    /// Files may have grown, and others may have come after them. How a file begins that may have been rotated stands in its cursor.
    async fn verify(&self, checkpoint: &Identity) -> Result<(), SourceError> {
        let known: Vec<Head> = serde_json::from_value(checkpoint.clone())
            .map_err(|error| changed(&format!("the checkpoint does not belong to text files ({error})")))?;
        let files = self.paths()?;
        if files.len() < known.len() {
            return Err(changed(&format!("there were {} files, and now there are {}", known.len(), files.len())));
        }
        for (known, path) in known.iter().zip(&files) {
            if known.file != path.display().to_string() {
                let (before, now) = (&known.file, path.display());
                return Err(changed(&format!("the checkpoint knows {before} where there is {now} now")));
            }
            let now = head(path, known.bytes)?;
            if now != *known {
                return Err(changed(&format!("{} does not begin as it did when the checkpoint was saved", known.file)));
            }
        }
        Ok(())
    }

    async fn size(&self) -> Option<Size> {
        let files = self.paths().ok()?;
        files.iter().map(|path| Some(path.metadata().ok()?.len())).sum::<Option<u64>>().map(Size::Bytes)
    }

    async fn open(&self, file: &LocalFile, byte: u64) -> Result<LocalBlocks, SourceError> {
        let path = file.0.clone();
        let mut file = open(&path)?;
        file.seek(SeekFrom::Start(byte)).map_err(|error| failed(&path, error))?;
        Ok(LocalBlocks { file, path, byte })
    }

    fn rotating(&self) -> Option<LocalFile> {
        match self {
            Self::File(path) => Some(LocalFile(path.clone())),
            _ => None,
        }
    }

    /// The files beside it that look like earlier ones of it: `app.log.1`, `app.log-20261127`, `app.log.2.gz`.
    fn rotated(&self) -> Result<Vec<(SystemTime, LocalFile)>, SourceError> {
        let Self::File(path) = self else { return Ok(Vec::new()) };
        let Some(name) = path.file_name().map(|name| name.to_string_lossy().into_owned()) else {
            return Ok(Vec::new());
        };
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut found = Vec::new();
        for entry in fs::read_dir(folder).map_err(|error| failed(folder, error))? {
            let entry = entry.map_err(|error| failed(folder, error))?;
            if !entry.file_name().to_string_lossy().strip_prefix(&name).is_some_and(is_rotation) {
                continue;
            }
            // A file that goes away meanwhile is none of them any more.
            let Some(meta) = entry.metadata().ok().filter(fs::Metadata::is_file) else { continue };
            if let Ok(modified) = meta.modified() {
                found.push((modified, LocalFile(entry.path())));
            }
        }
        Ok(found)
    }
}

impl Blocks for LocalBlocks {
    async fn read(&mut self, into: &mut Vec<u8>) -> Result<(), SourceError> {
        let before = into.len();
        into.resize(before + READ, 0);
        let read = loop {
            match self.file.read(&mut into[before..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        let bytes = *read.as_ref().unwrap_or(&0);
        into.truncate(before + bytes);
        self.byte += bytes as u64;
        read.map(drop).map_err(|error| failed(&self.path, error))
    }

    fn was_cut(&self) -> bool {
        self.file.metadata().is_ok_and(|now| now.len() < self.byte)
    }

    fn has_its_name(&self) -> bool {
        let own = self.file.try_clone().and_then(Handle::from_file);
        own.is_ok_and(|own| Handle::from_path(&self.path).is_ok_and(|named| named == own))
    }

    fn modified(&self) -> Option<SystemTime> {
        self.file.metadata().and_then(|file| file.modified()).ok()
    }
}

/// Whether this is what a rotation appends to a name: a number or a time, and perhaps a compression.
fn is_rotation(suffix: &str) -> bool {
    let suffix = suffix.trim_end_matches(".gz").trim_end_matches(".zst");
    let Some(number) = suffix.strip_prefix(['.', '-', '_']) else { return false };
    number.starts_with(|first: char| first.is_ascii_digit())
        && number.chars().all(|c| c.is_ascii_digit() || ".-_:TZ".contains(c))
}

impl fmt::Display for LocalFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display().fmt(f)
    }
}

fn glob_files(pattern: &str) -> Result<Vec<PathBuf>, SourceError> {
    let paths = glob::glob(pattern)
        .map_err(|error| SourceError::config(format!("the pattern {pattern} cannot be used: {error}")))?;
    let files: Result<Vec<_>, _> = paths.filter(|path| path.as_ref().map_or(true, |path| path.is_file())).collect();
    let mut files = files.map_err(|error| SourceError::io(format!("cannot list {pattern}")).caused_by(error))?;
    files.sort();
    if files.is_empty() {
        return Err(SourceError::config(format!("no file matches {pattern}")));
    }
    Ok(files)
}

fn head(path: &Path, bytes: usize) -> Result<Head, SourceError> {
    let mut begin = Vec::new();
    open(path)?.take(bytes as u64).read_to_end(&mut begin).map_err(|error| failed(path, error))?;
    Ok(Head { file: path.display().to_string(), bytes: begin.len(), checksum: crc32fast::hash(&begin) })
}

fn open(path: &Path) -> Result<File, SourceError> {
    File::open(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => SourceError::config(format!("{} does not exist", path.display())),
        _ => failed(path, error),
    })
}

fn failed(path: &Path, error: io::Error) -> SourceError {
    super::failed(&path.display().to_string(), error)
}

#[cfg(test)]
mod tests {
    use super::is_rotation;

    #[test]
    fn a_rotated_file_has_its_name_and_a_number_or_a_time() {
        let rotations = [".1", "-20261127", ".2026-11-27T10:00:00Z", ".3.gz", "_4.zst", ".2026-11-27.gz"];
        assert!(rotations.into_iter().all(is_rotation));
        assert!(!["", ".lock", ".tmp", ".bak", "-journal", ".gz", "2", ".1.partial"].into_iter().any(is_rotation));
    }
}
