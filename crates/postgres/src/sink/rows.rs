//! The rows of a batch, and the statement that writes them.

use std::cmp::Ordering;

use actix_batch_pipeline::{
    Record,
    sink::{SinkError, Written},
};
use serde::Serialize;

use super::{
    Mode, Postgres,
    copy::STAGE,
    row::{NoRow, row},
};
use crate::{
    fault::Fault,
    form::Cell,
    table::{Table, list, quoted},
};

/// What is to be written of a batch.
pub(super) struct Rows {
    /// The columns that some record has, by their places in the table.
    pub(super) columns: Vec<usize>,
    /// A value for each column of the table.
    pub(super) cells: Vec<Vec<Cell>>,
    /// The positions of the records in the batch that are written.
    pub(super) written: Vec<usize>,
    pub(super) refused: Written,
}

/// How the rows of a batch reach the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// As the parameters of the statement, an array for each column.
    Unnest,
    /// They are in the temporary table.
    Copy,
}

impl Rows {
    /// Of these records, all but those that are `held` already.
    pub(super) fn of<T: Serialize>(
        batch: &[Record<T>],
        held: impl Fn(usize, &Record<T>) -> bool,
        table: &Table,
        sink: &Postgres,
    ) -> Result<Self, Fault> {
        let (mut written, mut refused) = (Vec::new(), Written::all());
        let mut rows: Vec<Vec<Cell>> = Vec::with_capacity(batch.len());
        let mut is_used = vec![false; table.columns.len()];
        for (at, record) in batch.iter().enumerate().filter(|(at, record)| !held(*at, record)) {
            match row(&**record, table, &mut is_used) {
                Ok(row) => {
                    written.push(at);
                    rows.push(row);
                }
                Err(NoRow::Record(error)) => refused.refuse(at, error),
                Err(NoRow::Table(fault)) => return Err(fault),
            }
        }
        let columns: Vec<_> = (0..is_used.len()).filter(|column| is_used[*column]).collect();
        let mut key = Vec::new();
        if sink.mode == Mode::Upsert {
            let place = |part: &String| table.columns.iter().position(|column| column.name == *part);
            key.extend(sink.key.iter().filter_map(place));
        }
        refuse_nulls(&mut rows, &mut written, &mut refused, &wanted(&columns, &key, table), table);
        if sink.mode == Mode::Upsert {
            rows = last_of_each_key(rows, &key);
        }
        Ok(Self { columns, cells: rows, written, refused })
    }

    /// For each column, the values of the rows.
    pub(super) fn arrays(&self) -> Vec<Vec<&Cell>> {
        self.columns.iter().map(|column| self.cells.iter().map(|row| &row[*column]).collect()).collect()
    }

    /// The statement that writes them.
    pub(super) fn sql(&self, way: Way, table: &Table, sink: &Postgres) -> String {
        let (mut arrays, mut casts, mut names) = (Vec::new(), Vec::new(), Vec::new());
        for (at, column) in self.columns.iter().map(|column| &table.columns[*column]).enumerate() {
            arrays.push(format!("${}::{}[]", at + 1, column.form.sql_type()));
            casts.push(format!("new.{}::{}", quoted(&column.name), column.cast));
            names.push(&column.name);
        }
        let (columns, casts) = (list(&names), casts.join(", "));
        let conflict = match sink.mode {
            Mode::Append => String::new(),
            Mode::Ignore => " ON CONFLICT DO NOTHING".to_owned(),
            Mode::Upsert => format!(" ON CONFLICT ({}) {}", list(&sink.key), self.update(table, sink)),
        };
        let from = match way {
            Way::Unnest => format!("unnest({}) AS new ({columns})", arrays.join(", ")),
            Way::Copy => format!("{STAGE} AS new"),
        };
        format!("INSERT INTO {} ({columns}) SELECT {casts} FROM {from}{conflict}", table.name)
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

/// A column that must have a value, and why.
type Wanted = (usize, &'static str);

/// A NULL in a key equals no other NULL, so no row could be found by it.
fn wanted(columns: &[usize], key: &[usize], table: &Table) -> Vec<Wanted> {
    let not_null = columns.iter().filter(|column| !table.columns[**column].is_nullable);
    let key = key.iter().map(|column| (*column, "it is part of the key"));
    key.chain(not_null.map(|column| (*column, "its column is NOT NULL"))).collect()
}

/// Refuses rows that lack a value: the server would refuse the whole batch.
fn refuse_nulls(
    rows: &mut Vec<Vec<Cell>>,
    written: &mut Vec<usize>,
    refused: &mut Written,
    wanted: &[Wanted],
    table: &Table,
) {
    let missing = |row: &Vec<Cell>| wanted.iter().find(|(column, _)| row[*column] == Cell::Null).copied();
    if rows.iter().all(|row| missing(row).is_none()) {
        return;
    }
    let all = std::mem::take(rows).into_iter().zip(std::mem::take(written));
    for (row, at) in all {
        if let Some((column, why)) = missing(&row) {
            let name = &table.columns[column].name;
            let message = format!("`{name}` of table {} is missing or NULL, and {why}", table.name);
            refused.refuse(at, SinkError::record(message));
        } else {
            rows.push(row);
            written.push(at);
        }
    }
}

/// The last row of each key wins. Keys are sorted, so that two writers lock rows in the same order.
fn last_of_each_key(mut rows: Vec<Vec<Cell>>, key: &[usize]) -> Vec<Vec<Cell>> {
    let order = |one: &[Cell], other: &[Cell]| {
        let columns = key.iter().map(|column| one[*column].order(&other[*column]));
        columns.into_iter().find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
    };
    // Rows of one key keep their order.
    rows.sort_by(|one, other| order(one, other));
    rows.dedup_by(|later, last| {
        let is_same = order(later, last).is_eq();
        if is_same {
            std::mem::swap(later, last);
        }
        is_same
    });
    rows
}
