//! A table of PostgreSQL as a source, read by its key.

use std::{fmt, marker::PhantomData, time::Duration};

use actix_batch_pipeline::{
    Cursor, Range,
    source::{Identity, Size, Source, SourceError},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::json;
use tokio_postgres::{Client, Row, types::ToSql};

use crate::{
    fault::Fault,
    server::Server,
    table::{Table, list, quoted},
};

mod reader;
mod snapshot;

pub use reader::PostgresReader;
use snapshot::Shared;

/// Reads a table in the order of its key: the columns of a unique index. A run goes on after the key of the last record that has
/// settled, so rows that come later are read if their keys are larger.
///
/// The rows are read as they are when their chunk is read, unless a [`snapshot`](Self::snapshot) is asked for. A row that was committed late
/// under a smaller key – a sequence hands numbers out before the commit – is passed by; [`lag`](Self::lag) leaves room for it.
///
/// ```no_run
/// use actix_batch_pipeline::{prelude::*, sink::JsonLinesFile};
/// use actix_batch_postgres::PostgresTable;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Order { id: i64, total: f64 }
///
/// # actix_rt::System::new().block_on(async {
/// let orders = PostgresTable::<Order>::named("orders").key(["id"]);
/// let report = Pipeline::named("orders").read(orders).write(JsonLinesFile::create("orders.jsonl")).run().await?;
/// # Ok::<(), RunError>(())
/// # }).unwrap();
/// ```
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PostgresTable<T> {
    #[serde(default, rename = "url", skip_serializing)]
    server: Server,
    table: String,
    key: Vec<String>,
    #[serde(default)]
    skip_null_keys: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lag: Option<Lag>,
    #[serde(default)]
    snapshot: bool,
    /// The one of the run at hand.
    #[serde(skip)]
    shared: Shared,
    #[serde(skip)]
    records: PhantomData<fn() -> T>,
}

/// Rows that are younger than this, by this column, are left for the next run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Lag {
    column: String,
    millis: u64,
}

/// The key of a row: the texts of its columns, which PostgreSQL reads back to the same values.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RowKey(Vec<String>);

impl Cursor for RowKey {}

impl RowKey {
    /// For people, and to tell rows apart: a comma within a part of several has a backslash before it.
    fn text(&self) -> String {
        match &*self.0 {
            [only] => only.clone(),
            parts => {
                let parts: Vec<_> = parts.iter().map(|part| part.replace('\\', r"\\").replace(',', r"\,")).collect();
                parts.join(", ")
            }
        }
    }
}

impl<T> PostgresTable<T> {
    /// Reads this table; it may be named with its schema.
    pub fn named(table: impl Into<String>) -> Self {
        let (server, key) = (Server::default(), Vec::new());
        Self {
            server,
            table: table.into(),
            key,
            skip_null_keys: false,
            lag: None,
            snapshot: false,
            shared: Shared::default(),
            records: PhantomData,
        }
    }

    /// The columns to read by. They need a unique index.
    pub fn key<N: Into<String>>(mut self, columns: impl IntoIterator<Item = N>) -> Self {
        self.key = columns.into_iter().map(Into::into).collect();
        self
    }

    /// Where the server is; see [`Postgres::connect`](crate::Postgres::connect).
    pub fn connect(mut self, url: impl Into<String>) -> Self {
        self.server = Server::Url(url.into());
        self
    }

    /// Takes its connections out of this pool; see [`Postgres::pool`](crate::Postgres::pool). A run has one for each reader, and one more for a
    /// [`snapshot`](Self::snapshot).
    #[cfg(feature = "deadpool")]
    pub fn pool(mut self, pool: deadpool_postgres::Pool) -> Self {
        self.server = pool.into();
        self
    }

    /// Passes by rows with a NULL in their key. Default: `false`; such a table is refused.
    pub fn skip_null_keys(mut self, skip: bool) -> Self {
        self.skip_null_keys = skip;
        self
    }

    /// Stops before the first row, by the key, whose `column`, a time, is younger than this: longer than any transaction takes. That row and
    /// those behind it are left for a later run, so none that is committed late is passed by. There is one range then, whatever the number of
    /// readers. A row without a time counts as old. Default: none.
    pub fn lag(mut self, column: impl Into<String>, time: Duration) -> Self {
        self.lag = Some(Lag { column: column.into(), millis: u64::try_from(time.as_millis()).unwrap_or(u64::MAX) });
        self
    }

