//! Whose fault an error of SQLite is.

use std::{error::Error as _, iter::successors};

use rusqlite::{Error, ErrorCode};

use crate::sink::{SinkError, SinkErrorKind};

/// Whose fault an error is.
pub(super) fn kind(error: &Error) -> SinkErrorKind {
    use ErrorCode as Code;
    match error.sqlite_error_code() {
        Some(Code::ConstraintViolation | Code::TypeMismatch | Code::TooBig) => SinkErrorKind::Record,
        Some(
            Code::DatabaseBusy
            | Code::DatabaseLocked
            | Code::SystemIoFailure
            | Code::FileLockingProtocolFailed
            | Code::OperationInterrupted
            | Code::OutOfMemory
            | Code::SchemaChanged,
        ) => SinkErrorKind::Temporary,
        _ => SinkErrorKind::Fatal,
    }
}

/// SQLite's own error, if that is the cause.
pub(super) fn of_sqlite(error: &SinkError) -> Option<&Error> {
    successors(error.source(), |error| (*error).source()).find_map(|error| error.downcast_ref())
}

/// An error that concerns a whole batch. A constraint that only the commit checks does not say which row broke it.
pub(super) fn of_batch(error: Error, doing: impl Into<String>) -> SinkError {
    let kind = match kind(&error) {
        SinkErrorKind::Record => SinkErrorKind::Batch,
        other => other,
    };
    SinkError::new(kind, doing).caused_by(error)
}
