//! Rows of a SQLite table, in the order of a key.

use std::{
    fmt,
    marker::PhantomData,
    path::{Path, PathBuf},
};

use rusqlite::{Connection, params_from_iter};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::json;

use super::{Identity, Size, Source, SourceError};
use crate::{
    source::Range,
    sqlite::{Access, is_in_memory, open},
};

mod check;
mod key;
mod reader;
mod row;
mod select;

pub use key::SqliteKey;
pub use reader::SqliteReader;

use check::check;
use select::Select;

/// Reads the rows of a table in the order of a key.
///
/// Each chunk is a query of its own, which goes on after the last key (`WHERE (key) > (?) ORDER BY key LIMIT n`): no transaction stays
/// open, and a stop among rows of one day loses none of the others, because the key must be unique. Rows that are inserted before the key
/// that has been reached are not read by this run, and neither by one that goes on: read by a key that only grows.
///
/// A row becomes a record by the names of its columns. A map or a sequence is read from JSON text, a `bool` from 0 and 1. A row that does
/// not fit is rejected alone.
///
/// It is serde data:
///
/// ```
/// use actix_batch_pipeline::source::{Source, SqliteTable};
///
/// #[derive(serde::Deserialize)]
/// struct Flight {
///     id: u64,
///     carrier: String,
/// }
///
/// # actix_rt::System::new().block_on(async {
/// # let folder = tempfile::tempdir().unwrap();
/// # std::env::set_current_dir(&folder).unwrap();
/// # let sql = "CREATE TABLE flights (id INTEGER PRIMARY KEY, carrier TEXT); INSERT INTO flights VALUES (7, 'UA')";
/// # rusqlite::Connection::open("flights.db").unwrap().execute_batch(sql).unwrap();
/// let flights = SqliteTable::<Flight>::new("flights.db", "flights").key(["id"]).filter("carrier <> 'XX'");
/// assert_eq!(flights.describe(), "sqlite:flights.db/flights by id where carrier <> 'XX'");
/// flights.identity().await.unwrap();
/// # });
/// ```
#[derive(Serialize, Deserialize)]
#[serde(bound = "", deny_unknown_fields)]
pub struct SqliteTable<T> {
    path: PathBuf,
    table: String,
    key: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    columns: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    filter: Option<String>,
    #[serde(default)]
    skip_null_keys: bool,
    #[serde(skip)]
    records: PhantomData<fn() -> T>,
}

impl<T> SqliteTable<T> {
    /// Reads this table. It needs a [`key`](Self::key).
    pub fn new(path: impl Into<PathBuf>, table: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            table: table.into(),
            key: Vec::new(),
            columns: Vec::new(),
            filter: None,
            skip_null_keys: false,
            records: PhantomData,
        }
    }

    /// The columns that say the order of reading and where to go on.
    ///
    /// They need an index in their order, and one that is unique must lie within them: `["day", "id"]` is read by an index on both, and
    /// `id` alone may be unique. They must be `NOT NULL`, and compared byte by byte.
    pub fn key<N: Into<String>>(mut self, columns: impl IntoIterator<Item = N>) -> Self {
        self.key = columns.into_iter().map(Into::into).collect();
        self
    }

    /// The columns that are read. Default: all.
    pub fn columns<N: Into<String>>(mut self, columns: impl IntoIterator<Item = N>) -> Self {
        self.columns = columns.into_iter().map(Into::into).collect();
        self
    }

    /// Reads only rows for which this SQL is true. It is part of the program: never put the input of a user into it.
    pub fn filter(mut self, sql: impl Into<String>) -> Self {
        self.filter = Some(sql.into());
        self
    }

    /// Leaves out rows whose key has a NULL, which have no place in the order. Default: no; a key that may be NULL is refused.
    pub fn skip_null_keys(mut self, skip: bool) -> Self {
        self.skip_null_keys = skip;
        self
    }

    fn connect(&self) -> Result<Connection, SourceError> {
        let path = self.path.display();
        if is_in_memory(&self.path) {
            return Err(SourceError::config("a table is read from a database in a file: one in memory has none"));
        }
        if !self.path.exists() {
            return Err(SourceError::config(format!("the database {path} does not exist")));
        }
        open(&self.path, Access::Read)
            .map_err(|error| SourceError::io(format!("the database {path} cannot be opened")).caused_by(error))
    }

    /// Opens the database and checks the table.
    fn select(&self) -> Result<(Connection, Select), SourceError> {
        let connection = self.connect()?;
        let select = check(self, &connection)?;
        Ok((connection, select))
    }

    fn failed(&self, error: rusqlite::Error) -> SourceError {
        failed(&self.path, &self.table, error)
    }
}

