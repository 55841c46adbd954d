//! Whether a table can be read by a key without losing a row.

use rusqlite::Connection;

use super::{Select, SqliteTable};
use crate::{
    source::{Range, SourceError},
    sqlite::{Column, Table, UniqueIndex, list, listed, quoted},
};

/// Checks the table, its columns and its key.
pub(super) fn check<T>(source: &SqliteTable<T>, connection: &Connection) -> Result<Select, SourceError> {
    let table = find_table(source, connection)?;
    let key = find_key(source, &table)?;
    let columns = find_columns(source, &table)?;
    check_unique(source, &table, connection)?;
    let (filter, skip_null_keys) = (source.filter.clone(), source.skip_null_keys);
    let select = Select { table: table.name, key, columns, filter: None, skip_null_keys };
    check_order(source, &select, connection)?;
    let select = Select { filter, ..select };
    check_filter(source, &select, connection)?;
    Ok(select)
}

fn find_table<T>(source: &SqliteTable<T>, connection: &Connection) -> Result<Table, SourceError> {
    let table = Table::of(connection, &source.table).map_err(|error| source.failed(error))?;
    let missing = || format!("the database {} has no table `{}`", source.path.display(), source.table);
    table.ok_or_else(|| SourceError::config(missing()))
}

fn find_key<T>(source: &SqliteTable<T>, table: &Table) -> Result<Vec<Column>, SourceError> {
    if source.key.is_empty() {
        let message = format!("table `{}` is read by key: say which columns it is", table.name);
        return Err(SourceError::config(message));
    }
    let key: Vec<_> = source.key.iter().map(|name| find_column(table, name).cloned()).collect::<Result<_, _>>()?;
    match key.iter().find(|column| !column.not_null) {
        Some(column) if !source.skip_null_keys => Err(SourceError::config(format!(
            "column `{}` of the key of table `{}` may be NULL, and such a row has no place in the order: declare it NOT NULL, or leave \
             these rows out by `skip_null_keys`",
            column.name, table.name
        ))),
        _ => Ok(key),
    }
}

fn find_columns<T>(source: &SqliteTable<T>, table: &Table) -> Result<Vec<String>, SourceError> {
    if source.columns.is_empty() {
        return Ok(table.columns.iter().map(|column| column.name.clone()).collect());
    }
    // As the program spells them, because they are the names of its fields.
    source.columns.iter().map(|name| find_column(table, name).map(|_| name.clone())).collect()
}

fn find_column<'a>(table: &'a Table, name: &str) -> Result<&'a Column, SourceError> {
    table.column(name).ok_or_else(|| {
        let known = listed(table.columns.iter().map(|column| &column.name));
        SourceError::config(format!("table `{}` has no column `{name}`, only {known}", table.name))
    })
}

/// Among rows of one key, those after a stop would be lost.
fn check_unique<T>(source: &SqliteTable<T>, table: &Table, connection: &Connection) -> Result<(), SourceError> {
    let indexes = table.unique_indexes(connection).map_err(|error| source.failed(error))?;
    let is_key = |name: &Option<String>| {
        name.as_ref().is_some_and(|name| source.key.iter().any(|part| part.eq_ignore_ascii_case(name)))
    };
    if indexes.iter().any(|index: &UniqueIndex| index.is_binary && index.columns.iter().all(is_key)) {
        return Ok(());
    }
    Err(SourceError::config(format!(
        "several rows of table `{}` may have one key {}: end it in a column that is unique, by an index that compares byte by byte; \
         CREATE UNIQUE INDEX … ON {} ({})",
        table.name,
        listed(&source.key),
        quoted(&table.name),
        list(&source.key)
    )))
}

/// Without an index in the order of the key, each chunk would sort the whole table; and a column that is compared in another way than its
/// index has two orders.
fn check_order<T>(source: &SqliteTable<T>, select: &Select, connection: &Connection) -> Result<(), SourceError> {
    let sql = format!("EXPLAIN QUERY PLAN {}", select.rows(&Range::all(), 1));
    let steps = connection.prepare(&sql).and_then(|mut statement| {
        statement.query_map([], |row| row.get::<_, String>(3))?.collect::<rusqlite::Result<Vec<_>>>()
    });
    if steps.map_err(|error| source.failed(error))?.iter().all(|step| !step.contains("TEMP B-TREE")) {
        return Ok(());
    }
    Err(SourceError::config(format!(
        "table `{}` has no index in the order of the key {}, so each chunk would sort it: CREATE UNIQUE INDEX … ON {} ({})",
        select.table,
        listed(&source.key),
        quoted(&select.table),
        list(&source.key)
    )))
}

fn check_filter<T>(source: &SqliteTable<T>, select: &Select, connection: &Connection) -> Result<(), SourceError> {
    let Some(filter) = &select.filter else { return Ok(()) };
    connection.prepare(&select.rows(&Range::all(), 1)).map(drop).map_err(|error| {
        SourceError::config(format!("the filter of table `{}` cannot be used: {filter}", source.table)).caused_by(error)
    })
}
