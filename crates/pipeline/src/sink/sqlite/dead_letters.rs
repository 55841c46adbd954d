//! Rejected records in a table beside the rows.

use rusqlite::{Connection, Result, params};

use super::{Sqlite, progress::integer};
use crate::{dead_letters::DeadRecord, sqlite::quoted};

/// The table of the dead letters, inside a transaction or outside.
#[derive(Debug, Clone, Copy)]
pub(super) struct DeadLetters<'a> {
    connection: &'a Connection,
    table: &'a str,
}

impl<'a> DeadLetters<'a> {
    /// The table of this sink, if it keeps dead letters.
    pub(super) fn of(sink: &'a Sqlite, connection: &'a Connection) -> Option<Self> {
        sink.dead_letters_table.as_deref().map(|table| Self { connection, table })
    }

    /// Makes the table, if it is missing.
    pub(super) fn create(self) -> Result<()> {
        let table = quoted(self.table);
        self.connection.execute_batch(&format!(
            "CREATE TABLE IF NOT EXISTS {table} (pipeline TEXT NOT NULL, \"range\" INTEGER NOT NULL, record INTEGER NOT NULL, \
             part INTEGER NOT NULL, rejected_by TEXT NOT NULL, origin TEXT NOT NULL, error TEXT NOT NULL, attempts INTEGER NOT NULL, \
             value TEXT, PRIMARY KEY (pipeline, \"range\", record, part, rejected_by)) WITHOUT ROWID"
        ))
    }

    /// Adds letters; those that are there already stay as they are.
    pub(super) fn add<'l>(self, letters: impl IntoIterator<Item = &'l DeadRecord>) -> Result<()> {
        let table = quoted(self.table);
        let mut insert = self.connection.prepare_cached(&format!(
            "INSERT INTO {table} (pipeline, \"range\", record, part, rejected_by, origin, error, attempts, value) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT DO NOTHING"
        ))?;
        for letter in letters {
            let DeadRecord { pipeline, position, origin, by, error, attempts, record } = letter;
            let number = integer(position.record)?;
            insert.execute(params![
                pipeline,
                position.range,
                number,
                position.part,
                by,
                origin,
                error,
                attempts,
                record
            ])?;
        }
        Ok(())
    }

    /// Removes the letters of a pipeline.
    pub(super) fn clear(self, pipeline: &str) -> Result<()> {
        let table = quoted(self.table);
        self.connection.execute(&format!("DELETE FROM {table} WHERE pipeline = ?1"), [pipeline]).map(|_| ())
    }
}
