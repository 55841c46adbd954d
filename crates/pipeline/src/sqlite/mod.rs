//! What the SQLite source and the SQLite sink share: opening a database, asking what a table is, and quoting names.

use std::{path::Path, time::Duration};

use rusqlite::{Connection, OpenFlags};

mod database;
mod schema;

pub(crate) use database::{Database, Undone};
pub(crate) use schema::{Column, Table, UniqueIndex, list, listed, quoted};

/// How long a connection waits for another one's transaction.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How often it looks meanwhile.
const BUSY_STEP: Duration = Duration::from_millis(1);

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Reading a database that exists, and changing nothing.
    Read,
    /// Reading and writing a database that exists.
    Write,
    /// The same, and the database is created if it is missing.
    Create,
}

/// Opens a database. A writing connection uses the write-ahead log and syncs each commit.
pub(crate) fn open(path: &Path, access: Access) -> rusqlite::Result<Connection> {
    let create = if access == Access::Create { OpenFlags::SQLITE_OPEN_CREATE } else { OpenFlags::empty() };
    // A reader may write, too: if the last writer was killed in the middle of a transaction, what it left has to be undone first. A file
    // that may not be written is opened for reading.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | create;
    // Without URI names, so a path is always a file.
    let mut connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_handler(Some(wait))?;
    if access == Access::Read {
        connection.pragma_update(None, "query_only", true)?;
    } else {
        // A file system that cannot share memory keeps the rollback journal: slower, and as safe.
        connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
        connection.pragma_update(None, "synchronous", "full")?;
    }
    Ok(connection)
}

/// Waits a little for another connection's transaction; `false` gives up. SQLite's own waits grow to 100 ms, in which a database that
/// several processes write to would do nothing.
fn wait(waits: i32) -> bool {
    let waits = u32::try_from(waits).unwrap_or(u32::MAX);
    std::thread::sleep(BUSY_STEP);
    BUSY_STEP.saturating_mul(waits) < BUSY_TIMEOUT
}

/// Whether the path names no file: the data would end with the connection.
pub(crate) fn is_in_memory(path: &Path) -> bool {
    path.as_os_str().is_empty() || path.as_os_str() == ":memory:"
}
