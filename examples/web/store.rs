//! The SQLite file: one `INSERT` stores a whole batch, one `SELECT … IN` reads one.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rusqlite::{Connection, ToSql, Transaction, TransactionBehavior, params_from_iter};

use crate::flight::{Flight, Key};
use crate::rows::{COLUMNS, KEY, SCHEMA, flight, key, key_values, values};

/// SQLite binds at most 32,766 values in one statement: 1,724 rows of 19 columns.
const ROWS_PER_STATEMENT: usize = 1_000;

/// Where the file is. Every worker opens a connection of its own.
#[derive(Clone, Debug)]
pub(crate) struct Database {
    path: PathBuf,
    /// SQLite lets one connection write at a time, and one that finds another writing sleeps and tries again. Standing
    /// in line here costs less.
    turn: Arc<Mutex<()>>,
}

/// One open connection.
#[derive(Debug)]
pub(crate) struct Store {
    connection: Connection,
    database: Database,
    /// Which file the connection has open.
    file: Option<FileId>,
}

/// What became of one flight.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Stored {
    Created(i64),
    AlreadyKnown(i64),
}

/// The ids of one batch, by key.
#[derive(Debug, Default)]
pub(crate) struct Ids {
    created: HashMap<Key, i64>,
    known: HashMap<Key, i64>,
}

impl Database {
    pub(crate) fn at(path: &Path) -> Self {
        Self { path: path.to_owned(), turn: Arc::default() }
    }

    /// Opens the file, and makes it and its table if they are not there.
    pub(crate) fn open(&self) -> rusqlite::Result<Store> {
        let connection = Connection::open(&self.path)?;
        // Another process may be writing: wait for it instead of failing the batch.
        connection.busy_timeout(Duration::from_secs(5))?;
        // WAL lets lookups read while a batch is written. FULL makes every commit wait until it is on the disk, so that
        // a reply never promises more than a power cut keeps.
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.execute_batch(SCHEMA)?;
        Ok(Store { connection, database: self.clone(), file: self.file() })
    }

    /// Which file is there now; `None` if there is none.
    fn file(&self) -> Option<FileId> {
        fs::metadata(&self.path).ok().filter(fs::Metadata::is_file).and_then(|file| file_id(&file))
    }
}

/// What tells a file from another one of the same name, where the system says it.
type FileId = u64;

#[cfg(unix)]
#[expect(clippy::unnecessary_wraps, reason = "other systems do not say it")]
fn file_id(file: &fs::Metadata) -> Option<FileId> {
    Some(std::os::unix::fs::MetadataExt::ino(file))
}

#[cfg(not(unix))]
fn file_id(_: &fs::Metadata) -> Option<FileId> {
    Some(0)
}

impl Store {
    /// Stores the new ones among these flights, in one transaction, and says the ids of all.
    pub(crate) fn insert(&mut self, flights: &[(&Key, &Flight)]) -> rusqlite::Result<Ids> {
        if flights.is_empty() {
            return Ok(Ids::default());
        }
        self.reopen_if_gone()?;
        let turn = Arc::clone(&self.database.turn);
        let _turn = turn.lock();
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut ids = Ids::default();
        for flights in flights.chunks(ROWS_PER_STATEMENT) {
            insert_new(&transaction, flights, &mut ids.created)?;
        }
        // Those that the insert passed over were known before, or stand twice in this batch.
        let known: Vec<_> = flights.iter().map(|(key, _)| *key).filter(|key| !ids.created.contains_key(key)).collect();
        for keys in known.chunks(ROWS_PER_STATEMENT) {
            find_known(&transaction, keys, &mut ids.known)?;
        }
        transaction.commit()?;
        if self.is_gone() {
            return Err(rusqlite::Error::InvalidPath(self.database.path.clone()));
        }
        Ok(ids)
    }

    /// Whether the file was deleted, or another one has its name. What is written to it then is lost when it is closed.
    fn is_gone(&self) -> bool {
        let now = self.database.file();
        now != self.file && (now.is_some() || !self.database.path.exists())
    }

    fn reopen_if_gone(&mut self) -> rusqlite::Result<()> {
        if self.is_gone() {
            *self = self.database.open()?;
        }
        Ok(())
    }

    /// The flights with these ids, in any order, and none for an id that is not there.
    pub(crate) fn flights(&mut self, ids: &[i64]) -> rusqlite::Result<Vec<(i64, Flight)>> {
        self.reopen_if_gone()?;
        let mut flights = Vec::with_capacity(ids.len());
        for ids in ids.chunks(ROWS_PER_STATEMENT) {
            let sql = format!("SELECT id, {COLUMNS} FROM flights WHERE id IN ({})", list("?", ids.len()));
            let mut select = self.connection.prepare_cached(&sql)?;
            for row in select.query_map(params_from_iter(ids), |row| Ok((row.get(0)?, flight(row)?)))? {
                flights.push(row?);
            }
        }
        Ok(flights)
    }

    /// The setting that decides what a commit promises, as SQLite itself reports it.
    pub(crate) fn synchronous(&self) -> rusqlite::Result<&'static str> {
        let level: i64 = self.connection.pragma_query_value(None, "synchronous", |row| row.get(0))?;
        Ok(["OFF", "NORMAL", "FULL", "EXTRA"].get(usize::try_from(level).unwrap_or(usize::MAX)).unwrap_or(&"unknown"))
    }
}

impl Ids {
    /// What became of the flight with this key: the first one to ask created it, the next ones find it known.
    pub(crate) fn take(&mut self, key: &Key) -> Option<Stored> {
        match self.created.remove(key) {
            Some(id) => {
                self.known.insert(key.clone(), id);
                Some(Stored::Created(id))
            }
            None => self.known.get(key).copied().map(Stored::AlreadyKnown),
        }
    }
}

fn insert_new(
    transaction: &Transaction<'_>,
    flights: &[(&Key, &Flight)],
    ids: &mut HashMap<Key, i64>,
) -> rusqlite::Result<()> {
    let rows = list(&format!("({})", list("?", 19)), flights.len());
    let sql = format!("INSERT INTO flights ({COLUMNS}) VALUES {rows} ON CONFLICT DO NOTHING RETURNING id, {KEY}");
    let values = flights.iter().flat_map(|(_, flight)| values(flight));
    read_ids(transaction, &sql, values, ids)
}

fn find_known(transaction: &Transaction<'_>, keys: &[&Key], ids: &mut HashMap<Key, i64>) -> rusqlite::Result<()> {
    let rows = list(&format!("({})", list("?", 7)), keys.len());
    let sql = format!("SELECT id, {KEY} FROM flights WHERE ({KEY}) IN (VALUES {rows})");
    read_ids(transaction, &sql, keys.iter().flat_map(|key| key_values(key)), ids)
}

fn read_ids<'a>(
    transaction: &Transaction<'_>,
    sql: &str,
    values: impl Iterator<Item = &'a dyn ToSql>,
    ids: &mut HashMap<Key, i64>,
) -> rusqlite::Result<()> {
    // Full batches are all of one size, so their statement is nearly always in the cache.
    let mut statement = transaction.prepare_cached(sql)?;
    for row in statement.query_map(params_from_iter(values), |row| Ok((key(row)?, row.get(0)?)))? {
        let (key, id) = row?;
        ids.insert(key, id);
    }
    Ok(())
}

/// `item, item, …`
fn list(item: &str, times: usize) -> String {
    vec![item; times].join(", ")
}
