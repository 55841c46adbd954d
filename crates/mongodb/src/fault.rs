//! Maps server errors to error kinds.

use actix_batch_pipeline::{
    checkpoint::{CheckpointError, CheckpointErrorKind},
    sink::{SinkError, SinkErrorKind},
    source::SourceError,
};
use bson::Document;
use mongodb::error::{Error, ErrorKind, TRANSIENT_TRANSACTION_ERROR, WriteConcernError, WriteFailure};

/// A failure, before it is known whether a sink, a source or a checkpoint has it.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) kind: SinkErrorKind,
    pub(crate) message: String,
    /// Whether a transaction has met another one, or has been lost, and may begin anew.
    pub(crate) is_conflict: bool,
}

impl Fault {
    pub(crate) fn new(kind: SinkErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), is_conflict: false }
    }

    pub(crate) fn fatal(message: impl Into<String>) -> Self {
        Self::new(SinkErrorKind::Fatal, message)
    }

    pub(crate) fn temporary(message: impl Into<String>) -> Self {
        Self::new(SinkErrorKind::Temporary, message)
    }

    /// What was done when the server failed, and what it says.
    pub(crate) fn of(error: &Error, doing: impl Into<String>) -> Self {
        let is_conflict = error.contains_label(TRANSIENT_TRANSACTION_ERROR);
        let kind = if is_conflict { SinkErrorKind::Temporary } else { kind(error) };
        Self { kind, message: format!("{}: {}", doing.into(), words(error)), is_conflict }
    }

    /// The documents are written, and perhaps not where they must be: on a majority, in the journal.
    pub(crate) fn of_concern(code: i32, message: &str, doing: impl Into<String>) -> Self {
        // 79 and 100: the replica set can never do what the URI asks.
        let kind = if matches!(code, 79 | 100) { SinkErrorKind::Fatal } else { SinkErrorKind::Temporary };
        Self::new(kind, format!("{}: {message} ({code})", doing.into()))
    }
}

/// What the server says of a document that it refuses. The details name the rule of the collection that it breaks.
pub(crate) fn refusal(message: &str, code: i32, details: Option<&Document>) -> String {
    let details = details.map(|details| format!(" – {details}")).unwrap_or_default();
    format!("{message} ({code}){details}")
}

/// The code of a key that is there already.
pub(crate) fn is_duplicate(code: i32) -> bool {
    matches!(code, 11000 | 11001 | 12582)
}

/// Codes of conditions that pass: elections, a server that starts or stops, conflicts and time-outs, a full disk; and 1, an internal error.
pub(crate) fn is_temporary(code: i32) -> bool {
    matches!(
        code,
        1 | 6
            | 7
            | 24
            | 43
            | 46
            | 50
            | 64
            | 89
            | 91
            | 112
            | 134
            | 189
            | 202
            | 251
            | 262
            | 9001
            | 10058
            | 10107
            | 11600
            | 11602
            | 13388
            | 13435
            | 13436
            | 14031
    )
}

/// Codes of documents that cannot be stored: of a wrong form, too large, too deep, against the collection's rules.
fn is_of_data(code: i32) -> bool {
    matches!(code, 2 | 9 | 14 | 15 | 16 | 22 | 28 | 34 | 40 | 52 | 53 | 55 | 56 | 57 | 66 | 121 | 10334 | 17280 | 17419)
        || is_duplicate(code)
}

fn kind(error: &Error) -> SinkErrorKind {
    match &*error.kind {
        ErrorKind::Command(failed) => of_code(failed.code),
        ErrorKind::Write(WriteFailure::WriteError(failed)) => of_code(failed.code),
        // Numbers or texts that have no place in a document.
        ErrorKind::Bson(_) => SinkErrorKind::Batch,
        ErrorKind::Authentication { .. }
        | ErrorKind::InvalidArgument { .. }
        | ErrorKind::InvalidTlsConfig { .. }
        | ErrorKind::IncompatibleServer { .. }
        | ErrorKind::SessionsNotSupported => SinkErrorKind::Fatal,
        // Connections, elections, name servers.
        _ => SinkErrorKind::Temporary,
    }
}

fn of_code(code: i32) -> SinkErrorKind {
    match code {
        code if is_temporary(code) => SinkErrorKind::Temporary,
        code if is_of_data(code) => SinkErrorKind::Batch,
        _ => SinkErrorKind::Fatal,
    }
}

/// The server's own words. They name the index and the key, and never a password.
pub(crate) fn words(error: &Error) -> String {
    let concern = |failed: &WriteConcernError| format!("{} ({})", failed.message, failed.code);
    match &*error.kind {
        ErrorKind::Command(failed) if failed.code_name.is_empty() => format!("{} ({})", failed.message, failed.code),
        ErrorKind::Command(failed) => format!("{} ({}, {})", failed.message, failed.code, failed.code_name),
        ErrorKind::Write(WriteFailure::WriteError(failed)) => format!("{} ({})", failed.message, failed.code),
        ErrorKind::Write(WriteFailure::WriteConcernError(failed)) => concern(failed),
        other => other.to_string(),
    }
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
