//! The fields of the records, and the statement whose parameters they are.

use std::borrow::Cow;

use rusqlite::Statement;
use serde::Serialize;

use super::{
    Mode, Sqlite,
    row::{Field, Row, Scratch},
    value::{BindError, Nowhere},
};
use crate::{
    sink::SinkError,
    sqlite::{Table, list, listed, quoted},
};

/// The fields of the records that have come so far, and the statement whose parameters they are.
#[derive(Debug)]
pub(super) struct Fields {
    mode: Mode,
    key: Vec<String>,
    table: Table,
    known: Vec<Field>,
    sql: String,
    scratch: Scratch,
}

impl Fields {
    pub(super) fn new(sink: &Sqlite, table: Table) -> Self {
        let (mode, key) = (sink.mode, sink.key.clone());
        Self { mode, key, table, known: Vec::new(), sql: String::new(), scratch: Scratch::default() }
    }

    /// The statement. It is empty until the first record has come.
    pub(super) fn sql(&self) -> &str {
        &self.sql
    }

    pub(super) fn table(&self) -> &Table {
        &self.table
    }

    pub(super) fn key(&self) -> &[String] {
        &self.key
    }

    /// Whether a row that is written changes no row of the table if it is there already.
    pub(super) fn may_change_nothing(&self) -> bool {
        self.mode == Mode::Upsert && self.known.iter().all(|field| field.is_key)
    }

    /// Binds a record.
    ///
    /// `false` if it has fields that the statement does not have: [`learn`](Self::learn) them first.
    #[inline]
    pub(super) fn bind<T: Serialize>(&mut self, record: &T, to: &mut Statement<'_>) -> Result<bool, BindError> {
        record.serialize(Row::new(&self.known, to, &mut self.scratch))?;
        Ok(self.scratch.unknown.is_empty())
    }

    /// Adds the fields of this record to the statement.
    ///
    /// A field of the first record that the table does not have is a mistake that concerns all records; a field of a later one, which must
    /// be a map, is that record's own.
    pub(super) fn learn<T: Serialize>(&mut self, record: &T) -> Result<(), SinkError> {
        let is_first = self.known.is_empty();
        record.serialize(Row::new(&self.known, &mut Nowhere, &mut self.scratch)).map_err(|error| match error {
            BindError::NoFields if is_first => {
                SinkError::fatal(self.describe("cannot hold these records")).caused_by(error)
            }
            error => SinkError::record(self.describe("a record was refused")).caused_by(error),
        })?;
        let names = std::mem::take(&mut self.scratch.unknown);
        let is_map = self.scratch.is_map;
        let refuse =
            |everyone: bool, message| if everyone { SinkError::fatal(message) } else { SinkError::record(message) };
        self.check_columns(&names).map_err(|message| refuse(is_first, message))?;
        self.check_key(&names).map_err(|message| refuse(!is_map, message))?;
        self.add(names);
        Ok(())
    }

    /// How many fields are known.
    pub(super) fn count(&self) -> usize {
        self.known.len()
    }

    /// Forgets all but the first fields: what a transaction has learned that came to nothing.
    pub(super) fn keep(&mut self, count: usize) {
        if count < self.known.len() {
            self.known.truncate(count);
            self.sql = if count == 0 { String::new() } else { self.statement() };
        }
    }

    fn check_columns(&self, names: &[Cow<'static, str>]) -> Result<(), String> {
        if self.known.is_empty() && names.is_empty() {
            return Err(self.describe("cannot hold a record without fields"));
        }
        for (index, name) in names.iter().enumerate() {
            let column = self.table.column(name).ok_or_else(|| self.missing_column(name))?;
            if column.generated {
                return Err(self.describe(&format!("computes its column `{name}` itself: rename or skip that field")));
            }
            let known = self.known.iter().map(|field| &field.name).chain(&names[..index]);
            if let Some(other) = known.into_iter().find(|other| other.eq_ignore_ascii_case(name)) {
                return Err(self.describe(&format!(
                    "has one column for the fields `{other}` and `{name}`, because SQLite's names have no case: rename or skip one"
                )));
            }
        }
        Ok(())
    }

    fn missing_column(&self, name: &str) -> String {
        self.describe(&format!(
            "has no column `{name}`: add it, or rename or skip that field; the table has {}",
            listed(self.table.columns.iter().map(|column| &column.name))
        ))
    }

    fn check_key(&self, names: &[Cow<'static, str>]) -> Result<(), String> {
        let known = self.known.iter().map(|field| &field.name).chain(names);
        let known: Vec<_> = known.collect();
        match self.key.iter().find(|part| !known.iter().any(|name| name.eq_ignore_ascii_case(part))) {
            Some(part) => Err(self.describe(&format!("is written by key, and the records have no field `{part}`"))),
            None => Ok(()),
        }
    }

    fn add(&mut self, names: Vec<Cow<'static, str>>) {
        for name in names {
            let is_key = self.key.iter().any(|part| part.eq_ignore_ascii_case(&name));
            self.known.push(Field { name, is_key });
        }
        self.sql = self.statement();
    }

    fn statement(&self) -> String {
        let columns = list(self.known.iter().map(|field| &field.name));
        let values = (1..=self.known.len()).map(|number| format!("?{number}")).collect::<Vec<_>>().join(", ");
        let insert = format!("INSERT INTO {} ({columns}) VALUES ({values})", quoted(&self.table.name));
        match self.mode {
            Mode::Append => insert,
            Mode::Upsert => format!("{insert} ON CONFLICT ({}) {}", list(&self.key), self.update()),
        }
    }

    fn update(&self) -> String {
        let others = self.known.iter().filter(|field| !field.is_key).map(|field| quoted(&field.name));
        let changes: Vec<_> = others.map(|column| format!("{column} = excluded.{column}")).collect();
        if changes.is_empty() { "DO NOTHING".to_owned() } else { format!("DO UPDATE SET {}", changes.join(", ")) }
    }

    fn describe(&self, what: &str) -> String {
        format!("table `{}` {what}", self.table.name)
    }
}
