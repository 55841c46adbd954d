//! A database, for those who write to it.
//!
//! SQLite has one writer at a time. Several connections would poll for it, and each would drop its page cache whenever another one had written. So the writers of a process share one connection to a database, and take turns.

use std::{
    collections::HashMap,
    fs, io,
    ops::Deref,
    path::Path,
    sync::{Arc, LazyLock, Weak},
    time::Duration,
};

use parking_lot::{Mutex, MutexGuard};
use rusqlite::{Connection, Error, ErrorCode, Result, ffi};

use super::{Access, open};

/// The databases that are open.
static OPEN: LazyLock<Mutex<HashMap<FileId, Weak<Mutex<Connection>>>>> = LazyLock::new(Mutex::default);

/// Tells files apart: by device and number, so that a file that has replaced another one is not taken for it.
#[cfg(unix)]
type FileId = (u64, u64);
#[cfg(not(unix))]
type FileId = std::path::PathBuf;

/// How long a writer waits for those before it. A writer waits for other processes for 5 s at most, and there may be many before it.
const PATIENCE: Duration = Duration::from_secs(120);

/// Statements that a connection keeps prepared: those of the progress, and one for each kind of record.
const STATEMENTS: usize = 64;

/// An open database. Its connection closes with the last of those who write to it.
#[derive(Debug, Clone)]
pub(crate) struct Database(Arc<Mutex<Connection>>);

impl Database {
    /// Opens a database to write to it, unless this process has done so already.
    pub(crate) fn open(path: &Path, access: Access) -> Result<Self> {
        if let Some(known) = Self::known(path) {
            return Ok(known);
        }
        let before = file_id(path).ok();
        let connection = open(path, access)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        let new = Arc::new(Mutex::new(connection));
        let Ok(file) = file_id(path) else { return Ok(Self(new)) };
        if before.is_some_and(|before| before != file) {
            // Which of the two files was opened is not known.
            return Ok(Self(new));
        }
        let mut all = OPEN.lock();
        all.retain(|_, database| database.strong_count() > 0);
        if let Some(known) = all.get(&file).and_then(Weak::upgrade) {
            return Ok(Self(known));
        }
        all.insert(file, Arc::downgrade(&new));
        Ok(Self(new))
    }

    fn known(path: &Path) -> Option<Self> {
        let file = file_id(path).ok()?;
        OPEN.lock().get(&file)?.upgrade().map(Self)
    }

    /// Waits until nobody else of this process is at work on it.
    pub(crate) fn turn(&self) -> Result<Turn<'_>> {
        let Some(connection) = self.0.try_lock_for(PATIENCE) else {
            let message = "another writer of this process does not end its transaction";
            return Err(Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_BUSY), Some(message.to_owned())));
        };
        let turn = Turn(connection);
        turn.end_transaction();
        Ok(turn)
    }

    /// The same, and begins a transaction that writes.
    pub(crate) fn begin(&self) -> Result<Turn<'_>> {
        let turn = self.turn()?;
        turn.execute_batch("BEGIN IMMEDIATE")?;
        Ok(turn)
    }

    /// After this error of its connection, who opens it next gets a new one. Most errors are none of the connection's.
    pub(crate) fn discard_after(&self, error: &Error) {
        let is_of_the_connection = matches!(
            error.sqlite_error_code(),
            Some(
                ErrorCode::SystemIoFailure
                    | ErrorCode::DatabaseCorrupt
                    | ErrorCode::NotADatabase
                    | ErrorCode::CannotOpen
                    | ErrorCode::ReadOnly
            )
        );
        if is_of_the_connection {
            let own = Arc::downgrade(&self.0);
            OPEN.lock().retain(|_, database| !database.ptr_eq(&own));
        }
    }
}

/// The database while nobody else of this process uses it. A transaction that is open in the end is rolled back.
#[derive(Debug)]
pub(crate) struct Turn<'a>(MutexGuard<'a, Connection>);

impl Turn<'_> {
    fn end_transaction(&self) {
        if !self.is_autocommit() {
            // If that fails, it is tried again before the next turn, and no transaction can begin until then.
            let _ = self.execute_batch("ROLLBACK");
        }
    }

    pub(crate) fn commit(self) -> Result<()> {
        self.execute_batch("COMMIT")
    }
}

impl Deref for Turn<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.0
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.end_transaction();
    }
}

// The file is not opened for that: when any of its handles is closed, SQLite loses its POSIX locks.
#[cfg(unix)]
fn file_id(path: &Path) -> io::Result<FileId> {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(path).map(|file| (file.dev(), file.ino()))
}

#[cfg(not(unix))]
fn file_id(path: &Path) -> io::Result<FileId> {
    fs::canonicalize(path)
}

#[cfg(test)]
mod tests {
    use std::{fs, sync::Arc};

    use super::{Access, Database, Error, OPEN, ffi, file_id};

    fn open(path: &std::path::Path) -> Database {
        Database::open(path, Access::Create).unwrap()
    }

    #[test]
    fn a_database_has_one_connection_however_its_path_is_written_and_none_when_nobody_writes_to_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sqlite");
        let (one, other) = (open(&path), open(&folder.path().join("b.sqlite")));
        let same = open(&folder.path().join(".").join("a.sqlite"));
        let turn = one.begin().unwrap();
        assert!(same.0.try_lock().is_none() && other.0.try_lock().is_some());
        turn.commit().unwrap();
        assert!(same.begin().is_ok());
        drop((one, same));
        let _another = open(&folder.path().join("c.sqlite"));
        assert!(!OPEN.lock().contains_key(&file_id(&path).unwrap()));
    }

    #[test]
    fn a_file_that_has_replaced_another_one_is_another_database() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sqlite");
        let one = open(&path);
        fs::remove_file(&path).unwrap();
        assert!(!Arc::ptr_eq(&one.0, &open(&path).0));
    }

    #[test]
    fn what_is_not_committed_is_rolled_back_and_a_database_that_has_failed_is_opened_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sqlite");
        let one = open(&path);
        one.begin().unwrap().execute_batch("CREATE TABLE t (id)").unwrap();
        let turn = one.begin().unwrap();
        assert!(turn.execute_batch("INSERT INTO t VALUES (1)").is_err(), "the table was rolled back");
        drop(turn);
        let error = |code| Error::SqliteFailure(ffi::Error::new(code), None);
        one.discard_after(&error(ffi::SQLITE_BUSY));
        assert!(Arc::ptr_eq(&one.0, &open(&path).0));
        one.discard_after(&error(ffi::SQLITE_IOERR));
        let new = open(&path);
        assert!(!Arc::ptr_eq(&one.0, &new.0) && Arc::ptr_eq(&new.0, &open(&path).0));
    }
}
