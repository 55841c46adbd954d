//! Maps what the server says to kinds of errors.

use actix_batch_pipeline::{
    checkpoint::{CheckpointError, CheckpointErrorKind},
    sink::{SinkError, SinkErrorKind},
    source::SourceError,
};
use tokio_postgres::{Error, error::SqlState};

/// A failure, before it is known whether a sink, a source or a checkpoint has it.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) kind: SinkErrorKind,
    pub(crate) message: String,
}

impl Fault {
    pub(crate) fn fatal(message: impl Into<String>) -> Self {
        Self { kind: SinkErrorKind::Fatal, message: message.into() }
    }

    pub(crate) fn temporary(message: impl Into<String>) -> Self {
        Self { kind: SinkErrorKind::Temporary, message: message.into() }
    }

    /// What was done when the server failed, and what it says.
    pub(crate) fn of(error: &Error, doing: impl Into<String>) -> Self {
        Self { kind: kind(error), message: format!("{}: {}", doing.into(), words(error)) }
    }
}

/// Whose fault an error is, by its SQLSTATE (PostgreSQL's manual, appendix A).
fn kind(error: &Error) -> SinkErrorKind {
    let Some(code) = error.code() else {
        // Not the server: the connection.
        return SinkErrorKind::Temporary;
    };
    if [
        SqlState::T_R_SERIALIZATION_FAILURE,
        SqlState::T_R_DEADLOCK_DETECTED,
        SqlState::LOCK_NOT_AVAILABLE,
        SqlState::IN_FAILED_SQL_TRANSACTION,
        // The server has become a standby.
        SqlState::READ_ONLY_SQL_TRANSACTION,
    ]
    .contains(code)
    {
        return SinkErrorKind::Temporary;
    }
    if [
        // Two texts of one key: 1.0 and 1.00.
        SqlState::CARDINALITY_VIOLATION,
        // A value that is too large for its index.
        SqlState::PROGRAM_LIMIT_EXCEEDED,
        SqlState::WITH_CHECK_OPTION_VIOLATION,
    ]
    .contains(code)
    {
        return SinkErrorKind::Batch;
    }
    match &code.code()[..2] {
        // Connections, resources, an operator who ends the server, a server that starts or stops.
        "08" | "53" | "57" | "58" => SinkErrorKind::Temporary,
        // Data that does not fit, a constraint, a trigger that raises.
        "22" | "23" | "P0" => SinkErrorKind::Batch,
        _ => SinkErrorKind::Fatal,
    }
}

/// The server's own words, with its detail and hint. They name the constraint and the key, and never a password.
fn words(error: &Error) -> String {
    let Some(db) = error.as_db_error() else {
        // The connection, with what the system says of it.
        let cause = std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
        return format!("{error}{cause}");
    };
    let detail = db.detail().map(|detail| format!(" – {detail}")).unwrap_or_default();
    let hint = db.hint().map(|hint| format!(" – {hint}")).unwrap_or_default();
    format!("{} ({}){detail}{hint}", db.message(), db.code().code())
}

impl From<Fault> for SinkError {
    fn from(fault: Fault) -> Self {
        Self::new(fault.kind, fault.message)
    }
}

impl From<Fault> for SourceError {
    fn from(fault: Fault) -> Self {
        match fault.kind {
            SinkErrorKind::Fatal => Self::config(fault.message),
            _ => Self::io(fault.message),
        }
    }
}

impl From<Fault> for CheckpointError {
    fn from(fault: Fault) -> Self {
        let is_fatal = fault.kind == SinkErrorKind::Fatal;
        Self::new(if is_fatal { CheckpointErrorKind::Config } else { CheckpointErrorKind::Io }, fault.message)
    }
}
