//! Where rejected records go: a file, or a table beside the rows.
//!
//! A checkpoint passes a rejected record only when its letter is durable, or becomes durable with the checkpoint itself. A run that goes on
//! writes no letter twice.

use std::{
    fs::File,
    io::{self, BufRead, BufReader},
    path::Path,
};

use serde::{Deserialize, Serialize};

use crate::{record::Position, rejection::Rejection};

mod file;
mod letters;
mod queue;

pub(crate) use letters::Letters;
pub use queue::{DeadLetterQueue, PendingLetters};

/// A record that was rejected: one line of a dead-letter file, or one row of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DeadRecord {
    /// The pipeline that rejected it.
    pub pipeline: String,
    /// Where it stands in its source.
    pub position: Position,
    /// Where a person finds it: file, line and byte, or key.
    pub origin: String,
    /// What rejected it: the source, a stage or the sink.
    pub by: String,
    /// Why.
    pub error: String,
    /// How often the sink tried to write it.
    pub attempts: u32,
    /// The record, as far as it can be shown.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub record: Option<String>,
}

impl DeadRecord {
    pub(crate) fn new(pipeline: &str, rejection: &Rejection) -> Self {
        Self {
            pipeline: pipeline.to_owned(),
            position: rejection.position,
            origin: rejection.origin.to_string(),
            by: rejection.by.clone(),
            error: rejection.error.clone(),
            attempts: rejection.attempts,
            record: rejection.record.clone(),
        }
    }
}

/// Reads the letters of a file. A line that is not valid JSON, for example one that was torn by a kill, is skipped.
///
/// # Errors
///
/// If the file cannot be read.
pub fn read_dead_records(path: &Path) -> io::Result<Vec<DeadRecord>> {
    letters(File::open(path)?).collect()
}

fn letters(file: File) -> impl Iterator<Item = io::Result<DeadRecord>> {
    let lines = BufReader::new(file).split(b'\n');
    lines.filter_map(|line| line.map(|line| serde_json::from_slice(&line).ok()).transpose())
}
