//! Writes a batch: its rows and its progress in one transaction.

use std::{fmt, marker::PhantomData, sync::Arc};

use actix_batch::{Batch, Trigger};
use actix_batch_pipeline::{
    PendingLetters, Record,
    checkpoint::{Checkpoint, Interval, RunId, Settled},
    sink::{Sink, SinkError, SinkErrorKind, Written},
};
use futures_util::future::join3;
use serde::Serialize;
use tokio_postgres::{Error, error::SqlState, types::ToSql};

use super::{
    Mode, Postgres, copy,
    dead_letters::DeadLetters,
    named, progress,
    rows::{Rows, Way},
    session::{Session, Statements},
};
use crate::{fault::Fault, server::Connection, table::Table};

/// So many rows of a batch are tried alone because the server names them. Then it is halved.
const MOST_APART: usize = 16;

/// Writes records to a table of PostgreSQL; made by [`Postgres`].
pub struct PostgresSink<T> {
    sink: Postgres,
    run: RunId,
    settled: Arc<Settled>,
    /// The connection, while it is known to be good.
    link: Option<Link>,
    records: PhantomData<fn(T)>,
}

struct Link {
    client: Connection,
    table: Table,
    statements: Statements,
    stage: Stage,
    /// What of `settled` this connection has stored.
    stored: Option<Checkpoint>,
    /// The version of it.
    seen: u64,
}

/// The temporary table of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The user may have none.
    Forbidden,
    /// It is made for the first large batch.
    Missing,
    Made,
}

impl<T> PostgresSink<T> {
    pub(super) fn new(sink: Postgres, run: RunId, settled: Arc<Settled>) -> Self {
        Self { sink, run, settled, link: None, records: PhantomData }
    }

    async fn connect(&mut self) -> Result<(), Fault> {
        if self.link.is_some() {
            return Ok(());
        }
        let mut client = self.sink.server.connect().await?;
        if let Some(sql) = &self.sink.create_table {
            let made = progress::one_by_one(&mut client, sql).await;
            made.map_err(|error| Fault::of(&error, "the SQL of `create_table` failed"))?;
        }
        let table = Table::find(&client, &self.sink.table).await?;
        if self.sink.mode == Mode::Upsert {
            if self.sink.key.is_empty() {
                return Err(Fault::fatal(format!("an upsert into {} needs a key: add `.key([…])`", table.name)));
            }
            table.check_key(&self.sink.key)?;
        }
        progress::create(&mut client)
            .await
            .map_err(|error| Fault::of(&error, "the tables of the progress cannot be made"))?;
        if let Some(letters) = DeadLetters::of(&self.sink) {
            let made = letters.create(&mut client).await;
            made.map_err(|error| Fault::of(&error, "the table of the dead letters cannot be made"))?;
        }
        let allowed = copy::is_allowed(&client).await;
        let allowed = allowed.map_err(|error| Fault::of(&error, "the privileges of the user cannot be read"))?;
        let stage = if allowed { Stage::Missing } else { Stage::Forbidden };
        self.link =
            Some(Link { client, table, statements: Statements::default(), stage, stored: None, seen: u64::MAX });
        Ok(())
    }
}

impl<T: Serialize + Send + Sync + 'static> Sink<T> for PostgresSink<T> {
    async fn prepare(&mut self) -> Result<(), SinkError> {
        Ok(self.connect().await?)
    }

    async fn write(&mut self, batch: &Batch<Record<T>>) -> Result<Written, SinkError> {
        let (mut apart, mut refused) = (Vec::new(), Written::all());
        loop {
            let Failure { fault, row } = match self.write_rows(batch, |at| !apart.contains(&at)).await {
                Ok(written) => return Ok(joined(refused, written)),
                Err(failure) => failure,
            };
            let is_batch = fault.kind == SinkErrorKind::Batch;
            match row.filter(|_| is_batch && batch.len() > 1 && apart.len() < MOST_APART) {
                Some(named) => {
                    // The server has named it: if it is refused alone, the others need not be halved to find it.
                    match self.write_rows(batch, |at| at == named).await {
                        Ok(written) => refused = joined(refused, written),
                        Err(Failure { fault, .. }) if fault.kind == SinkErrorKind::Batch => {
                            refused.refuse(named, SinkError::record(fault.message));
                        }
                        Err(Failure { fault, .. }) => return Err(fault.into()),
                    }
                    apart.push(named);
                }
                None if is_batch && batch.len() == 1 => return Err(SinkError::record(fault.message)),
                None => return Err(fault.into()),
            }
        }
    }

    fn show(record: &T) -> Option<String> {
        serde_json::to_string(record).ok()
    }

    /// Stores what has settled since the last batch.
    async fn close(&mut self) -> Result<(), SinkError> {
        let Some(mut link) = self.link.take() else { return Ok(()) };
        let Some(moved) = self.settled.moved_since(&mut link.seen) else { return Ok(()) };
        let failed = |error| Fault::of(&error, "storing the last progress failed");
        let session = Session::begin(&mut link.client, &link.statements).await.map_err(failed)?;
        progress::enter(&session, &self.run, false, &[]).await?;
        let (sink, pipeline, stored) = (&self.sink, &self.run.pipeline, link.stored.as_ref());
        let letters =
            save_settled(&session, sink, pipeline, &self.settled, Some(&moved), stored).await.map_err(failed)?;
        session.commit().await.map_err(failed)?;
        self.settled.dead_letters().acknowledge(&letters);
        Ok(())
    }
}

