//! A database, for those who write to it.
//!
//! SQLite has one writer at a time. Several connections would poll for it, and each would drop its page cache whenever another one had
//! written. So the writers of a process share one connection to a database, and take turns. If several wait, those before the last one are
//! committed together, so that the disk is waited for once: if anything goes wrong then, each of them runs its transaction again, alone.

use std::{
    collections::HashMap,
    fs, io,
    ops::Deref,
    path::Path,
    sync::{
        Arc, LazyLock, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::{Condvar, Mutex, MutexGuard};
use rusqlite::{Connection, Error, ErrorCode, Result, ffi};

use super::{Access, open};

#[cfg(test)]
mod tests;

/// The databases that are open.
static OPEN: LazyLock<Mutex<HashMap<FileId, Weak<Writers>>>> = LazyLock::new(Mutex::default);

/// Tells files apart: by device and number, so that a file that has replaced another one is not taken for it.
#[cfg(unix)]
type FileId = (u64, u64);
#[cfg(not(unix))]
type FileId = std::path::PathBuf;

/// How long a writer waits for those before it. A writer waits for other processes for 5 s at most, and there may be many before it.
const PATIENCE: Duration = Duration::from_secs(120);

/// Statements that a connection keeps prepared: those of the progress, and one for each kind of record.
const STATEMENTS: usize = 64;

/// Transactions that are committed together at most: other processes wait meanwhile.
const MOST_TOGETHER: usize = 8;

/// After such a time without a commit, a writer looks whether somebody is still at work on it.
const LOOK_AFTER: Duration = Duration::from_millis(10);

/// An open database. Its connection closes with the last of those who write to it.
#[derive(Debug, Clone)]
pub(crate) struct Database(Arc<Writers>);

/// Why a transaction came to nothing.
#[derive(Debug)]
pub(crate) enum Undone<E> {
    /// It could not begin.
    Begin(Error),
    /// What was to be done in it has failed.
    Work(E),
    Commit(Error),
}

/// What the writers of a process share.
#[derive(Debug)]
struct Writers {
    shared: Mutex<Shared>,
    /// How many wait to begin a transaction.
    waiting: AtomicUsize,
}

#[derive(Debug)]
struct Shared {
    connection: Connection,
    /// The transaction that is open.
    group: Option<Arc<Group>>,
}

/// Transactions that will be committed together.
#[derive(Debug, Default)]
struct Group {
    members: AtomicUsize,
    /// Whether they were committed, once it has ended.
    committed: Mutex<Option<bool>>,
    ended: Condvar,
}

impl Database {
    /// Opens a database to write to it, unless this process has done so already.
    pub(crate) fn open(path: &Path, access: Access) -> Result<Self> {
        if let Some(known) = Self::known(path) {
            return Ok(known);
        }
        let before = file_id(path).ok();
        let connection = open(path, access)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        let shared = Mutex::new(Shared { connection, group: None });
        let new = Arc::new(Writers { shared, waiting: AtomicUsize::new(0) });
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

    /// The connection, once nobody else of this process is at work on it, outside of any transaction.
    pub(crate) fn turn(&self) -> Result<Turn<'_>> {
        let mut turn = self.next_turn()?;
        turn.end_group();
        Ok(turn)
    }

    /// Runs a transaction that writes; nothing of it stays if its work says `None` or fails. What goes wrong beside other transactions is
    /// done once more, alone: it may have been their fault.
    pub(crate) fn transact<O, E>(
        &self,
        mut work: impl FnMut(&Connection) -> Result<Option<O>, E>,
    ) -> Result<Option<O>, Undone<E>> {
        let mut is_undone = false;
        loop {
            let mut turn = self.next_to_write().map_err(Undone::Begin)?;
            if is_undone {
                turn.end_group();
            }
            let group = turn.join().map_err(Undone::Begin)?;
            let output = match work(&turn) {
                Ok(Some(output)) => output,
                // What it has found may be what another one will not commit.
                _ if !group.is_alone() => {
                    is_undone = true;
                    continue;
                }
                Ok(None) => return Ok(None),
                Err(error) => return Err(Undone::Work(error)),
            };
            if !is_undone && self.is_awaited() && group.has_room() && !turn.is_autocommit() {
                turn.leave_open();
                if self.is_committed(&group) {
                    return Ok(Some(output));
                }
            } else {
                let is_alone = group.is_alone();
                match turn.commit() {
                    Ok(()) => return Ok(Some(output)),
                    Err(error) if is_alone => return Err(Undone::Commit(error)),
                    Err(_) => {}
                }
            }
            is_undone = true;
        }
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

    fn next_turn(&self) -> Result<Turn<'_>> {
        let Some(shared) = self.0.shared.try_lock_for(PATIENCE) else {
            let message = "another writer of this process does not end its transaction";
            return Err(Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_BUSY), Some(message.to_owned())));
        };
        let turn = Turn { shared, stays_open: false };
        if turn.shared.group.is_none() {
            turn.roll_back();
        }
        Ok(turn)
    }

    /// Whether at least two writers wait. One of them is left to write while those that were committed prepare their next batches; without it
    /// the connection would be idle.
    fn is_awaited(&self) -> bool {
        self.0.waiting.load(Ordering::Relaxed) > 1
    }

    fn next_to_write(&self) -> Result<Turn<'_>> {
        self.0.waiting.fetch_add(1, Ordering::Relaxed);
        let turn = self.next_turn();
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
        turn
    }

    /// Waits for the end of a group. The next one to write commits it, or leaves that to another one; if none has come, this one does.
    fn is_committed(&self, group: &Arc<Group>) -> bool {
        loop {
            if let Some(committed) = group.wait(LOOK_AFTER) {
                return committed;
            }
            let Some(shared) = self.0.shared.try_lock() else { continue };
            let mut turn = Turn { shared, stays_open: true };
            if turn.shared.group.as_ref().is_some_and(|open| Arc::ptr_eq(open, group)) {
                // If that fails, the group has been told so.
                let _ = turn.commit();
            }
        }
    }
}

