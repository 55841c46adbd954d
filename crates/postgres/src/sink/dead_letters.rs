//! Rejected records in a table beside the rows.

use actix_batch_pipeline::DeadRecord;
use tokio_postgres::{Client, Error};

use super::{
    Postgres,
    progress::{one_by_one, signed},
    session::Session,
};
use crate::table::quoted;

/// The table of the dead letters.
#[derive(Debug, Clone)]
pub(super) struct DeadLetters {
    /// Quoted, as statements need it.
    table: String,
}

impl DeadLetters {
    /// The table of this sink, if it keeps dead letters.
    pub(super) fn of(sink: &Postgres) -> Option<Self> {
        let table = sink.dead_letters_table.as_deref()?;
        Some(Self { table: table.split('.').map(quoted).collect::<Vec<_>>().join(".") })
    }

    /// Makes the table, if it is missing.
    pub(super) async fn create(&self, client: &mut Client) -> Result<(), Error> {
        let sql = format!(
            "CREATE TABLE IF NOT EXISTS {} (pipeline text NOT NULL, \"range\" bigint NOT NULL, record bigint NOT NULL, \
             part bigint NOT NULL, rejected_by text NOT NULL, origin text NOT NULL, error text NOT NULL, attempts bigint NOT NULL, \
             value text, PRIMARY KEY (pipeline, \"range\", record, part, rejected_by))",
            self.table
        );
        one_by_one(client, &sql).await
    }

    /// Adds letters; those that are there already stay as they are.
    pub(super) async fn add<'l>(
        &self,
        session: &Session<'_>,
        letters: impl Iterator<Item = &'l DeadRecord>,
    ) -> Result<(), Error> {
        let sql = format!(
            "INSERT INTO {} (pipeline, \"range\", record, part, rejected_by, origin, error, attempts, value) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING",
            self.table
        );
        let insert = session.prepared(&sql).await?;
        for letter in letters {
            let position = letter.position;
            let (range, record, part) = (i64::from(position.range), signed(position.record), i64::from(position.part));
            let (by, origin, error) = (text(&letter.by), text(&letter.origin), text(&letter.error));
            let (attempts, value) = (i64::from(letter.attempts), letter.record.as_deref().map(text));
            session
                .transaction()
                .execute(&insert, &[&letter.pipeline, &range, &record, &part, &by, &origin, &error, &attempts, &value])
                .await?;
        }
        Ok(())
    }

    /// Removes the letters of a pipeline.
    pub(super) async fn clear(&self, session: &Session<'_>, pipeline: &str) -> Result<(), Error> {
        session.execute(&format!("DELETE FROM {} WHERE pipeline = $1", self.table), &[&pipeline]).await.map(drop)
    }
}

/// PostgreSQL's text holds no NUL, but a record that was rejected may.
fn text(text: &str) -> String {
    text.replace('\0', "\u{FFFD}")
}
