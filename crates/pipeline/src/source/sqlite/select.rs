//! The queries of a table that is read by key.

use rusqlite::{Connection, OptionalExtension, Result};

use super::{SqliteKey, bound};
use crate::{
    source::Range,
    sqlite::{Column, list, quoted},
};

/// A table that has been checked, and what is read of it.
#[derive(Debug)]
pub(super) struct Select {
    pub(super) table: String,
    pub(super) key: Vec<Column>,
    pub(super) columns: Vec<String>,
    pub(super) filter: Option<String>,
    pub(super) skip_null_keys: bool,
}

impl Select {
    /// The columns and then the key of up to `limit` rows of a range.
    pub(super) fn rows(&self, range: &Range<SqliteKey>, limit: usize) -> String {
        format!("SELECT {}, {} {} LIMIT {limit}", list(&self.columns), self.key_list(), self.rows_in_order(range))
    }

    /// How many rows a range has.
    pub(super) fn count(&self, connection: &Connection, range: &Range<SqliteKey>) -> Result<u64> {
        let sql = format!("SELECT count(*) {}", self.from(range));
        let count: i64 = connection.query_row(&sql, bound(range), |row| row.get(0))?;
        Ok(count.unsigned_abs())
    }

    /// The key of row number `rows` of a range, from 1.
    pub(super) fn key_after(
        &self,
        connection: &Connection,
        range: &Range<SqliteKey>,
        rows: u64,
    ) -> Result<Option<SqliteKey>> {
        let offset = rows.saturating_sub(1);
        let sql = format!("SELECT {} {} LIMIT 1 OFFSET {offset}", self.key_list(), self.rows_in_order(range));
        let key = connection.query_row(&sql, bound(range), |row| {
            let mut key = SqliteKey::default();
            key.set(row, 0, self.key.len()).map(|()| key)
        });
        key.optional()
    }

    fn rows_in_order(&self, range: &Range<SqliteKey>) -> String {
        format!("{} ORDER BY {}", self.from(range), self.key_list())
    }

    fn from(&self, range: &Range<SqliteKey>) -> String {
        let key = self.key_list();
        let values = |from: usize| {
            let numbers: Vec<_> = (0..self.key.len()).map(|index| format!("?{}", from + index)).collect();
            numbers.join(", ")
        };
        let mut next = 1;
        let mut conditions = Vec::new();
        if range.from.is_some() {
            conditions.push(format!("({key}) > ({})", values(next)));
            next += self.key.len();
        }
        if range.to.is_some() {
            conditions.push(format!("({key}) <= ({})", values(next)));
        }
        if self.skip_null_keys {
            conditions.extend(self.key.iter().map(|column| format!("{} IS NOT NULL", quoted(&column.name))));
        }
        // The filter may end in a comment.
        conditions.extend(self.filter.iter().map(|filter| format!("({filter}\n)")));
        let table = quoted(&self.table);
        if conditions.is_empty() {
            format!("FROM {table}")
        } else {
            format!("FROM {table} WHERE {}", conditions.join(" AND "))
        }
    }

    fn key_list(&self) -> String {
        list(self.key.iter().map(|column| &column.name))
    }
}
