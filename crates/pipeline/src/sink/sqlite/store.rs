//! The checkpoint beside the rows.

use std::{
    fs::{File, OpenOptions},
    future::ready,
    path::{Path, PathBuf},
};

use fs4::{FileExt, TryLockError};
use rusqlite::{Connection, ErrorCode, OptionalExtension, Transaction};

use super::{
    Sqlite,
    dead_letters::DeadLetters,
    prepare::{IN_MEMORY, create_tables, open_database},
    progress::{Progress, VERSION, parse},
};
use crate::{
    checkpoint::{Checkpoint, CheckpointError, CheckpointErrorKind, RunId, Store, StoreFuture},
    dead_letters::DeadRecord,
    sqlite::{Access, Database, is_in_memory, open},
};

/// Keeps the checkpoint in the database of the rows; made by [`Sqlite`].
#[derive(Debug)]
pub struct SqliteStore {
    sink: Sqlite,
    run: RunId,
    database: Option<Database>,
    /// Its lock is the lease, and ends with it.
    lease: Option<File>,
}

const LOAD_PLAN: &str = "SELECT version, plan, identity, cursor_version FROM _pipelines WHERE pipeline = ?1";
const HAS_TABLES: &str = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = '_pipelines')";

impl SqliteStore {
    pub(super) fn new(sink: Sqlite, run: &RunId) -> Self {
        Self { sink, run: run.clone(), database: None, lease: None }
    }

    fn take_lease(&mut self) -> Result<(), CheckpointError> {
        self.check_place()?;
        let path = lock_path(self.sink.path(), &self.run.pipeline);
        let io = |error| {
            let message = format!("the lock file {} cannot be used", path.display());
            CheckpointError::new(CheckpointErrorKind::Io, message).caused_by(error)
        };
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(io)?;
        match FileExt::try_lock(&file) {
            Ok(()) => {
                self.lease = Some(file);
                Ok(())
            }
            Err(TryLockError::Error(error)) => Err(io(error)),
            Err(TryLockError::WouldBlock) => Err(CheckpointError::new(
                CheckpointErrorKind::Leased,
                format!(
                    "another run of pipeline `{}` writes to {}: wait until it ends, or stop it (it locks {})",
                    self.run.pipeline,
                    self.sink.path().display(),
                    path.display()
                ),
            )),
        }
    }

    fn check_place(&self) -> Result<(), CheckpointError> {
        if is_in_memory(self.sink.path()) {
            return Err(CheckpointError::new(CheckpointErrorKind::Io, IN_MEMORY));
        }
        Ok(())
    }

    fn load_checkpoint(&self) -> Result<Option<Checkpoint>, CheckpointError> {
        self.check_place()?;
        if !self.sink.path().exists() {
            return Ok(None);
        }
        // A connection of its own, which creates and changes nothing.
        let mut connection = open(self.sink.path(), Access::Read).map_err(|error| self.failed("opened", error))?;
        let transaction = connection.transaction().map_err(|error| self.failed("opened", error))?;
        let has_tables: bool =
            transaction.query_row(HAS_TABLES, [], |row| row.get(0)).map_err(|error| self.failed("loaded", error))?;
        if has_tables { self.load_from(&transaction) } else { Ok(None) }
    }

    fn load_from(&self, transaction: &Transaction<'_>) -> Result<Option<Checkpoint>, CheckpointError> {
        let failed = |error| self.failed("loaded", error);
        let version = "SELECT version FROM _pipelines WHERE pipeline = ?1";
        let version = transaction.query_row(version, [&self.run.pipeline], |row| row.get::<_, i64>(0)).optional();
        let Some(version) = version.map_err(failed)? else { return Ok(None) };
        self.check_version(version)?;
        let checkpoint = transaction.query_row(LOAD_PLAN, [&self.run.pipeline], |row| {
            let identity = parse(&row.get::<_, String>(2)?, 2)?;
            Ok(Checkpoint {
                plan: row.get(1)?,
                identity,
                cursor_version: row.get(3)?,
                ranges: Vec::new(),
                sink: serde_json::Value::Null,
            })
        });
        let mut checkpoint = checkpoint.map_err(failed)?;
        let progress = Progress::new(transaction, &self.run.pipeline);
        checkpoint.ranges = progress.load_ranges().map_err(failed)?;
        for range in &mut checkpoint.ranges {
            range.beyond = progress.intervals(range.range).map_err(failed)?;
        }
        Ok(Some(checkpoint))
    }

