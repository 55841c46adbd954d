//! Opens the database, and checks what can be checked before the first record.

use rusqlite::Connection;

use super::{Mode, Sqlite, dead_letters::DeadLetters, fault, fields::Fields, progress};
use crate::{
    sink::SinkError,
    sqlite::{Access, Database, Table, is_in_memory, list, listed, open, quoted},
};

/// An open database whose table fits the sink.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) database: Database,
    pub(super) fields: Fields,
    /// Whether a row that fails can leave something behind, so that each row needs a savepoint.
    pub(super) needs_savepoints: bool,
}

/// Opens the database for a sink.
pub(super) fn prepare(sink: &Sqlite) -> Result<Prepared, SinkError> {
    check_settings(sink)?;
    let database = connect(sink)?;
    let (fields, needs_savepoints) = check_tables(sink, &database)?;
    Ok(Prepared { database, fields, needs_savepoints })
}

fn check_tables(sink: &Sqlite, database: &Database) -> Result<(Fields, bool), SinkError> {
    let waiting = || format!("the database {} cannot be used", sink.path().display());
    let turn = database.turn().map_err(|error| fault::of_batch(error, waiting()))?;
    create_table(sink)?;
    let table = find_table(sink, &turn)?;
    check_key(sink, &table, &turn)?;
    let doing = || format!("the tables of the progress cannot be made in {}", sink.path().display());
    create_tables(sink, &turn).map_err(|error| fault::of_batch(error, doing()))?;
    let needs_savepoints = can_fail_halfway(&turn).map_err(|error| fault::of_batch(error, doing()))?;
    Ok((Fields::new(sink, table), needs_savepoints))
}

/// Makes the tables beside the rows, if they are missing.
pub(super) fn create_tables(sink: &Sqlite, connection: &Connection) -> rusqlite::Result<()> {
    progress::create(connection)?;
    DeadLetters::of(sink, connection).map_or(Ok(()), DeadLetters::create)
}

/// Opens the database of a sink. It is created if the sink creates its table.
pub(super) fn open_database(sink: &Sqlite) -> rusqlite::Result<Database> {
    Database::open(sink.path(), if sink.create_table.is_some() { Access::Create } else { Access::Write })
}

/// What is wrong with a database that ends with its connection.
pub(super) const IN_MEMORY: &str =
    "a pipeline needs a database in a file: in memory, the rows would end with the sink's connection";

fn check_settings(sink: &Sqlite) -> Result<(), SinkError> {
    if is_in_memory(sink.path()) {
        return Err(SinkError::fatal(IN_MEMORY));
    }
    match (sink.mode, sink.key.is_empty()) {
        (Mode::Upsert, true) => Err(SinkError::fatal(format!("an upsert into table `{}` needs a key", sink.table))),
        (Mode::Append, false) => {
            Err(SinkError::fatal(format!("appending to table `{}` uses no key: remove it, or upsert", sink.table)))
        }
        _ => Ok(()),
    }
}

fn connect(sink: &Sqlite) -> Result<Database, SinkError> {
    open_database(sink).map_err(|error| {
        let path = sink.path();
        let hint = if path.exists() { "" } else { ": the file does not exist; create it, or set `create_table`" };
        fault::of_batch(error, format!("the database {} cannot be opened{hint}", path.display()))
    })
}

/// By a connection of its own, so that whatever the user's SQL sets holds for nobody else.
fn create_table(sink: &Sqlite) -> Result<(), SinkError> {
    let Some(sql) = &sink.create_table else { return Ok(()) };
    let made = open(sink.path(), Access::Create).and_then(|connection| connection.execute_batch(sql));
    made.map_err(|error| fault::of_batch(error, format!("`create_table` of table `{}` failed", sink.table)))
}

fn find_table(sink: &Sqlite, connection: &Connection) -> Result<Table, SinkError> {
    let failed = |error| fault::of_batch(error, format!("table `{}` cannot be looked at", sink.table));
    Table::of(connection, &sink.table).map_err(failed)?.ok_or_else(|| {
        SinkError::fatal(format!(
            "the database {} has no table `{}`: create it, or set `create_table`",
            sink.path().display(),
            sink.table
        ))
    })
}

/// Lets SQLite itself say whether the key has a unique index: it compares collations and expressions too.
fn check_key(sink: &Sqlite, table: &Table, connection: &Connection) -> Result<(), SinkError> {
    let name = &table.name;
    if let Some(part) = sink.key.iter().find(|part| table.column(part).is_none()) {
        return Err(SinkError::fatal(format!("table `{name}` has no column `{part}`, which is part of the key")));
    }
    if sink.key.is_empty() {
        return Ok(());
    }
    let (table, key) = (quoted(name), list(&sink.key));
    let values = vec!["NULL"; sink.key.len()].join(", ");
    let probe = format!("INSERT INTO {table} ({key}) VALUES ({values}) ON CONFLICT ({key}) DO NOTHING");
    let Err(error) = connection.prepare(&probe).map(drop) else { return Ok(()) };
    let message = format!(
        "table `{name}` has no unique index on its key {}: CREATE UNIQUE INDEX … ON {table} ({key})",
        listed(&sink.key)
    );
    Err(fault::of_batch(error, message))
}

/// A failing statement undoes all that it has done, unless a trigger or a constraint says FAIL.
fn can_fail_halfway(connection: &Connection) -> rusqlite::Result<bool> {
    let sql = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'trigger' AND upper(sql) LIKE '%FAIL%')";
    connection.query_row(sql, [], |row| row.get(0))
}
