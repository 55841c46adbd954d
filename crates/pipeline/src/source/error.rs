//! What goes wrong with a source.

use std::{error::Error, fmt};

/// Why a source cannot be read.
#[derive(Debug)]
pub struct SourceError {
    kind: SourceErrorKind,
    message: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

/// What kind of problem it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SourceErrorKind {
    /// The source is described wrongly: a missing file, a missing or doubled column.
    Config,
    /// The source is not the one that the checkpoint belongs to.
    Changed,
    /// What is there cannot be read as what it should be: a truncated gzip file, a NUL in a text.
    Corrupt,
    /// Reading failed: the disk, the network, the server.
    Io,
}

impl SourceError {
    /// An error of this kind. The message names the file or table and says what to do.
    pub fn new(kind: SourceErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    /// The source is described wrongly.
    pub fn config(message: impl Into<String>) -> Self {
        Self::new(SourceErrorKind::Config, message)
    }

    /// The source is not the one that the checkpoint belongs to.
    pub fn changed(message: impl Into<String>) -> Self {
        Self::new(SourceErrorKind::Changed, message)
    }

    /// What is there cannot be read as what it should be.
    pub fn corrupt(message: impl Into<String>) -> Self {
        Self::new(SourceErrorKind::Corrupt, message)
    }

    /// Reading failed.
    pub fn io(message: impl Into<String>) -> Self {
        Self::new(SourceErrorKind::Io, message)
    }

    /// With the error behind it.
    pub fn caused_by(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What kind of problem it is.
    pub fn kind(&self) -> SourceErrorKind {
        self.kind
    }
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.source {
            Some(source) => write!(f, ": {source}"),
            None => Ok(()),
        }
    }
}

impl Error for SourceError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}
