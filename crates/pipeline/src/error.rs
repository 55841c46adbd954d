//! Why a pipeline did not run, or did not come to its end.

use std::{io, path::PathBuf};

use actix_batch::StartError;
use thiserror::Error;

use crate::{
    checkpoint::{CheckpointError, CheckpointErrorKind},
    sink::{SinkError, SinkErrorKind},
    source::{SourceError, SourceErrorKind},
    stage::BrokenStage,
};

/// Why a run failed. What had settled before is in the checkpoint, so the next run goes on there.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RunError {
    /// A setting of the pipeline is refused.
    #[error("`{key}` must be {allowed} (got {value})")]
    Config {
        /// The setting.
        key: &'static str,
        /// Its value.
        value: String,
        /// What is allowed.
        allowed: String,
    },
    /// The pipeline could write records twice, and this was not accepted.
    #[error(
        "{pair}: after a failure, records may be written twice. Use a sink with a key or with transactions, or accept it with \
         `.accept_duplicates(true)`"
    )]
    Duplicates {
        /// Source and sink.
        pair: String,
    },
    /// The source cannot be read.
    #[error("{0}")]
    Source(#[from] SourceError),
    /// The checkpoint cannot be used or stored.
    #[error("{0}")]
    Checkpoint(#[from] CheckpointError),
    /// The sink failed, and no record was to blame.
    #[error("the sink failed: {0}")]
    Sink(#[from] SinkError),
    /// The sink's collector could not be started.
    #[error("the sink's collector cannot start: {0}")]
    Start(#[from] StartError),
    /// More records were rejected than the pipeline allows.
    #[error(
        "{rejected} records were rejected, and `max_rejected` is {limit}: the first of them are in the log{}",
        shown(path.as_ref())
    )]
    TooManyRejected {
        /// How many so far.
        rejected: u64,
        /// The limit.
        limit: u64,
        /// The dead letters, if they are in a file.
        path: Option<PathBuf>,
    },
    /// The dead letters cannot be written.
    #[error("the dead letters in {path} cannot be written: {error}")]
    DeadLetters {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A stage lost or invented records.
    #[error(
        "the records of stage `{stage}` do not add up: {came_in} came in, {accounted_for} were emitted, filtered or rejected"
    )]
    BrokenSum {
        /// The stage.
        stage: String,
        /// Records that it was given.
        came_in: u64,
        /// Records that it accounts for.
        accounted_for: u64,
    },
    /// A definition is not known, or its configuration does not fit it.
    #[error("the definition `{name}` cannot be used: {reason}")]
    Definition {
        /// Its name.
        name: String,
        /// Why.
        reason: String,
    },
    /// A stage panicked on a chunk as a whole: its records cannot be told apart.
    #[error("the stage `{stage}` {panic}")]
    StagePanicked {
        /// The stage.
        stage: String,
        /// What the panic said.
        panic: String,
    },
    /// A part of the run ended before its work did: its thread, its actor or its `System`.
    #[error("{0}")]
    Lost(String),
}

impl RunError {
    /// Whether another run may succeed without anybody's help: the downstream was away, or another run held the lease. What is configured
    /// wrongly, a source that has changed, and too many rejected records stay as they are.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Lost(_) | Self::DeadLetters { .. } => true,
            Self::Sink(error) => error.kind() != SinkErrorKind::Fatal,
            Self::Source(error) => error.kind() == SourceErrorKind::Io,
            Self::Checkpoint(error) => matches!(error.kind(), CheckpointErrorKind::Io | CheckpointErrorKind::Leased),
            _ => false,
        }
    }
}

impl From<BrokenStage> for RunError {
    fn from(broken: BrokenStage) -> Self {
        match broken {
            BrokenStage::Sum { stage, came_in, accounted_for } => Self::BrokenSum { stage, came_in, accounted_for },
            BrokenStage::Panicked { stage, panic } => Self::StagePanicked { stage, panic },
        }
    }
}

fn shown(path: Option<&PathBuf>) -> String {
    path.map(|path| format!(", all of them in {}", path.display())).unwrap_or_default()
}