fn failed(path: &Path, table: &str, error: rusqlite::Error) -> SourceError {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
    let message = format!("table `{table}` in {} cannot be read", path.display());
    let is_corrupt = matches!(error.sqlite_error_code(), Some(DatabaseCorrupt | NotADatabase));
    let kind = if is_corrupt { SourceError::corrupt } else { SourceError::io };
    kind(message).caused_by(error)
}

impl<T: DeserializeOwned + Send + Sync + 'static> Source for SqliteTable<T> {
    type Record = T;
    type Cursor = SqliteKey;
    type Reader = SqliteReader<T>;

    fn describe(&self) -> String {
        let filter = self.filter.as_ref().map(|filter| format!(" where {filter}")).unwrap_or_default();
        format!("sqlite:{}/{} by {}{filter}", self.path.display(), self.table, self.key.join(", "))
    }

    async fn identity(&self) -> Result<Identity, SourceError> {
        let (_, select) = self.select()?;
        let key: Vec<_> = select.key.iter().map(|column| json!([column.name, column.declared])).collect();
        Ok(json!({ "table": self.table, "key": key, "filter": self.filter, "skip_null_keys": self.skip_null_keys }))
    }

    async fn split(&self, from: Option<SqliteKey>, at_most: usize) -> Result<Vec<Range<SqliteKey>>, SourceError> {
        let (connection, select) = self.select()?;
        let mut range = Range { from, to: None };
        let rows = select.count(&connection, &range).map_err(|error| self.failed(error))?;
        let step = rows.div_ceil(at_most.max(1) as u64).max(1);
        let mut ranges = Vec::new();
        for _ in 1..rows.div_ceil(step) {
            let key = select.key_after(&connection, &range, step).map_err(|error| self.failed(error))?;
            let Some(key) = key else { break };
            ranges.push(Range { from: range.from.replace(key.clone()), to: Some(key) });
        }
        ranges.push(range);
        Ok(ranges)
    }

    async fn open(&self, range: &Range<SqliteKey>) -> Result<SqliteReader<T>, SourceError> {
        let (connection, select) = self.select()?;
        let mut cursors = range.from.iter().chain(&range.to);
        if let Some(cursor) = cursors.find(|cursor| cursor.len() != self.key.len()) {
            let (has, needs) = (cursor.len(), self.key.len());
            let message = format!("the cursor has {has} values, the key of table `{}` has {needs} columns", self.table);
            return Err(SourceError::changed(format!("{message} ({cursor})")));
        }
        Ok(SqliteReader::new(self.path.clone(), connection, select, range.clone()))
    }

    async fn size(&self) -> Option<Size> {
        let (connection, select) = self.select().ok()?;
        select.count(&connection, &Range::all()).ok().map(Size::Records)
    }
}

fn bound(range: &Range<SqliteKey>) -> impl rusqlite::Params + '_ {
    params_from_iter(range.from.iter().chain(&range.to).flat_map(SqliteKey::values))
}

impl<T> Clone for SqliteTable<T> {
    fn clone(&self) -> Self {
        let Self { path, table, key, columns, filter, skip_null_keys, records } = self;
        Self {
            path: path.clone(),
            table: table.clone(),
            key: key.clone(),
            columns: columns.clone(),
            filter: filter.clone(),
            skip_null_keys: *skip_null_keys,
            records: *records,
        }
    }
}

impl<T> fmt::Debug for SqliteTable<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteTable")
            .field("path", &self.path)
            .field("table", &self.table)
            .field("key", &self.key)
            .field("columns", &self.columns)
            .field("filter", &self.filter)
            .field("skip_null_keys", &self.skip_null_keys)
            .finish_non_exhaustive()
    }
}
