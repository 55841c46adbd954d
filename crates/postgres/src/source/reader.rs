//! Reads a range of a table, chunk by chunk.

use std::fmt;

use actix_batch_pipeline::{
    Origin, Range,
    source::{Chunk, More, Reader, SourceError, Unreadable},
};
use serde::de::DeserializeOwned;
use tokio_postgres::Statement;

use super::{PostgresTable, RowKey, parameters};
use crate::{
    server::Connection,
    table::{Table, quoted},
};

/// Reads a range of a table.
pub struct PostgresReader<T> {
    source: PostgresTable<T>,
    client: Connection,
    table: Table,
    /// What is left to read.
    range: Range<RowKey>,
    /// The statement, and whether it is the one that begins after a key.
    statement: Option<(bool, Statement)>,
}

impl<T> PostgresReader<T> {
    pub(super) fn new(source: PostgresTable<T>, client: Connection, table: Table, range: Range<RowKey>) -> Self {
        Self { source, client, table, range, statement: None }
    }
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
            let origin = Origin::Key(format!("{} {}", table.name, key.text()).into());
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

impl<T> fmt::Debug for PostgresReader<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresReader").field("source", &self.source).finish_non_exhaustive()
    }
}
