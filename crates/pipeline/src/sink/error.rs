//! What goes wrong with a sink.

use std::{error::Error, fmt};

/// Why a sink did not write.
#[derive(Debug)]
pub struct SinkError {
    kind: SinkErrorKind,
    message: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

/// Whose fault it is, which decides what happens next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SinkErrorKind {
    /// This record cannot be written, ever: a constraint, a wrong type. It is rejected.
    Record,
    /// Some record of the batch cannot be written, and it is not known which. The batch is split until the record stands alone; then it
    /// is rejected.
    Batch,
    /// The downstream has a problem that may pass: a deadlock, a lost connection. The batch is tried again as the collector's `retry`
    /// says; if it still fails, the run ends and can go on from its checkpoint. No record is rejected for it.
    Temporary,
    /// It can never get better: a table that does not exist, a wrong password. The run ends.
    Fatal,
}

impl SinkError {
    /// An error of this kind. The message names the statement, the key or the file, and says what to do.
    pub fn new(kind: SinkErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    /// This record cannot be written.
    pub fn record(message: impl Into<String>) -> Self {
        Self::new(SinkErrorKind::Record, message)
    }

    /// Some record of the batch cannot be written.
    pub fn batch(message: impl Into<String>) -> Self {
        Self::new(SinkErrorKind::Batch, message)
    }

    /// A problem that may pass.
    pub fn temporary(message: impl Into<String>) -> Self {
        Self::new(SinkErrorKind::Temporary, message)
    }

    /// A problem that cannot get better.
    pub fn fatal(message: impl Into<String>) -> Self {
        Self::new(SinkErrorKind::Fatal, message)
    }

    /// With the error behind it.
    pub fn caused_by(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Whose fault it is.
    pub fn kind(&self) -> SinkErrorKind {
        self.kind
    }
}

impl fmt::Display for SinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.source {
            Some(source) => write!(f, ": {source}"),
            None => Ok(()),
        }
    }
}

impl Error for SinkError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}
