//! A table of PostgreSQL as a source, read by its key.

use std::{fmt, marker::PhantomData, time::Duration};

use actix_batch_pipeline::{
    Cursor, Origin, Range,
    source::{Chunk, Identity, More, Reader, Size, Source, SourceError, Unreadable},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::json;
use tokio_postgres::{Client, Row, Statement, types::ToSql};

use crate::{
    fault::Fault,
    server::Server,
    table::{Table, list, quoted},
};

/// Reads a table, or a view, in the order of its key: the columns of a unique index. A run goes on after the key of the last record that has
/// settled, so rows that come later are read if their keys are larger.
///
/// The rows are read as they are when their chunk is read, not from one snapshot. A row that was committed late under a smaller key – a sequence
/// hands numbers out before the commit – is passed by; [`lag`](Self::lag) leaves room for it.
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

impl<T> PostgresTable<T> {
    /// Reads this table; it may be named with its schema.
    pub fn named(table: impl Into<String>) -> Self {
        let (server, key) = (Server::default(), Vec::new());
        Self { server, table: table.into(), key, skip_null_keys: false, lag: None, records: PhantomData }
    }

    /// The columns to read by. They need a unique index.
    pub fn key<N: Into<String>>(mut self, columns: impl IntoIterator<Item = N>) -> Self {
        self.key = columns.into_iter().map(Into::into).collect();
        self
    }

    /// Where the server is; see [`Postgres::connect`](crate::Postgres::connect).
    pub fn connect(mut self, url: impl Into<String>) -> Self {
        self.server = Server::at(url);
        self
    }

    /// Passes by rows with a NULL in their key. Default: `false`; such a table is refused.
    pub fn skip_null_keys(mut self, skip: bool) -> Self {
        self.skip_null_keys = skip;
        self
    }

    /// Leaves rows for a later run whose `column`, a time, is younger than this: longer than any transaction takes. Default: none.
    pub fn lag(mut self, column: impl Into<String>, time: Duration) -> Self {
        self.lag = Some(Lag { column: column.into(), millis: u64::try_from(time.as_millis()).unwrap_or(u64::MAX) });
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
            wheres.push(format!("{} < now() - interval '{millis} milliseconds'", quoted(column)));
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
        let client = self.server.connect().await?;
        let table = self.find(&client).await?;
        let types =
            self.key.iter().map(|column| Ok(&*table.column(column)?.sql_type)).collect::<Result<Vec<_>, Fault>>()?;
        Ok(json!({ "table": table.name, "key": self.key, "types": types }))
    }

    async fn split(&self, from: Option<RowKey>, at_most: usize) -> Result<Vec<Range<RowKey>>, SourceError> {
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
        let table = self.find(&client).await?;
        let own = Self {
            server: self.server.clone(),
            table: self.table.clone(),
            key: self.key.clone(),
            skip_null_keys: self.skip_null_keys,
            lag: self.lag.clone(),
            records: PhantomData,
        };
        Ok(PostgresReader { source: own, client, table, range: range.clone(), statement: None })
    }

    async fn size(&self) -> Option<Size> {
        let client = self.server.connect().await.ok()?;
        let sql = "SELECT reltuples::bigint FROM pg_class WHERE oid = to_regclass($1)";
        // What the server's own statistics say; nothing before the first ANALYZE.
        let rows: i64 = client.query_opt(sql, &[&self.table]).await.ok()??.get(0);
        u64::try_from(rows).ok().filter(|rows| *rows > 0).map(Size::Records)
    }
}

/// Reads a range of a table.
pub struct PostgresReader<T> {
    source: PostgresTable<T>,
    client: Client,
    table: Table,
    /// What is left to read.
    range: Range<RowKey>,
    /// The statement, and whether it is the one that begins after a key.
    statement: Option<(bool, Statement)>,
}

impl<T: DeserializeOwned + 'static> Reader for PostgresReader<T> {
    type Record = T;
    type Cursor = RowKey;

    async fn read(&mut self, chunk: &mut Chunk<T, RowKey>, limit: usize) -> Result<More, SourceError> {
        let Self { source, client, table, range, statement } = self;
        let goes_on = range.from.is_some();
        if statement.as_ref().is_none_or(|(was, _)| *was != goes_on) {
            let (texts, rows) = (source.key_texts(), source.rows(table, range)?);
            // With the table's name: a bare name would mean the text of the key, which is selected under the same name.
            let key = source.key.iter().map(|column| format!("r.{}", quoted(column))).collect::<Vec<_>>().join(", ");
            let limit = parameters(range).len() + 1;
            let sql = format!("SELECT to_jsonb(r)::text, {texts} {rows} ORDER BY {key} LIMIT ${limit}");
            let prepared = client.prepare(&sql).await.map_err(|error| source.failed(&error))?;
            *statement = Some((goes_on, prepared));
        }
        let Some((_, prepared)) = statement else { return Ok(More::No) };
        let most = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut parameters = parameters(range);
        parameters.push(&most);
        let rows = client.query(&*prepared, &parameters).await.map_err(|error| source.failed(&error))?;
        for row in &rows {
            let (text, key): (&str, _) = (row.get(0), source.row_key(row, 1));
            let origin = Origin::Key(format!("{} {}", table.name, key.0.join(", ")).into());
            match serde_json::from_str(text) {
                Ok(record) => chunk.push(record, origin),
                Err(error) => {
                    let text = Some(text.chars().take(4_096).collect());
                    chunk
                        .refuse(Unreadable { reason: format!("the row does not fit its type: {error}"), text }, origin);
                }
            }
        }
        chunk.add_progress(rows.len() as u64);
        if let Some(last) = rows.last() {
            let after = source.row_key(last, 1);
            chunk.set_after(after.clone());
            range.from = Some(after);
        }
        Ok(if rows.len() < limit { More::No } else { More::Yes })
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

impl<T> fmt::Debug for PostgresReader<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresReader").field("source", &self.source).finish_non_exhaustive()
    }
}
