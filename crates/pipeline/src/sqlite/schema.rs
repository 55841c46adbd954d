//! What a table is: its columns and its unique indexes.

use rusqlite::{Connection, OptionalExtension, Result, params};

/// A table of the database.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    /// Its name, as the database spells it.
    pub(crate) name: String,
    /// Its columns, in their order.
    pub(crate) columns: Vec<Column>,
}

/// A column of a table.
#[derive(Debug, Clone)]
pub(crate) struct Column {
    /// Its name, as the database spells it.
    pub(crate) name: String,
    /// Its declared type.
    pub(crate) declared: String,
    /// Whether it can hold no NULL.
    pub(crate) not_null: bool,
    /// Whether the table computes it.
    pub(crate) generated: bool,
}

/// A unique index that covers every row of its table.
#[derive(Debug)]
pub(crate) struct UniqueIndex {
    /// Its columns. An expression has no name.
    pub(crate) columns: Vec<Option<String>>,
    /// Whether it compares texts byte by byte.
    pub(crate) is_binary: bool,
}

impl Table {
    /// Looks a table up. `None` if there is none of this name.
    pub(crate) fn of(connection: &Connection, name: &str) -> Result<Option<Self>> {
        let sql = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name = ?1 COLLATE NOCASE";
        let Some(name) = connection.query_row(sql, [name], |row| row.get::<_, String>(0)).optional()? else {
            return Ok(None);
        };
        let rowid_alias = integer_primary_key(connection, &name)?;
        let sql = "SELECT name, type, \"notnull\", hidden FROM pragma_table_xinfo(?1) WHERE hidden <> 1";
        let mut statement = connection.prepare(sql)?;
        let columns = statement.query_map([&name], |row| {
            let name: String = row.get(0)?;
            let not_null = row.get(2)? || rowid_alias.as_ref() == Some(&name);
            Ok(Column { name, declared: row.get(1)?, not_null, generated: row.get::<_, i64>(3)? > 1 })
        })?;
        let columns = columns.collect::<Result<_>>()?;
        Ok(Some(Self { name, columns }))
    }

    /// A column by its name, which SQLite compares without case.
    pub(crate) fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name.eq_ignore_ascii_case(name))
    }

    /// The unique indexes that cover every row. An `INTEGER PRIMARY KEY` counts as one.
    pub(crate) fn unique_indexes(&self, connection: &Connection) -> Result<Vec<UniqueIndex>> {
        let alias = integer_primary_key(connection, &self.name)?;
        let mut indexes: Vec<_> =
            alias.into_iter().map(|name| UniqueIndex { columns: vec![Some(name)], is_binary: true }).collect();
        let sql = "SELECT name FROM pragma_index_list(?1) WHERE \"unique\" AND NOT partial";
        let mut statement = connection.prepare(sql)?;
        for name in statement.query_map([&self.name], |row| row.get::<_, String>(0))? {
            indexes.push(unique_index(connection, &name?)?);
        }
        Ok(indexes)
    }
}

fn unique_index(connection: &Connection, name: &str) -> Result<UniqueIndex> {
    let mut statement = connection.prepare("SELECT name, coll FROM pragma_index_xinfo(?1) WHERE key")?;
    let parts = statement.query_map([name], |row| Ok((row.get(0)?, row.get::<_, Option<String>>(1)?)))?;
    let (columns, collations): (Vec<_>, Vec<_>) = parts.collect::<Result<Vec<_>>>()?.into_iter().unzip();
    let is_binary = collations.iter().flatten().all(|collation| collation.eq_ignore_ascii_case("BINARY"));
    Ok(UniqueIndex { columns, is_binary })
}

/// The column that is another name of the rowid: the only primary key that has no index of its own.
fn integer_primary_key(connection: &Connection, table: &str) -> Result<Option<String>> {
    let sql = "SELECT name FROM pragma_table_info(?1) WHERE pk \
               AND NOT EXISTS (SELECT 1 FROM pragma_index_list(?1) WHERE origin = 'pk')";
    connection.query_row(sql, params![table], |row| row.get(0)).optional()
}

/// A name as SQL: in quotes.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Names as SQL: in quotes, with commas.
pub(crate) fn list<N: AsRef<str>>(names: impl IntoIterator<Item = N>) -> String {
    names.into_iter().map(|name| quoted(name.as_ref())).collect::<Vec<_>>().join(", ")
}

/// Names for people: in back-quotes, with commas.
pub(crate) fn listed<N: AsRef<str>>(names: impl IntoIterator<Item = N>) -> String {
    names.into_iter().map(|name| format!("`{}`", name.as_ref())).collect::<Vec<_>>().join(", ")
}