impl<T: Serialize> PostgresSink<T> {
    /// Writes those rows of a batch that are `wanted`, in one transaction.
    async fn write_rows(
        &mut self,
        batch: &Batch<Record<T>>,
        wanted: impl Fn(usize) -> bool,
    ) -> Result<Written, Failure> {
        self.connect().await?;
        let Some(link) = &mut self.link else { return Err(Fault::temporary("there is no connection").into()) };
        let written = link.write(batch, wanted, &self.sink, &self.run, &self.settled).await;
        if written.as_ref().is_err_and(|failure| failure.fault.kind != SinkErrorKind::Batch) {
            // The next attempt begins with a new connection, which checks everything anew.
            self.link = None;
        }
        written
    }
}

/// What was refused of the same batch by one transaction and by another.
fn joined(mut refused: Written, others: Written) -> Written {
    for (at, error) in others.into_refused() {
        refused.refuse(at, error);
    }
    refused
}

/// Why a transaction failed, and which row of the batch the server names for it.
struct Failure {
    fault: Fault,
    row: Option<usize>,
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self { fault, row: None }
    }
}

impl Link {
    /// Makes the temporary table before the first batch that may need it, and outside its transaction, which may be rolled back.
    async fn make_stage(&mut self, records: usize, sink: &Postgres) -> Result<(), Fault> {
        if self.stage == Stage::Missing && records >= sink.min_copy_rows {
            let made = copy::create(&self.client, &self.table).await;
            made.map_err(|error| Fault::of(&error, "the temporary table for `COPY` cannot be made"))?;
            self.stage = Stage::Made;
        }
        Ok(())
    }

    async fn write<T: Serialize>(
        &mut self,
        batch: &Batch<Record<T>>,
        wanted: impl Fn(usize) -> bool,
        sink: &Postgres,
        run: &RunId,
        settled: &Settled,
    ) -> Result<Written, Failure> {
        self.make_stage(batch.len(), sink).await?;
        let Self { client, table, statements, stage, stored, seen } = self;
        let failed = |error| Fault::of(&error, format!("table {}: storing the progress failed", table.name));
        let session = Session::begin(client, statements).await.map_err(failed)?;
        // The answer of an earlier attempt may have been lost while the server goes on with it: a repeated batch waits for all other writers.
        let is_repeated = batch.attempt() > 1 || matches!(batch.trigger(), Trigger::Retry | Trigger::Split);
        let held = progress::enter(&session, run, is_repeated, &Interval::of_batch(batch)).await?;
        let is_held =
            |at: usize, record: &Record<T>| !wanted(at) || held.iter().any(|held| held.contains(record.position()));
        let rows = Rows::of(batch, is_held, table, sink)?;
        let is_large = rows.cells.len() >= sink.min_copy_rows && *stage == Stage::Made;
        let way = if is_large { Way::Copy } else { Way::Unnest };
        let written = rows.written.iter().map(|at| (batch[*at].position(), batch[*at].sequence()));
        let written = Interval::of(written);
        let mut now = *seen;
        let moved = settled.moved_since(&mut now);
        let sql = rows.sql(way, table, sink);
        let refused = |error| Failure {
            row: named::row(&error, batch, &rows.written, table),
            fault: Fault::of(&error, described(batch, &rows, table, sink)),
        };
        // First of all the rows: whoever waits for a lock of theirs must not hold one of the progress.
        prepare_insert(&session, table, &rows, &sql, way).await.map_err(refused)?;
        let (inserted, added, saved) = join3(
            insert(&session, &rows, &sql, way),
            progress::add(&session, &run.pipeline, &written),
            save_settled(&session, sink, &run.pipeline, settled, moved.as_ref(), stored.as_ref()),
        )
        .await;
        let (changed, letters) = match (inserted, added, saved) {
            (Ok(changed), Ok(()), Ok(letters)) => (changed, letters),
            (Err(error), ..) if !is_consequence(&error) => return Err(refused(error)),
            (_, Err(error), _) | (_, _, Err(error)) if !is_consequence(&error) => return Err(failed(error).into()),
            (Err(error), ..) | (_, Err(error), _) | (_, _, Err(error)) => return Err(failed(error).into()),
        };
        check_changed(changed, batch, table, sink, &rows)?;
        session.commit().await.map_err(failed)?;
        settled.dead_letters().acknowledge(&letters);
        *seen = now;
        *stored = moved.or(stored.take());
        Ok(rows.refused)
    }
}