    /// Reads all ranges of a run from one snapshot: the database as it was when the run began, whatever is inserted, updated or deleted
    /// meanwhile, and however many readers there are. Default: `false`.
    ///
    /// A run that goes on later takes a new snapshot and reads what comes after its cursors: rows that have changed since are read as they are
    /// then, or not at all if they were read before. So is a range that another machine of a cluster reads.
    ///
    /// The run keeps a transaction open for each reader and one for the snapshot. While they are open the server cannot clean up rows
    /// that have been deleted or replaced.
    pub fn snapshot(mut self, snapshot: bool) -> Self {
        self.snapshot = snapshot;
        self
    }

    /// The table, with a key that can be read by.
    async fn find(&self, client: &Client) -> Result<Table, SourceError> {
        let table = Table::find(client, &self.table).await?;
        if self.key.is_empty() {
            return Err(SourceError::config(format!("reading {} needs a key: add `.key([…])`", table.name)));
        }
        table.check_key(&self.key)?;
        for column in &self.key {
            if !table.column(column)?.is_nullable || self.skip_null_keys {
                continue;
            }
            let sql = format!("SELECT EXISTS (SELECT 1 FROM {} WHERE {} IS NULL)", table.name, quoted(column));
            let found = client.query_one(&sql, &[]).await.map_err(|error| self.failed(&error))?;
            if found.get(0) {
                let message = format!(
                    "rows of {} have no `{column}`, which is part of the key: `.skip_null_keys(true)` passes them by",
                    table.name
                );
                return Err(SourceError::config(message));
            }
        }
        if let Some(lag) = &self.lag {
            table.column(&lag.column)?;
        }
        Ok(table)
    }

    fn failed(&self, error: &tokio_postgres::Error) -> SourceError {
        Fault::of(error, format!("reading table `{}` failed", self.table)).into()
    }

    /// The rows of a range, without order: `FROM … WHERE …`, with the texts of `from` and `to` as parameters.
    fn rows(&self, table: &Table, range: &Range<RowKey>) -> Result<String, Fault> {
        let (key, mut wheres) = (list(&self.key), Vec::new());
        wheres.extend(self.key.iter().map(|column| format!("{} IS NOT NULL", quoted(column))));
        let values = |from: usize| -> Result<String, Fault> {
            let cast = |(at, column): (usize, &String)| {
                Ok(format!("${}::text::{}", from + at + 1, table.column(column)?.sql_type))
            };
            Ok(self.key.iter().enumerate().map(cast).collect::<Result<Vec<_>, Fault>>()?.join(", "))
        };
        let mut used = 0;
        if range.from.is_some() {
            wheres.push(format!("ROW({key}) > ROW({})", values(0)?));
            used = self.key.len();
        }
        if range.to.is_some() {
            wheres.push(format!("ROW({key}) <= ROW({})", values(used)?));
        }
        if let Some(Lag { column, millis }) = &self.lag {
            let young = format!("{} >= now() - interval '{millis} milliseconds'", quoted(column));
            let within = wheres.join(" AND ");
            wheres.push(format!(
                "ROW({key}) < ALL (SELECT {key} FROM {} WHERE {within} AND {young} ORDER BY {key} LIMIT 1)",
                table.name
            ));
        }
        Ok(format!("FROM {} AS r WHERE {}", table.name, wheres.join(" AND ")))
    }

    /// The key of a row, as columns of a query.
    fn key_texts(&self) -> String {
        self.key.iter().map(|column| format!("{}::text", quoted(column))).collect::<Vec<_>>().join(", ")
    }

    fn row_key(&self, row: &Row, first: usize) -> RowKey {
        RowKey((0..self.key.len()).map(|at| row.get(first + at)).collect())
    }
}

/// The texts of a range's ends, in the order of [`rows`](PostgresTable::rows).
fn parameters(range: &Range<RowKey>) -> Vec<&(dyn ToSql + Sync)> {
    let ends = range.from.iter().chain(&range.to).flat_map(|key| &key.0);
    ends.map(|text| text as &(dyn ToSql + Sync)).collect()
}

