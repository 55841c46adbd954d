//! Writes a batch: its rows and its progress in one transaction.

use std::{fmt, marker::PhantomData, sync::Arc};

use actix_batch::{Batch, Trigger};
use rusqlite::{CachedStatement, Connection};
use serde::Serialize;
use serde_json::Value as Json;

use super::{
    Sqlite,
    dead_letters::DeadLetters,
    fault,
    fields::Fields,
    prepare::{Prepared, prepare},
    progress::{Held, Progress},
    value::BindError,
};
use crate::{
    checkpoint::{Checkpoint, Interval, IntervalBuilder, RunId, Settled},
    dead_letters::PendingLetters,
    record::Record,
    sink::{Sink, SinkError, SinkErrorKind, Written},
    sqlite::Undone,
};

/// Writes records to a SQLite table; made by [`Sqlite`].
pub struct SqliteSink<T> {
    sink: Sqlite,
    run: RunId,
    settled: Arc<Settled>,
    /// The database, while it is known to be good.
    link: Option<Link>,
    records: PhantomData<fn(T)>,
}

struct Link {
    prepared: Prepared,
    /// What of `settled` was stored by way of it.
    stored: Option<Checkpoint>,
    /// The version of it.
    seen: u64,
}

impl<T> SqliteSink<T> {
    pub(super) fn new(sink: Sqlite, run: RunId, settled: Arc<Settled>) -> Self {
        Self { sink, run, settled, link: None, records: PhantomData }
    }

    fn connect(&mut self) -> Result<&mut Link, SinkError> {
        match &mut self.link {
            Some(link) => Ok(link),
            none => Ok(none.insert(Link { prepared: prepare(&self.sink)?, stored: None, seen: u64::MAX })),
        }
    }

    /// After an error of the database the next attempt checks everything anew, with a new connection if it was this one's.
    fn disconnect_after<O>(&mut self, result: Result<O, SinkError>) -> Result<O, SinkError> {
        if let Err(error) = &result
            && error.kind() != SinkErrorKind::Batch
            && let Some(link) = self.link.take()
            && let Some(error) = fault::of_sqlite(error)
        {
            link.prepared.database.discard_after(error);
        }
        result
    }
}

impl<T: Serialize + Send + Sync + 'static> Sink<T> for SqliteSink<T> {
    async fn prepare(&mut self) -> Result<(), SinkError> {
        self.connect().map(|_| ())
    }

    async fn write(&mut self, batch: &Batch<Record<T>>) -> Result<Written, SinkError> {
        let written = self.write_batch(batch);
        self.disconnect_after(written)
    }

    fn show(record: &T) -> Option<String> {
        serde_json::to_string(record).ok()
    }

    /// Stores what has settled since the last batch.
    async fn close(&mut self) -> Result<(), SinkError> {
        let Some(mut link) = self.link.take() else { return Ok(()) };
        let saved = link.save_settled(&self.sink, &self.run, &self.settled);
        saved.map_err(|error| fault::of_batch(error, doing(&self.sink, "storing the last progress failed")))
    }
}

impl<T: Serialize> SqliteSink<T> {
    fn write_batch(&mut self, batch: &Batch<Record<T>>) -> Result<Written, SinkError> {
        self.connect()?;
        // Most batches come once. For them it is cheaper to write, then to look whether that was right, and to undo it if not: a worker
        // that was given up may write after its successor.
        let is_repeated = batch.attempt() > 1 || matches!(batch.trigger(), Trigger::Retry | Trigger::Split);
        if !is_repeated && let Some(written) = self.transact(batch, false)? {
            return Ok(written);
        }
        Ok(self.transact(batch, true)?.unwrap_or_default())
    }

    /// Writes a batch in one transaction. `None` if nothing was written, because some of its records are there already and
    /// `skip_held` is not set.
    fn transact(&mut self, batch: &Batch<Record<T>>, skip_held: bool) -> Result<Option<Written>, SinkError> {
        let Self { sink, run, settled, link: Some(Link { prepared, stored, seen }), .. } = self else {
            return Ok(None);
        };
        let Prepared { database, fields, needs_savepoints } = prepared;
        let failed = |error| fault::of_batch(error, doing(sink, "storing the progress failed"));
        // A transaction that runs again writes each record as it did the first time.
        let known = fields.count();
        let done = database.transact(|transaction| {
            fields.keep(known);
            let progress = Progress::new(transaction, &run.pipeline);
            // The prefix comes first: a worker that was given up and writes late finds its records below it.
            let prefix = save_prefix(progress, settled, *seen, stored.as_ref()).map_err(failed)?;
            let letters = save_letters(sink, transaction, settled).map_err(failed)?;

            let held =
                if skip_held { progress.held(&Interval::of_batch(batch)).map_err(failed)? } else { Held::default() };
            let mut rows = Rows::new(transaction, fields, *needs_savepoints);
            rows.write(batch, &held)?;
            let (written, refused) = rows.finish();
            if !skip_held && !is_new(progress, batch, &written, &refused).map_err(failed)? {
                return Ok(None);
            }
            progress.add(written.intervals(), &held).map_err(failed)?;
            Ok(Some((refused, prefix, letters)))
        });
        let done = done.map_err(|undone| match undone {
            Undone::Begin(error) => fault::of_batch(error, doing(sink, "a transaction cannot begin")),
            Undone::Work(error) => error,
            Undone::Commit(error) => fault::of_batch(error, doing(sink, "committing a batch failed")),
        })?;
        let Some((refused, prefix, letters)) = done else {
            fields.keep(known);
            return Ok(None);
        };
        settled.dead_letters().acknowledge(&letters);
        prefix.remember(stored, seen);
        Ok(Some(refused))
    }
}

