//! What an error of a store means for a run, said without secrets.

use std::fmt;

use actix_batch_pipeline::{
    checkpoint::{CheckpointError, CheckpointErrorKind},
    sink::SinkError,
    source::SourceError,
};
use object_store::Error;

/// An error of a store, with what was being done.
#[derive(Debug)]
pub(crate) struct Fault {
    message: String,
    cause: Option<String>,
    /// It can never get better.
    is_fatal: bool,
}

impl Fault {
    /// The place is described wrongly.
    pub(crate) fn fatal(message: impl Into<String>) -> Self {
        Self { message: message.into(), cause: None, is_fatal: true }
    }

    /// It may be better the next time.
    pub(crate) fn temporary(message: impl Into<String>) -> Self {
        Self { message: message.into(), cause: None, is_fatal: false }
    }

    /// The store did not do what it was asked. `cause` is the error's text without secrets.
    pub(crate) fn of(error: &Error, message: String, cause: String) -> Self {
        let is_fatal = matches!(
            error,
            Error::NotFound { .. }
                | Error::InvalidPath { .. }
                | Error::NotSupported { .. }
                | Error::NotImplemented { .. }
                | Error::PermissionDenied { .. }
                | Error::Unauthenticated { .. }
                | Error::UnknownConfigurationKey { .. }
        );
        Self { message, cause: Some(cause), is_fatal }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        self.cause.as_ref().map_or(Ok(()), |cause| write!(f, ": {cause}"))
    }
}

impl From<Fault> for SourceError {
    fn from(fault: Fault) -> Self {
        let error = if fault.is_fatal { Self::config(fault.message) } else { Self::io(fault.message) };
        match fault.cause {
            Some(cause) => error.caused_by(cause),
            None => error,
        }
    }
}

impl From<Fault> for SinkError {
    fn from(fault: Fault) -> Self {
        let error = if fault.is_fatal { Self::fatal(fault.message) } else { Self::temporary(fault.message) };
        match fault.cause {
            Some(cause) => error.caused_by(cause),
            None => error,
        }
    }
}

impl From<Fault> for CheckpointError {
    fn from(fault: Fault) -> Self {
        let kind = if fault.is_fatal { CheckpointErrorKind::Config } else { CheckpointErrorKind::Io };
        let error = Self::new(kind, fault.message);
        match fault.cause {
            Some(cause) => error.caused_by(cause),
            None => error,
        }
    }
}