impl<T: DeserializeOwned + Send + Sync + 'static> Source for PostgresTable<T> {
    type Record = T;
    type Cursor = RowKey;
    type Reader = PostgresReader<T>;

    fn describe(&self) -> String {
        format!("postgres:{}/{} by {}", self.server.place(), self.table, self.key.join(", "))
    }

    async fn identity(&self) -> Result<Identity, SourceError> {
        if self.snapshot {
            self.shared.renew(&self.server).await?;
        }
        let client = self.server.connect().await?;
        let table = self.find(&client).await?;
        let types =
            self.key.iter().map(|column| Ok(&*table.column(column)?.sql_type)).collect::<Result<Vec<_>, Fault>>()?;
        let mut identity = json!({ "table": table.name, "key": self.key, "types": types });
        if self.server.is_pool() {
            // The plan does not say which database it is.
            let database: String = client
                .query_one("SELECT current_database()::text", &[])
                .await
                .map_err(|error| self.failed(&error))?
                .get(0);
            identity["database"] = database.into();
        }
        Ok(identity)
    }

    async fn split(&self, from: Option<RowKey>, at_most: usize) -> Result<Vec<Range<RowKey>>, SourceError> {
        if self.lag.is_some() {
            // A range that ends before a young row would be done, and the row would never be read.
            return Ok(vec![Range { from, to: None }]);
        }
        let client = self.server.connect().await?;
        let table = self.find(&client).await?;
        let all = Range { from, to: None };
        let (key, texts) = (list(&self.key), self.key_texts());
        let last_first: Vec<_> = self.key.iter().map(|column| format!("parts.{} DESC", quoted(column))).collect();
        let sql = format!(
            "SELECT DISTINCT ON (part) {texts} FROM (SELECT {key}, ntile({at_most}) OVER (ORDER BY {key}) AS part {}) AS parts \
             ORDER BY part, {}",
            self.rows(&table, &all)?,
            last_first.join(", ")
        );
        let ends = client.query(&sql, &parameters(&all)).await.map_err(|error| self.failed(&error))?;
        let (mut ranges, mut from) = (Vec::new(), all.from);
        // The last range has no end, so that it takes what is added.
        for end in ends.iter().take(ends.len().saturating_sub(1)) {
            let to = self.row_key(end, 0);
            ranges.push(Range { from: from.replace(to.clone()), to: Some(to) });
        }
        ranges.push(Range { from, to: None });
        Ok(ranges)
    }

    async fn open(&self, range: &Range<RowKey>) -> Result<PostgresReader<T>, SourceError> {
        let client = self.server.connect().await?;
        if self.snapshot {
            self.shared.join(&self.server, &client).await?;
        }
        let table = self.find(&client).await?;
        Ok(PostgresReader::new(self.clone(), client, table, range.clone()))
    }

    async fn release(&self) {
        self.shared.release().await;
    }

    async fn size(&self) -> Option<Size> {
        let client = self.server.connect().await.ok()?;
        let sql = "SELECT reltuples::bigint FROM pg_class WHERE oid = to_regclass($1)";
        // What the server's own statistics say; nothing before the first ANALYZE.
        let rows: i64 = client.query_opt(sql, &[&self.table]).await.ok()??.get(0);
        u64::try_from(rows).ok().filter(|rows| *rows > 0).map(Size::Records)
    }
}

impl<T> Clone for PostgresTable<T> {
    fn clone(&self) -> Self {
        Self {
            server: self.server.clone(),
            table: self.table.clone(),
            key: self.key.clone(),
            skip_null_keys: self.skip_null_keys,
            lag: self.lag.clone(),
            snapshot: self.snapshot,
            shared: self.shared.clone(),
            records: PhantomData,
        }
    }
}

impl<T> fmt::Debug for PostgresTable<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresTable")
            .field("server", &self.server)
            .field("table", &self.table)
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::RowKey;

    #[test]
    fn different_keys_have_different_texts_whatever_their_parts_hold() {
        let text = |parts: &[&str]| RowKey(parts.iter().map(|part| (*part).to_owned()).collect()).text();
        assert_eq!(text(&["a, b"]), "a, b");
        assert_eq!(text(&["2013", "UA"]), "2013, UA");
        let alike = [text(&["a, b", "c"]), text(&["a", "b, c"]), text(&["a\\", " b, c"]), text(&["a\\,", "b, c"])];
        assert_eq!(alike.iter().collect::<std::collections::HashSet<_>>().len(), alike.len(), "{alike:?}");
    }
}