/// Whether none of a batch's records were there already.
fn is_new<T>(
    progress: Progress<'_>,
    batch: &Batch<Record<T>>,
    written: &IntervalBuilder,
    refused: &Written,
) -> rusqlite::Result<bool> {
    if refused.refused().is_empty() {
        return Ok(progress.held(written.intervals())?.is_empty());
    }
    // A unique key refuses rows that are there already.
    Ok(progress.held(&Interval::of_batch(batch))?.is_empty())
}

impl Link {
    fn save_settled(&mut self, sink: &Sqlite, run: &RunId, settled: &Settled) -> rusqlite::Result<()> {
        let Self { prepared, stored, seen } = self;
        if settled.moved_since(&mut seen.clone()).is_none() {
            return Ok(());
        }
        let done = prepared.database.transact(|transaction| {
            let progress = Progress::new(transaction, &run.pipeline);
            let prefix = save_prefix(progress, settled, *seen, stored.as_ref())?;
            Ok(Some((prefix, save_letters(sink, transaction, settled)?)))
        });
        if let Some((prefix, letters)) = done.map_err(rusqlite::Error::from)? {
            settled.dead_letters().acknowledge(&letters);
            prefix.remember(stored, seen);
        }
        Ok(())
    }
}

fn doing(sink: &Sqlite, what: &str) -> String {
    format!("table `{}` in {}: {what}", sink.table, sink.path().display())
}

/// A prefix that a transaction stores.
struct Prefix {
    /// `None` if it has not moved.
    moved: Option<Checkpoint>,
    seen: u64,
}

impl Prefix {
    /// Remembers it, once the transaction is committed.
    fn remember(self, stored: &mut Option<Checkpoint>, seen: &mut u64) {
        *seen = self.seen;
        *stored = self.moved.or(stored.take());
    }
}

/// Stores the prefix, if it has moved since it was seen.
fn save_prefix(
    progress: Progress<'_>,
    settled: &Settled,
    mut seen: u64,
    stored: Option<&Checkpoint>,
) -> rusqlite::Result<Prefix> {
    let moved = settled.moved_since(&mut seen);
    match (&moved, stored) {
        (None, _) => {}
        (Some(moved), None) => progress.save(moved)?,
        (Some(moved), Some(stored)) => progress.save_moved(moved, stored)?,
    }
    Ok(Prefix { moved, seen })
}

/// Stores the dead letters that wait. They are asked for after the prefix, so that none is missing that it passes.
fn save_letters(sink: &Sqlite, transaction: &Connection, settled: &Settled) -> rusqlite::Result<PendingLetters> {
    let Some(table) = DeadLetters::of(sink, transaction) else { return Ok(PendingLetters::default()) };
    let letters = settled.dead_letters().pending();
    if !letters.is_empty() {
        table.add(letters.iter())?;
    }
    Ok(letters)
}

/// The rows of one batch, inside its transaction.
struct Rows<'a> {
    connection: &'a Connection,
    fields: &'a mut Fields,
    needs_savepoints: bool,
    written: IntervalBuilder,
    refused: Written,
}

impl<'a> Rows<'a> {
    fn new(connection: &'a Connection, fields: &'a mut Fields, needs_savepoints: bool) -> Self {
        let (written, refused) = (IntervalBuilder::default(), Written::all());
        Self { connection, fields, needs_savepoints, written, refused }
    }

    fn finish(self) -> (IntervalBuilder, Written) {
        (self.written, self.refused)
    }

    /// Writes one row after the other, in the order of the batch: so the last record of a key wins, and nothing is gained by sorting,
    /// because SQLite has one writer.
    fn write<T: Serialize>(&mut self, batch: &[Record<T>], held: &Held) -> Result<(), SinkError> {
        let mut at = 0;
        while at < batch.len() {
            if !self.fields.sql().is_empty() {
                let prepared = self.connection.prepare_cached(self.fields.sql());
                let mut statement =
                    prepared.map_err(|error| fault::of_batch(error, self.doing("its statement is wrong")))?;
                at = self.write_known(&mut statement, batch, at, held)?;
            }
            let Some(record) = batch.get(at) else { return Ok(()) };
            if let Err(error) = self.fields.learn(&**record) {
                self.refuse(at, error)?;
                at += 1;
            }
        }
        Ok(())
    }

