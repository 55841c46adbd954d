//! A table of PostgreSQL as a sink.

use std::sync::Arc;

use actix_batch::Workers;
use actix_batch_pipeline::{
    checkpoint::{RunId, Settled, Store},
    sink::{Defaults, IntoSink, Promises},
};
use serde::{Deserialize, Serialize};

use crate::server::Server;

mod copy;
mod dead_letters;
mod named;
mod progress;
mod row;
mod rows;
mod session;
mod store;
mod value;
mod writer;

pub use store::PostgresStore;
pub use writer::PostgresSink;

/// Writes records to a table of PostgreSQL 12 or newer. Records are serde structs, and their fields are the table's columns by name.
///
/// Rows, progress and what lies beyond the progress are stored in one transaction, so each record takes effect once, whatever is killed.
/// The table must exist, or [`create_table`](Self::create_table) makes it. The sink makes three more beside it: `_pipelines`, `_pipeline_settled` and `_pipeline_beyond`.
///
/// A batch is one `INSERT … SELECT …`, with the columns' types from the catalogue: from the arrays of an `unnest`, or, for
/// [large batches](Self::min_copy_rows), from a temporary table that `COPY` has filled. Within a batch the last record of a key
/// wins, and keys are written in their order, so that two writers cannot deadlock. A row that is refused – by a constraint, a type, a
/// trigger – is rejected alone: it is the one that the server names, or is found by halving the batch. Deadlocks and lost connections are tried again.
///
/// It is serde data; the URL, which may hold a password, is read and never written.
///
/// ```
/// use actix_batch_postgres::Postgres;
///
/// let departures = Postgres::upsert("departures").key(["day", "carrier", "flight"]);
/// let text = r#"{ "table": "departures", "mode": "upsert", "key": ["day", "carrier", "flight"] }"#;
/// assert_eq!(departures, serde_json::from_str(text).unwrap());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Postgres {
    #[serde(default, rename = "url", skip_serializing)]
    server: Server,
    table: String,
    mode: Mode,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    key: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    create_table: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    dead_letters_table: Option<String>,
    #[serde(default = "default_min_copy_rows", skip_serializing_if = "is_default_min_copy_rows")]
    min_copy_rows: usize,
}

/// About here the two were equal; `unnest` was faster up to 1,000 rows, `COPY` from 5,000 on (README, Measured).
const MIN_COPY_ROWS: usize = 2_000;

fn default_min_copy_rows() -> usize {
    MIN_COPY_ROWS
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
fn is_default_min_copy_rows(rows: &usize) -> bool {
    *rows == MIN_COPY_ROWS
}

/// What happens to a row that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Mode {
    Upsert,
    Append,
    Ignore,
}

impl Postgres {
    /// Inserts rows, and updates those whose [`key`](Self::key) is there already. The table may be named with its schema.
    pub fn upsert(table: impl Into<String>) -> Self {
        Self::new(table.into(), Mode::Upsert)
    }

    /// Inserts rows.
    pub fn append(table: impl Into<String>) -> Self {
        Self::new(table.into(), Mode::Append)
    }

    /// Inserts rows, and leaves those alone that are there already by any unique index.
    pub fn insert_or_ignore(table: impl Into<String>) -> Self {
        Self::new(table.into(), Mode::Ignore)
    }

    /// The columns by which [`upsert`](Self::upsert) finds a row. They need a unique index.
    pub fn key<N: Into<String>>(mut self, columns: impl IntoIterator<Item = N>) -> Self {
        self.key = columns.into_iter().map(Into::into).collect();
        self
    }

    /// SQL that is run before the table is looked at: `CREATE TABLE IF NOT EXISTS …`. Default: none. The table must exist.
    pub fn create_table(mut self, sql: impl Into<String>) -> Self {
        self.create_table = Some(sql.into());
        self
    }

    /// Keeps rejected records in this table, too, which may be named with its schema and is made if it is missing. A letter is committed in
    /// the transaction of the progress that passes its record, so that the table always fits the rows. Its columns are `pipeline`, `range`,
    /// `record`, `part`, `rejected_by`, `origin`, `error`, `attempts` and `value`; a run that begins anew removes the letters of its pipeline
    /// first. Default: none.
    pub fn dead_letters_table(mut self, table: impl Into<String>) -> Self {
        self.dead_letters_table = Some(table.into());
        self
    }

    /// Where the server is: `postgres://user:password@host:port/database`. Default: what the environment says – `DATABASE_URL`, or `PGHOST`,
    /// `PGPORT`, `PGUSER`, `PGPASSWORD` and `PGDATABASE`. `sslmode` and `sslrootcert`, or `PGSSLMODE` and `PGSSLROOTCERT`, ask for encryption,
    /// which needs the feature `tls`.
    pub fn connect(mut self, url: impl Into<String>) -> Self {
        self.server = Server::Url(url.into());
        self
    }

    /// Takes its connections out of this pool, for a program that has one: one for each sink worker and one for the checkpoint. They keep
    /// their sessions, so they are closed in the end and never go back; the pool may make others in their place. What a session was set to
    /// before, also by hooks of the pool, is discarded; what the pool's configuration says stays. Default: none.
    #[cfg(feature = "deadpool")]
    pub fn pool(mut self, pool: deadpool_postgres::Pool) -> Self {
        self.server = pool.into();
        self
    }

    /// Batches of this many rows and more go by `COPY` into a temporary table of the session, and from there by one statement into the
    /// table; smaller ones as the arrays of an `unnest`. What is stored is the same. Default: 2,000. `usize::MAX` makes no temporary table;
    /// nor does a user without the privilege `TEMPORARY`.
    pub fn min_copy_rows(mut self, rows: usize) -> Self {
        self.min_copy_rows = rows;
        self
    }

    fn new(table: String, mode: Mode) -> Self {
        Self {
            server: Server::default(),
            table,
            mode,
            key: Vec::new(),
            create_table: None,
            dead_letters_table: None,
            min_copy_rows: MIN_COPY_ROWS,
        }
    }
}

impl<T: Serialize + Send + Sync + 'static> IntoSink<T> for Postgres {
    type Sink = PostgresSink<T>;

    fn describe(&self) -> String {
        let place = format!("postgres:{}/{}", self.server.place(), self.table);
        match self.mode {
            Mode::Upsert => format!("{place} by {}", self.key.join(", ")),
            Mode::Append => format!("{place}, appended"),
            Mode::Ignore => format!("{place}, new rows only"),
        }
    }

    fn promises(&self) -> Promises {
        Promises::Transactional
    }

    /// Batches of 2,000, two at once.
    fn defaults(&self) -> Defaults {
        // Of two batches at once the later one may be stored first, and then the last record of a key would not win.
        let workers = if self.mode == Mode::Upsert { 1 } else { 2 };
        Defaults { max_size: 2_000, workers: Workers::local(workers) }
    }

    fn sink(&self, _worker: usize, run: &RunId, settled: &Arc<Settled>) -> PostgresSink<T> {
        PostgresSink::new(self.clone(), run.clone(), Arc::clone(settled))
    }

    fn store(&self, run: &RunId) -> Option<Box<dyn Store>> {
        Some(Box::new(PostgresStore::new(self.clone(), run)))
    }
}
