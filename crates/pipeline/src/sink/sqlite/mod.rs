//! Rows of a SQLite table, and the progress beside them.
//!
//! What holds here:
//! - Rows, their intervals and the settled prefix are committed in one transaction, or not at all.
//! - The stored intervals of a range neither overlap nor nest, and none of them holds a record that was refused.
//! - The stored prefix of a range only moves forwards.
//! - A prefix that passes a rejected record is committed with the record's dead letter, if the letters have a table.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use actix_batch::Workers;
use serde::{Deserialize, Serialize};

use super::{Defaults, IntoSink, Promises};
use crate::checkpoint::{RunId, Settled, Store};

mod dead_letters;
mod fault;
mod fields;
mod prepare;
mod progress;
mod row;
mod store;
mod value;
mod writer;

pub use store::SqliteStore;
pub use writer::SqliteSink;

/// Writes records to a table of a SQLite database, together with the pipeline's progress.
///
/// The columns are the names of a record's serde fields; the table decides what it accepts. A row that a constraint refuses is
/// rejected alone. A field that is skipped or `None` is stored as NULL, a map or a sequence as JSON text, a float that is not a number
/// as NULL (SQLite has none), and an unsigned integer beyond 2⁶³ − 1 is refused.
///
/// Records may be maps too. Fields that only later records have are added as they come; a field that a record lacks is stored as NULL.
///
/// Rows and progress stand in one transaction, so each record takes effect once, also when it is only appended. The progress is kept in
/// three tables: `_pipelines`, `_pipeline_settled` and `_pipeline_beyond`. While a pipeline runs, it locks a file beside the database:
/// `flights.db.departures.lock`. All sinks of a process that write to one database share a connection and take turns, and batches that
/// wait for each other are committed together.
///
/// It is serde data:
///
/// ```
/// use actix_batch_pipeline::sink::Sqlite;
///
/// let departures = Sqlite::upsert("flights.db", "departures").key(["day", "carrier", "flight"]);
/// let text = r#"{ "path": "flights.db", "table": "departures", "mode": "upsert", "key": ["day", "carrier", "flight"] }"#;
/// assert_eq!(departures, serde_json::from_str(text).unwrap());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sqlite {
    path: PathBuf,
    table: String,
    mode: Mode,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    key: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    create_table: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    dead_letters_table: Option<String>,
}

/// What happens to a row that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Mode {
    Upsert,
    Append,
}

impl Sqlite {
    /// Inserts rows, and updates those whose [`key`](Self::key) is there already.
    ///
    /// The last record of a key wins, also within a batch.
    pub fn upsert(path: impl Into<PathBuf>, table: impl Into<String>) -> Self {
        Self::new(path.into(), table.into(), Mode::Upsert)
    }

    /// Inserts rows.
    pub fn append(path: impl Into<PathBuf>, table: impl Into<String>) -> Self {
        Self::new(path.into(), table.into(), Mode::Append)
    }

    /// The columns by which [`upsert`](Self::upsert) finds a row. They need a unique index.
    pub fn key<N: Into<String>>(mut self, columns: impl IntoIterator<Item = N>) -> Self {
        self.key = columns.into_iter().map(Into::into).collect();
        self
    }

    /// SQL that is run before the table is looked at: `CREATE TABLE IF NOT EXISTS …`. With it, a missing database is created.
    ///
    /// Default: none. The table must exist.
    pub fn create_table(mut self, sql: impl Into<String>) -> Self {
        self.create_table = Some(sql.into());
        self
    }

    /// Keeps rejected records in this table, too, which is made if it is missing. A letter is committed in the transaction of the progress
    /// that passes its record, so that the table always fits the rows. Its columns are `pipeline`, `range`, `record`, `part`, `rejected_by`,
    /// `origin`, `error`, `attempts` and `value`; a run that begins anew ([`fresh`](crate::PipelineBuilder::fresh)) removes the letters of its
    /// pipeline first.
    ///
    /// Default: none. [`PipelineBuilder::dead_letters`](crate::PipelineBuilder::dead_letters) keeps them in a file.
    pub fn dead_letters_table(mut self, table: impl Into<String>) -> Self {
        self.dead_letters_table = Some(table.into());
        self
    }

    fn new(path: PathBuf, table: String, mode: Mode) -> Self {
        Self { path, table, mode, key: Vec::new(), create_table: None, dead_letters_table: None }
    }

    fn path(&self) -> &Path {
        &self.path
    }
}

impl<T: Serialize + Send + Sync + 'static> IntoSink<T> for Sqlite {
    type Sink = SqliteSink<T>;

    fn describe(&self) -> String {
        let place = format!("sqlite:{}/{}", self.path.display(), self.table);
        match self.mode {
            Mode::Upsert => format!("{place} by {}", self.key.join(", ")),
            Mode::Append => format!("{place}, appended"),
        }
    }

    fn promises(&self) -> Promises {
        Promises::Transactional
    }

    /// Batches of 2,000 on a thread of their own: SQLite has one writer, and blocks the thread that writes.
    fn defaults(&self) -> Defaults {
        Defaults { max_size: 2_000, workers: Workers::threads(1) }
    }

    fn sink(&self, _worker: usize, run: &RunId, settled: &Arc<Settled>) -> SqliteSink<T> {
        SqliteSink::new(self.clone(), run.clone(), Arc::clone(settled))
    }

    fn store(&self, run: &RunId) -> Option<Box<dyn Store>> {
        Some(Box::new(SqliteStore::new(self.clone(), run)))
    }
}
