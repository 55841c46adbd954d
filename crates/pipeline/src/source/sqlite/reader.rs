//! Reads a table, chunk by chunk.

use std::{fmt, fmt::Write, marker::PhantomData, path::PathBuf};

use rusqlite::{Connection, Row};
use serde::de::DeserializeOwned;

use super::{
    bound, failed,
    key::{SqliteKey, write_value},
    row::RowMap,
    select::Select,
};
use crate::{
    record::Origin,
    source::{Chunk, More, Range, Reader, SourceError, Unreadable},
};

/// How much of a row that cannot be read is shown, in bytes.
const SHOWN: usize = 4096;

/// Reads a range of a SQLite table; opened by [`SqliteTable`](super::SqliteTable).
pub struct SqliteReader<T> {
    path: PathBuf,
    connection: Connection,
    select: Select,
    /// What is left to read.
    range: Range<SqliteKey>,
    records: PhantomData<fn() -> T>,
}

impl<T> SqliteReader<T> {
    pub(super) fn new(path: PathBuf, connection: Connection, select: Select, range: Range<SqliteKey>) -> Self {
        Self { path, connection, select, range, records: PhantomData }
    }
}

impl<T: DeserializeOwned> SqliteReader<T> {
    /// Reads up to `limit` rows, and returns how many there were. `last` becomes the key of the last one.
    fn read_rows(
        &self,
        chunk: &mut Chunk<T, SqliteKey>,
        limit: usize,
        last: &mut SqliteKey,
    ) -> rusqlite::Result<usize> {
        let mut statement = self.connection.prepare_cached(&self.select.rows(&self.range, limit))?;
        let mut rows = statement.query(bound(&self.range))?;
        let mut count = 0;
        while let Some(row) = rows.next()? {
            count += 1;
            last.set(row, self.select.columns.len(), self.select.key.len())?;
            let origin = self.origin(last);
            match T::deserialize(RowMap { row, columns: &self.select.columns, next: 0 }) {
                Ok(value) => chunk.push(value, origin),
                Err(error) => {
                    let text = Some(self.show(row));
                    chunk.refuse(Unreadable { reason: error.to_string(), text }, origin);
                }
            }
        }
        Ok(count)
    }
}

impl<T: DeserializeOwned + 'static> Reader for SqliteReader<T> {
    type Record = T;
    type Cursor = SqliteKey;

    async fn read(&mut self, chunk: &mut Chunk<T, SqliteKey>, limit: usize) -> Result<More, SourceError> {
        let mut last = SqliteKey::default();
        let read = self.read_rows(chunk, limit, &mut last);
        let rows = read.map_err(|error| failed(&self.path, &self.select.table, error))?;
        if rows > 0 {
            self.range.from = Some(last);
        }
        if let Some(after) = &self.range.from {
            chunk.set_after(after.clone());
        }
        chunk.add_progress(rows as u64);
        Ok(if rows == limit { More::Yes } else { More::No })
    }
}

impl<T> SqliteReader<T> {
    fn origin(&self, key: &SqliteKey) -> Origin {
        let mut text = String::new();
        for (index, (column, value)) in self.select.key.iter().zip(key.refs()).enumerate() {
            let comma = if index > 0 { ", " } else { "" };
            let _ = write!(text, "{comma}{}=", column.name);
            let _ = write_value(&mut text, value);
        }
        Origin::Key(text.into())
    }

    /// The row for people, up to a length.
    fn show(&self, row: &Row<'_>) -> String {
        let mut text = String::new();
        for (index, column) in self.select.columns.iter().enumerate() {
            let comma = if index > 0 { ", " } else { "" };
            let _ = write!(text, "{comma}{column}=");
            let _ = row.get_ref(index).map(|value| write_value(&mut text, value));
            if text.len() > SHOWN {
                let end = (0..=SHOWN).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
                text.truncate(end);
                break;
            }
        }
        text
    }
}

impl<T> fmt::Debug for SqliteReader<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteReader").field("select", &self.select).field("range", &self.range).finish_non_exhaustive()
    }
}