/// Whether a statement failed only because another one of its transaction had failed before it.
fn is_consequence(error: &Error) -> bool {
    error.code() == Some(&SqlState::IN_FAILED_SQL_TRANSACTION)
}

/// A row that was not changed was dropped silently.
fn check_changed<T: Serialize>(
    changed: u64,
    batch: &Batch<Record<T>>,
    table: &Table,
    sink: &Postgres,
    rows: &Rows,
) -> Result<(), Fault> {
    if changed < rows.cells.len() as u64 && rows.must_all_change(table, sink) {
        let refused = described(batch, rows, table, sink);
        let message = format!("{refused}: a trigger or a rule of the table drops it silently");
        return Err(Fault { kind: SinkErrorKind::Batch, message });
    }
    Ok(())
}

/// Makes everything ready for the statement that writes the rows.
async fn prepare_insert(session: &Session<'_>, table: &Table, rows: &Rows, sql: &str, way: Way) -> Result<(), Error> {
    if rows.cells.is_empty() {
        return Ok(());
    }
    if way == Way::Copy {
        copy::send(session, table, rows).await?;
    }
    session.prepared(sql).await.map(drop)
}

/// Writes the rows, all of them or none, and returns how many of them the server has changed.
async fn insert(session: &Session<'_>, rows: &Rows, sql: &str, way: Way) -> Result<u64, Error> {
    if rows.cells.is_empty() {
        return Ok(0);
    }
    if way == Way::Copy {
        return session.execute(sql, &[]).await;
    }
    let arrays = rows.arrays();
    let arrays: Vec<_> = arrays.iter().map(|array| array as &(dyn ToSql + Sync)).collect();
    session.execute(sql, &arrays).await
}

/// Stores the ranges that have moved, and the dead letters that wait. Those are asked for after the prefix, so that none is missing that it
/// passes.
async fn save_settled(
    session: &Session<'_>,
    sink: &Postgres,
    pipeline: &str,
    settled: &Settled,
    moved: Option<&Checkpoint>,
    stored: Option<&Checkpoint>,
) -> Result<PendingLetters, Error> {
    if let Some(moved) = moved {
        progress::save_moved(session, pipeline, moved, stored).await?;
    }
    let Some(table) = DeadLetters::of(sink) else { return Ok(PendingLetters::default()) };
    let letters = settled.dead_letters().pending();
    if !letters.is_empty() {
        table.add(session, letters.iter()).await?;
    }
    Ok(letters)
}

/// What was written when it failed, for people: the row with its key if there is only one.
fn described<T: Serialize>(batch: &[Record<T>], rows: &Rows, table: &Table, sink: &Postgres) -> String {
    let (table, written) = (&table.name, &rows.written);
    let [at] = **written else { return format!("{} rows of table {table} were refused", written.len()) };
    let row = serde_json::to_value(&*batch[at]).unwrap_or_default();
    let parts = sink.key.iter().filter_map(|column| Some(format!("{column} = {}", row.get(column)?)));
    let key = parts.collect::<Vec<_>>().join(", ");
    let with = if key.is_empty() { String::new() } else { format!(" with {key}") };
    format!("the row of table {table}{with} was refused")
}

impl<T> fmt::Debug for PostgresSink<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresSink").field("sink", &self.sink).field("run", &self.run).finish_non_exhaustive()
    }
}
