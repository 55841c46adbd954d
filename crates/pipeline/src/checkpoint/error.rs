//! What goes wrong with a checkpoint.

use std::{error::Error, fmt};

/// Why a checkpoint cannot be used or stored.
#[derive(Debug)]
pub struct CheckpointError {
    kind: CheckpointErrorKind,
    message: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

/// What kind of problem it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CheckpointErrorKind {
    /// Another run of this pipeline is going on.
    Leased,
    /// What is stored is damaged, empty, or no checkpoint.
    Corrupt,
    /// A newer version of this crate stored it.
    Future,
    /// It belongs to another plan.
    OtherPlan,
    /// The place cannot be used as it is configured: a wrong password, a missing right.
    Config,
    /// Storing or loading failed.
    Io,
}

impl CheckpointError {
    /// An error of this kind. The message names the place and says what to do.
    pub fn new(kind: CheckpointErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    /// With the error behind it.
    pub fn caused_by(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What kind of problem it is.
    pub fn kind(&self) -> CheckpointErrorKind {
        self.kind
    }
}

impl fmt::Display for CheckpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.source {
            Some(source) => write!(f, ": {source}"),
            None => Ok(()),
        }
    }
}

impl Error for CheckpointError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}
