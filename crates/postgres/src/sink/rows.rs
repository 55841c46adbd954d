//! The rows of a batch, as an array for each column.

use std::collections::BTreeMap;

use actix_batch_pipeline::{
    Record,
    sink::{SinkError, Written},
};
use serde::Serialize;
use serde_json::Value;

use super::{Mode, Postgres};
use crate::{
    fault::Fault,
    form::{Array, Cell},
    table::{Table, list, quoted},
};

/// What is to be written of a batch.
pub(super) struct Rows {
    /// The columns that some record has, by their places in the table.
    columns: Vec<usize>,
    /// For each of them, the values of the rows.
    pub(super) arrays: Vec<Array>,
    pub(super) count: u64,
    /// The positions of the records in the batch that are written.
    pub(super) written: Vec<usize>,
    pub(super) refused: Written,
}

/// Why a record does not become a row.
enum Misfit {
    /// It is this record's own fault.
    Record(SinkError),
    /// No record of this type can be stored.
    Table(Fault),
}

impl Rows {
    /// Of these records, all but those that are `held` already.
    pub(super) fn of<T: Serialize>(
        batch: &[Record<T>],
        held: impl Fn(&Record<T>) -> bool,
        table: &Table,
        sink: &Postgres,
    ) -> Result<Self, Fault> {
        let (mut written, mut refused) = (Vec::new(), Written::all());
        let mut rows: Vec<Vec<Cell>> = Vec::with_capacity(batch.len());
        let mut is_used = vec![false; table.columns.len()];
        for (at, record) in batch.iter().enumerate().filter(|(_, record)| !held(record)) {
            match row(&**record, table, &mut is_used) {
                Ok(row) => {
                    written.push(at);
                    rows.push(row);
                }
                Err(Misfit::Record(error)) => refused.refuse(at, error),
                Err(Misfit::Table(fault)) => return Err(fault),
            }
        }
        let columns: Vec<_> = (0..is_used.len()).filter(|column| is_used[*column]).collect();
        refuse_nulls(&mut rows, &mut written, &mut refused, &columns, table);
        if sink.mode == Mode::Upsert {
            let key = sink.key.iter().filter_map(|part| table.columns.iter().position(|column| column.name == *part));
            rows = last_of_each_key(rows, &key.collect::<Vec<_>>());
        }
        let mut arrays: Vec<_> = columns.iter().map(|at| Array::new(table.columns[*at].form, rows.len())).collect();
        let count = rows.len() as u64;
        for mut row in rows {
            for (column, array) in columns.iter().zip(&mut arrays) {
                array.push(std::mem::replace(&mut row[*column], Cell::Null));
            }
        }
        Ok(Self { columns, arrays, count, written, refused })
    }

    /// The statement that writes them.
    pub(super) fn sql(&self, table: &Table, sink: &Postgres) -> String {
        let (mut arrays, mut casts, mut names) = (Vec::new(), Vec::new(), Vec::new());
        for (at, column) in self.columns.iter().map(|column| &table.columns[*column]).enumerate() {
            arrays.push(format!("${}::{}", at + 1, column.form.array()));
            casts.push(format!("new.{}::{}", quoted(&column.name), column.sql_type));
            names.push(&column.name);
        }
        let (columns, arrays, casts) = (list(&names), arrays.join(", "), casts.join(", "));
        let conflict = match sink.mode {
            Mode::Append => String::new(),
            Mode::Ignore => " ON CONFLICT DO NOTHING".to_owned(),
            Mode::Upsert => format!(" ON CONFLICT ({}) {}", list(&sink.key), self.update(table, sink)),
        };
        let table = &table.name;
        format!("INSERT INTO {table} ({columns}) SELECT {casts} FROM unnest({arrays}) AS new ({columns}){conflict}")
    }

    fn update(&self, table: &Table, sink: &Postgres) -> String {
        let sets: Vec<_> = self.others(table, sink).map(|name| format!("{0} = EXCLUDED.{0}", quoted(name))).collect();
        if sets.is_empty() { "DO NOTHING".to_owned() } else { format!("DO UPDATE SET {}", sets.join(", ")) }
    }

    /// The columns that are no part of the key.
    fn others<'a>(&'a self, table: &'a Table, sink: &'a Postgres) -> impl Iterator<Item = &'a String> {
        self.columns.iter().map(|column| &table.columns[*column].name).filter(|name| !sink.key.contains(name))
    }

    /// Whether the server must say that it has written all of them. A trigger may drop a row silently.
    pub(super) fn must_all_change(&self, table: &Table, sink: &Postgres) -> bool {
        match sink.mode {
            Mode::Append => true,
            Mode::Ignore => false,
            Mode::Upsert => self.others(table, sink).next().is_some(),
        }
    }
}

/// Refuses rows that lack a value which their table wants: the server would refuse the whole batch.
fn refuse_nulls(
    rows: &mut Vec<Vec<Cell>>,
    written: &mut Vec<usize>,
    refused: &mut Written,
    columns: &[usize],
    table: &Table,
) {
    let wanted: Vec<_> = columns.iter().copied().filter(|column| !table.columns[*column].is_nullable).collect();
    let missing = |row: &Vec<Cell>| wanted.iter().find(|column| row[**column] == Cell::Null).copied();
    if rows.iter().all(|row| missing(row).is_none()) {
        return;
    }
    let all = std::mem::take(rows).into_iter().zip(std::mem::take(written));
    for (row, at) in all {
        if let Some(column) = missing(&row) {
            let name = &table.columns[column].name;
            let message = format!("`{name}` is NULL, and the column of table {} is NOT NULL", table.name);
            refused.refuse(at, SinkError::record(message));
        } else {
            rows.push(row);
            written.push(at);
        }
    }
}

/// The last row of each key wins. Keys are sorted, so that two writers lock rows in the same order.
fn last_of_each_key(rows: Vec<Vec<Cell>>, key: &[usize]) -> Vec<Vec<Cell>> {
    let of = |row: &[Cell]| -> Vec<Option<String>> { key.iter().map(|column| row[*column].text()).collect() };
    let by_key: BTreeMap<_, _> = rows.into_iter().map(|row| (of(&row), row)).collect();
    by_key.into_values().collect()
}

/// The record's values by the table's columns.
fn row<T: Serialize>(record: &T, table: &Table, is_used: &mut [bool]) -> Result<Vec<Cell>, Misfit> {
    let fields = match serde_json::to_value(record) {
        Ok(Value::Object(fields)) => fields,
        Ok(_) => return Err(Misfit::Record(SinkError::record("the record is no struct, so it has no columns"))),
        Err(error) => {
            return Err(Misfit::Record(SinkError::record("the record cannot be serialized").caused_by(error)));
        }
    };
    let mut row = vec![Cell::Null; table.columns.len()];
    for (name, value) in fields {
        let at = table.place(&name).map_err(Misfit::Table)?;
        let refused = |why| Misfit::Record(SinkError::record(format!("`{name}` {why}")));
        row[at] = table.columns[at].form.cell(value).map_err(refused)?;
        is_used[at] = true;
    }
    Ok(row)
}
