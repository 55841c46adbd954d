//! The rows of a batch, as texts by column.

use std::collections::{BTreeMap, BTreeSet};

use actix_batch_pipeline::{
    Record,
    sink::{SinkError, Written},
};
use serde::Serialize;
use serde_json::{Map, Value};

use super::{Mode, Postgres};
use crate::{
    fault::Fault,
    table::{Table, list, quoted},
};

/// What is to be written of a batch.
pub(super) struct Rows {
    /// The columns that some record has, in the table's order.
    columns: Vec<String>,
    /// For each column, the texts of the rows.
    pub(super) texts: Vec<Vec<Option<String>>>,
    pub(super) rows: u64,
    /// The positions of the records in the batch that are written.
    pub(super) written: Vec<usize>,
    pub(super) refused: Written,
}

type Values = Map<String, Value>;

impl Rows {
    /// Of these records, all but those that are `held` already.
    pub(super) fn of<T: Serialize>(
        batch: &[Record<T>],
        held: impl Fn(&Record<T>) -> bool,
        table: &Table,
        sink: &Postgres,
    ) -> Result<Self, Fault> {
        let (mut written, mut values, mut refused) = (Vec::new(), Vec::new(), Written::all());
        for (at, record) in batch.iter().enumerate().filter(|(_, record)| !held(record)) {
            match fields(&**record) {
                Ok(fields) => {
                    written.push(at);
                    values.push(fields);
                }
                Err(error) => refused.refuse(at, error),
            }
        }
        let names: BTreeSet<&String> = values.iter().flat_map(Map::keys).collect();
        for name in &names {
            table.column(name)?;
        }
        let columns: Vec<_> =
            table.columns.iter().map(|column| column.name.clone()).filter(|name| names.contains(name)).collect();
        if sink.mode == Mode::Upsert {
            values = last_of_each_key(values, &sink.key);
        }
        let texts =
            columns.iter().map(|column| values.iter().map(|row| row.get(column).and_then(text)).collect()).collect();
        Ok(Self { columns, texts, rows: values.len() as u64, written, refused })
    }

    /// The statement that writes them.
    pub(super) fn sql(&self, table: &Table, sink: &Postgres) -> Result<String, Fault> {
        let (mut arrays, mut casts) = (Vec::new(), Vec::new());
        for (at, name) in self.columns.iter().enumerate() {
            arrays.push(format!("${}::text[]", at + 1));
            casts.push(format!("new.{}::{}", quoted(name), table.column(name)?.sql_type));
        }
        let (columns, arrays, casts) = (list(&self.columns), arrays.join(", "), casts.join(", "));
        let conflict = match sink.mode {
            Mode::Append => String::new(),
            Mode::Ignore => " ON CONFLICT DO NOTHING".to_owned(),
            Mode::Upsert => format!(" ON CONFLICT ({}) {}", list(&sink.key), self.update(sink)),
        };
        let table = &table.name;
        Ok(format!("INSERT INTO {table} ({columns}) SELECT {casts} FROM unnest({arrays}) AS new ({columns}){conflict}"))
    }

    fn update(&self, sink: &Postgres) -> String {
        let others = self.columns.iter().filter(|column| !sink.key.contains(column));
        let sets: Vec<_> = others.map(|column| format!("{} = EXCLUDED.{}", quoted(column), quoted(column))).collect();
        if sets.is_empty() { "DO NOTHING".to_owned() } else { format!("DO UPDATE SET {}", sets.join(", ")) }
    }

    /// Whether the server must say that it has written all of them. A trigger may drop a row silently.
    pub(super) fn must_all_change(&self, sink: &Postgres) -> bool {
        match sink.mode {
            Mode::Append => true,
            Mode::Ignore => false,
            Mode::Upsert => self.columns.iter().any(|column| !sink.key.contains(column)),
        }
    }
}

/// The last row of each key wins. Keys are sorted, so that two writers lock rows in the same order.
fn last_of_each_key(rows: Vec<Values>, key: &[String]) -> Vec<Values> {
    let of =
        |row: &Values| -> Vec<Option<String>> { key.iter().map(|column| row.get(column).and_then(text)).collect() };
    let by_key: BTreeMap<_, _> = rows.into_iter().map(|row| (of(&row), row)).collect();
    by_key.into_values().collect()
}

/// The record's fields, or why it cannot be stored.
fn fields<T: Serialize>(record: &T) -> Result<Values, SinkError> {
    let values = match serde_json::to_value(record) {
        Ok(Value::Object(values)) => values,
        Ok(_) => return Err(SinkError::record("the record is no struct, so it has no columns")),
        Err(error) => return Err(SinkError::record("the record cannot be serialized").caused_by(error)),
    };
    let with_nul = values.iter().find(|(_, value)| text(value).is_some_and(|text| text.contains('\0')));
    match with_nul {
        Some((name, _)) => {
            Err(SinkError::record(format!("`{name}` has a NUL, which PostgreSQL does not store in a text")))
        }
        None => Ok(values),
    }
}

/// A value as PostgreSQL reads it; `None` is NULL.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}