    /// Writes records until one has a field that the statement does not have, and returns the position of that one.
    fn write_known<T: Serialize>(
        &mut self,
        statement: &mut CachedStatement<'_>,
        batch: &[Record<T>],
        from: usize,
        held: &Held,
    ) -> Result<usize, SinkError> {
        for (at, record) in batch.iter().enumerate().skip(from) {
            if !held.is_empty() && held.contains(record.position()) {
                continue;
            }
            match self.write_row(statement, &**record) {
                Ok(true) => self.written.add(record.position(), record.sequence()),
                Ok(false) => return Ok(at),
                Err(error) => {
                    self.refuse(at, error)?;
                    self.check_transaction()?;
                }
            }
        }
        Ok(batch.len())
    }

    /// `false` if the record has a field that the statement does not have.
    #[inline]
    fn write_row<T: Serialize>(&mut self, statement: &mut CachedStatement<'_>, record: &T) -> Result<bool, SinkError> {
        match self.fields.bind(record, statement) {
            Ok(true) => self.execute(statement, record).map(|()| true),
            Ok(false) => Ok(false),
            Err(error) => Err(self.unbound(record, error)),
        }
    }

    /// Refuses one record, unless the error concerns all of them.
    fn refuse(&mut self, at: usize, error: SinkError) -> Result<(), SinkError> {
        if error.kind() != SinkErrorKind::Record {
            return Err(error);
        }
        self.refused.refuse(at, error);
        Ok(())
    }

    fn execute<T: Serialize>(&self, statement: &mut CachedStatement<'_>, record: &T) -> Result<(), SinkError> {
        let executed =
            if self.needs_savepoints { self.execute_in_savepoint(statement) } else { statement.raw_execute() };
        match executed {
            Ok(0) if !self.fields.may_change_nothing() => Err(SinkError::record(format!(
                "{} was ignored: a trigger or a constraint of the table drops it silently",
                self.row(record)
            ))),
            Ok(_) => Ok(()),
            Err(error) => Err(self.unexecuted(record, error)),
        }
    }

    fn execute_in_savepoint(&self, statement: &mut CachedStatement<'_>) -> rusqlite::Result<usize> {
        self.connection.prepare_cached("SAVEPOINT pipeline_row")?.execute([])?;
        let executed = statement.raw_execute();
        if executed.is_err() && !self.connection.is_autocommit() {
            self.connection.prepare_cached("ROLLBACK TO pipeline_row")?.execute([])?;
        }
        if !self.connection.is_autocommit() {
            self.connection.prepare_cached("RELEASE pipeline_row")?.execute([])?;
        }
        executed
    }

    #[cold]
    fn unbound<T: Serialize>(&self, record: &T, error: BindError) -> SinkError {
        match error {
            BindError::Sqlite(error) => self.unexecuted(record, *error),
            error => SinkError::record(format!("{} cannot be stored", self.row(record))).caused_by(error),
        }
    }

    #[cold]
    fn unexecuted<T: Serialize>(&self, record: &T, error: rusqlite::Error) -> SinkError {
        let kind = match fault::kind(&error) {
            // A function in a constraint or a trigger can fail by the row's values. If the statement is still good, it was the row.
            SinkErrorKind::Fatal if is_of_the_statement(&error) && self.is_still_good() => SinkErrorKind::Record,
            kind => kind,
        };
        SinkError::new(kind, format!("{} was refused", self.row(record))).caused_by(error)
    }

    fn is_still_good(&self) -> bool {
        self.connection.prepare(self.fields.sql()).is_ok()
    }

    /// A table can say that a conflict undoes the whole transaction. Then the records have to come one by one.
    fn check_transaction(&self) -> Result<(), SinkError> {
        if !self.connection.is_autocommit() {
            return Ok(());
        }
        let what = "a refused row undid the whole batch, because a constraint or a trigger says ROLLBACK";
        Err(SinkError::batch(self.doing(what)))
    }

    /// The row, for people: its table and its key.
    fn row<T: Serialize>(&self, record: &T) -> String {
        let table = &self.fields.table().name;
        let Ok(Json::Object(values)) = serde_json::to_value(record) else { return format!("a row of table `{table}`") };
        let is_key = |name: &String| self.fields.key().iter().any(|part| part.eq_ignore_ascii_case(name));
        let key = values.iter().filter(|(name, _)| is_key(name)).map(|(name, value)| format!("`{name}` = {value}"));
        let key = key.collect::<Vec<_>>().join(", ");
        if key.is_empty() {
            format!("a row of table `{table}`")
        } else {
            format!("the row of table `{table}` with {key}")
        }
    }

    fn doing(&self, what: &str) -> String {
        format!("table `{}`: {what}", self.fields.table().name)
    }
}

/// Whether it is SQLite's general error, which has no code of its own.
fn is_of_the_statement(error: &rusqlite::Error) -> bool {
    error.sqlite_error().is_some_and(|error| error.extended_code == rusqlite::ffi::SQLITE_ERROR)
}

impl<T> fmt::Debug for SqliteSink<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteSink").field("sink", &self.sink).field("run", &self.run).finish_non_exhaustive()
    }
}