impl Group {
    fn has_room(&self) -> bool {
        self.members.load(Ordering::Relaxed) < MOST_TOGETHER
    }

    fn is_alone(&self) -> bool {
        self.members.load(Ordering::Relaxed) == 1
    }

    fn end(&self, committed: bool) {
        *self.committed.lock() = Some(committed);
        self.ended.notify_all();
    }

    /// Whether it was committed, if it ends in this time.
    fn wait(&self, time: Duration) -> Option<bool> {
        let mut committed = self.committed.lock();
        self.ended.wait_while_for(&mut committed, |committed| committed.is_none(), time);
        *committed
    }
}

/// The database while nobody else of this process uses it. A transaction that is open in the end is rolled back.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    shared: MutexGuard<'a, Shared>,
    stays_open: bool,
}

impl Turn<'_> {
    /// Becomes part of the open transaction, or begins one.
    fn join(&mut self) -> Result<Arc<Group>> {
        if self.shared.group.is_none() {
            self.execute_batch("BEGIN IMMEDIATE")?;
        }
        let group = Arc::clone(self.shared.group.get_or_insert_default());
        group.members.fetch_add(1, Ordering::Relaxed);
        Ok(group)
    }

    fn commit(&mut self) -> Result<()> {
        let committed = self.execute_batch("COMMIT");
        self.end(committed.is_ok());
        committed
    }

    /// Commits the transaction of others that is open.
    fn end_group(&mut self) {
        if self.shared.group.is_some() {
            // If that fails, its members are told so, and try again.
            let _ = self.commit();
        }
    }

    /// For the next one to write.
    fn leave_open(mut self) {
        self.stays_open = true;
    }

    fn end(&mut self, committed: bool) {
        if !committed {
            self.roll_back();
        }
        if let Some(group) = self.shared.group.take() {
            group.end(committed);
        }
    }

    fn roll_back(&self) {
        if !self.is_autocommit() {
            // If that fails, it is tried again before the next turn, and no transaction can begin until then.
            let _ = self.execute_batch("ROLLBACK");
        }
    }
}

impl Deref for Turn<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.shared.connection
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if !self.stays_open {
            self.end(false);
        }
    }
}

impl From<Undone<Error>> for Error {
    fn from(undone: Undone<Error>) -> Self {
        let (Undone::Begin(error) | Undone::Work(error) | Undone::Commit(error)) = undone;
        error
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
