//! The writers of one database take turns within this process.
//!
//! SQLite has one writer at a time, and lets the others poll. Where several ranges of a process go to one database, most of them wait at any
//! moment, so polling costs more than it seems: processor time, and the time until a writer notices that the one before it has ended.

use std::{
    collections::HashMap,
    fs,
    ops::Deref,
    path::{Path, PathBuf},
    sync::{Arc, LazyLock, Weak},
};

use parking_lot::{Mutex, MutexGuard};
use rusqlite::{Connection, Transaction, TransactionBehavior};

/// Of all databases that are written to.
static ALL: LazyLock<Mutex<HashMap<PathBuf, Weak<Mutex<()>>>>> = LazyLock::new(Mutex::default);

/// The turns of the writers of one database.
#[derive(Debug)]
pub(crate) struct Turns(Arc<Mutex<()>>);

impl Turns {
    /// Of the database at this path, which exists.
    pub(crate) fn at(path: &Path) -> Self {
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let mut all = ALL.lock();
        all.retain(|_, turns| turns.strong_count() > 0);
        let known = all.get(&path).and_then(Weak::upgrade);
        let turns = known.unwrap_or_else(|| {
            let new = Arc::default();
            all.insert(path, Arc::downgrade(&new));
            new
        });
        Self(turns)
    }

    /// Waits for the next one, and begins a transaction that writes.
    pub(crate) fn begin<'a>(&'a self, connection: &'a mut Connection) -> rusqlite::Result<Turn<'a>> {
        let taken = self.0.lock();
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        Ok(Turn { transaction, _taken: taken })
    }
}

/// A transaction that writes. It is rolled back unless it is committed.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    // It ends before the turn does.
    transaction: Transaction<'a>,
    _taken: MutexGuard<'a, ()>,
}

impl Turn<'_> {
    pub(crate) fn commit(self) -> rusqlite::Result<()> {
        self.transaction.commit()
    }
}

impl<'a> Deref for Turn<'a> {
    type Target = Transaction<'a>;

    fn deref(&self) -> &Transaction<'a> {
        &self.transaction
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rusqlite::Connection;

    use super::{ALL, Turns};

    #[test]
    fn a_database_has_one_turn_at_a_time_however_its_path_is_written_and_none_is_kept_when_nobody_writes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sqlite");
        fs::write(&path, "").unwrap();
        let (one, mut connection) = (Turns::at(&path), Connection::open(&path).unwrap());
        let same = Turns::at(&folder.path().join(".").join("a.sqlite"));
        let other = Turns::at(&folder.path().join("b.sqlite"));
        let turn = one.begin(&mut connection).unwrap();
        assert!(same.0.try_lock().is_none() && other.0.try_lock().is_some());
        turn.commit().unwrap();
        assert!(same.0.try_lock().is_some());
        drop((one, same));
        let path = fs::canonicalize(path).unwrap();
        drop(Turns::at(&folder.path().join("c.sqlite")));
        assert!(!ALL.lock().contains_key(&path));
    }
}
