//! What all text files have in common: which files, in which order, what makes a cursor valid, and how their bytes become text.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{Cursor, Identity, Size, SourceError};

mod decode;
mod sequence;
mod text;

pub(super) use sequence::{Follow, Next, Sequence};
pub(super) use text::{Fill, Text};

/// Bytes at the beginning of a file that its identity looks at.
const HEAD: usize = 4096;

/// Which files are read, in their order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Paths {
    /// One file.
    File(PathBuf),
    /// These files, as listed.
    Files(Vec<PathBuf>),
    /// The files that match a pattern, sorted by path.
    Glob(String),
}

/// Where reading goes on in a list of text files: after the terminator of a record.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextCursor {
    /// The number of the file in the list, from 0.
    pub file: u32,
    /// The byte within its text, from 0: decompressed, and in UTF-8.
    pub byte: u64,
    /// The line that begins there, from 1.
    pub line: u64,
    /// The checksum of up to 256 bytes before it.
    pub before: u32,
    /// The checksum of up to 4096 bytes with which the text begins, if the file is followed: by it the file is found again when it has
    /// another name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<u32>,
}

impl Cursor for TextCursor {}

/// What is remembered of a file: how it begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Head {
    file: String,
    bytes: usize,
    checksum: u32,
}

impl Paths {
    /// The files in their order.
    pub(super) fn list(&self) -> Result<Vec<PathBuf>, SourceError> {
        match self {
            Self::File(path) => Ok(vec![path.clone()]),
            Self::Files(paths) if paths.is_empty() => Err(SourceError::config("the list of files is empty")),
            Self::Files(paths) => Ok(paths.clone()),
            Self::Glob(pattern) => glob_files(pattern),
        }
    }

    pub(super) fn describe(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Files(paths) => paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(","),
            Self::Glob(pattern) => pattern.clone(),
        }
    }

    /// How each file begins.
    pub(super) fn identity(&self) -> Result<Identity, SourceError> {
        let heads: Result<Vec<_>, _> = self.list()?.iter().map(|path| head(path, HEAD)).collect();
        serde_json::to_value(heads?).map_err(|error| SourceError::config(error.to_string()))
    }

    /// Whether a followed file is still that of a checkpoint. How it begins stands in the cursor, because it may have been rotated.
    fn verify_name(&self, checkpoint: &Identity) -> Result<(), SourceError> {
        let known: Vec<Head> = serde_json::from_value(checkpoint.clone())
            .map_err(|error| changed(&format!("the checkpoint does not belong to text files ({error})")))?;
        match &known[..] {
            [known] if known.file == self.describe() => Ok(()),
            _ => Err(changed(&format!("the checkpoint belongs to other files than {}", self.describe()))),
        }
    }

    /// Whether the files are still those of a checkpoint. Files may have grown, and others may have come after them.
    pub(super) fn verify(&self, checkpoint: &Identity, follow: Follow) -> Result<(), SourceError> {
        if follow != Follow::No && matches!(self, Self::File(_)) {
            return self.verify_name(checkpoint);
        }
        let known: Vec<Head> = serde_json::from_value(checkpoint.clone())
            .map_err(|error| changed(&format!("the checkpoint does not belong to text files ({error})")))?;
        let files = self.list()?;
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

    pub(super) fn size(&self) -> Option<Size> {
        let files = self.list().ok()?;
        files.iter().map(|path| Some(path.metadata().ok()?.len())).sum::<Option<u64>>().map(Size::Bytes)
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
    SourceError::io(format!("cannot read {}", path.display())).caused_by(error)
}

fn changed(what: &str) -> SourceError {
    SourceError::changed(format!("{what}: restore the files, or run with `fresh` to start again"))
}