    fn check_version(&self, version: i64) -> Result<(), CheckpointError> {
        if version <= VERSION {
            return Ok(());
        }
        Err(CheckpointError::new(
            CheckpointErrorKind::Future,
            format!(
                "the checkpoint of pipeline `{}` in {} has version {version}, this program reads up to {VERSION}: use the newer program",
                self.run.pipeline,
                self.sink.path().display()
            ),
        ))
    }

    fn change(
        &mut self,
        change: impl Fn(&Connection, &RunId, &Sqlite) -> rusqlite::Result<()>,
    ) -> Result<(), CheckpointError> {
        self.check_place()?;
        let changed = self.changed(change);
        changed.map_err(|error| {
            if let Some(database) = self.database.take() {
                database.discard_after(&error);
            }
            self.failed("stored", error)
        })
    }

    fn changed(
        &mut self,
        change: impl Fn(&Connection, &RunId, &Sqlite) -> rusqlite::Result<()>,
    ) -> rusqlite::Result<()> {
        let database = match &mut self.database {
            Some(database) => database,
            none => {
                let database = none.insert(open_database(&self.sink)?);
                create_tables(&self.sink, &*database.turn()?)?;
                database
            }
        };
        database.transact(|transaction| change(transaction, &self.run, &self.sink).map(Some))?;
        Ok(())
    }

    fn failed(&self, what: &str, error: rusqlite::Error) -> CheckpointError {
        let kind = match (&error, error.sqlite_error_code()) {
            (_, Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt)) => CheckpointErrorKind::Corrupt,
            (_, Some(_)) | (rusqlite::Error::ToSqlConversionFailure(_), None) => CheckpointErrorKind::Io,
            // What stands there is no checkpoint: another type, or text that is not JSON.
            (_, None) => CheckpointErrorKind::Corrupt,
        };
        let place = self.sink.path().display();
        CheckpointError::new(
            kind,
            format!("the checkpoint of pipeline `{}` in {place} cannot be {what}", self.run.pipeline),
        )
        .caused_by(error)
    }
}

/// The lock file of a pipeline, beside the database: the same one for every path that leads there.
fn lock_path(database: &Path, pipeline: &str) -> PathBuf {
    let mut path = database.canonicalize().unwrap_or_else(|_| database.to_owned()).into_os_string();
    path.push(".");
    for c in pipeline.chars() {
        let is_plain = c.is_ascii_alphanumeric() || "-_.".contains(c);
        path.push(if is_plain { c.to_string() } else { format!("%{:X}", u32::from(c)) });
    }
    path.push(".lock");
    path.into()
}

impl Store for SqliteStore {
    fn lease(&mut self) -> StoreFuture<'_, ()> {
        Box::pin(ready(self.take_lease()))
    }

    fn load(&mut self) -> StoreFuture<'_, Option<Checkpoint>> {
        Box::pin(ready(self.load_checkpoint()))
    }

    fn save<'a>(&'a mut self, checkpoint: &'a Checkpoint) -> StoreFuture<'a, ()> {
        Box::pin(ready(self.change(|transaction, run, _| Progress::new(transaction, &run.pipeline).save(checkpoint))))
    }

    /// Forgets the progress and the dead letters. The rows stay.
    fn clear(&mut self) -> StoreFuture<'_, ()> {
        if !self.sink.path().exists() {
            return Box::pin(ready(Ok(())));
        }
        Box::pin(ready(self.change(|transaction, run, sink| {
            for table in ["_pipelines", "_pipeline_settled", "_pipeline_beyond"] {
                transaction.execute(&format!("DELETE FROM {table} WHERE pipeline = ?1"), [&run.pipeline])?;
            }
            DeadLetters::of(sink, transaction).map_or(Ok(()), |letters| letters.clear(run.name()))
        })))
    }

    fn keeps_dead_letters(&self) -> bool {
        self.sink.dead_letters_table.is_some()
    }

    fn save_dead_letters<'a>(&'a mut self, letters: &'a [&'a DeadRecord]) -> StoreFuture<'a, ()> {
        Box::pin(ready(self.change(|transaction, _, sink| {
            DeadLetters::of(sink, transaction).map_or(Ok(()), |table| table.add(letters.iter().copied()))
        })))
    }
}
