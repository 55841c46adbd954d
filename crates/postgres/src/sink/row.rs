//! A record as the row of a table.

use std::fmt::{self, Display};

use actix_batch_pipeline::sink::SinkError;
use serde::{
    Serialize, Serializer,
    ser::{self, Impossible, SerializeMap, SerializeStruct},
};
use serde_json::Value;

use super::value::cell;
use crate::{fault::Fault, form::Cell, table::Table};

/// Why a record does not become a row.
#[derive(Debug)]
pub(super) enum NoRow {
    /// It is this record's own fault.
    Record(SinkError),
    /// No record of this type can be stored.
    Table(Fault),
}

impl Display for NoRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Record(error) => error.fmt(f),
            Self::Table(fault) => f.write_str(&fault.message),
        }
    }
}

impl std::error::Error for NoRow {}

impl ser::Error for NoRow {
    fn custom<M: Display>(message: M) -> Self {
        Self::Record(SinkError::record(format!("the record cannot be serialized: {message}")))
    }
}

/// The record's values by the table's columns. The columns that it has are marked.
pub(super) fn row<T: Serialize>(record: &T, table: &Table, is_used: &mut [bool]) -> Result<Vec<Cell>, NoRow> {
    record.serialize(Row { table, cells: vec![Cell::Null; table.columns.len()], is_used, next: 0, key: String::new() })
}

/// Serializes one record.
struct Row<'a> {
    table: &'a Table,
    cells: Vec<Cell>,
    is_used: &'a mut [bool],
    /// The column that is expected next: most records have their fields in the order of the table.
    next: usize,
    /// The column of the map entry at hand.
    key: String,
}

impl Row<'_> {
    fn field<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) -> Result<(), NoRow> {
        let at = match self.table.columns.get(self.next) {
            Some(column) if column.name == name => self.next,
            _ => self.table.place(name).map_err(NoRow::Table)?,
        };
        self.cells[at] = cell(self.table.columns[at].form, value)
            .map_err(|why| NoRow::Record(SinkError::record(format!("`{name}` {why}"))))?;
        self.is_used[at] = true;
        self.next = at + 1;
        Ok(())
    }
}

impl SerializeStruct for Row<'_> {
    type Ok = Vec<Cell>;
    type Error = NoRow;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), NoRow> {
        self.field(name, value)
    }

    fn end(self) -> Result<Vec<Cell>, NoRow> {
        Ok(self.cells)
    }
}

impl SerializeMap for Row<'_> {
    type Ok = Vec<Cell>;
    type Error = NoRow;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), NoRow> {
        self.key = match serde_json::to_value(key) {
            Ok(Value::String(name)) => name,
            _ => return Err(ser::Error::custom("the names of columns must be texts")),
        };
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), NoRow> {
        let name = std::mem::take(&mut self.key);
        self.field(&name, value)
    }

    fn end(self) -> Result<Vec<Cell>, NoRow> {
        Ok(self.cells)
    }
}

fn no_fields<O>() -> Result<O, NoRow> {
    Err(NoRow::Record(SinkError::record("the record is no struct, so it has no columns")))
}

/// Only a struct, a map, and a wrapper of one have names of columns.
macro_rules! no_fields {
    ($($method:ident($($argument:ty),*) -> $answer:ident;)*) => {
        $(fn $method(self, $(_: $argument),*) -> Result<Self::$answer, NoRow> {
            no_fields()
        })*
    };
}

impl Serializer for Row<'_> {
    type Ok = Vec<Cell>;
    type Error = NoRow;
    type SerializeSeq = Impossible<Vec<Cell>, NoRow>;
    type SerializeTuple = Impossible<Vec<Cell>, NoRow>;
    type SerializeTupleStruct = Impossible<Vec<Cell>, NoRow>;
    type SerializeTupleVariant = Impossible<Vec<Cell>, NoRow>;
    type SerializeMap = Self;
    type SerializeStruct = Self;
    type SerializeStructVariant = Impossible<Vec<Cell>, NoRow>;

    fn serialize_struct(self, _name: &'static str, _len: usize) -> Result<Self, NoRow> {
        Ok(self)
    }

    fn serialize_map(self, _len: Option<usize>) -> Result<Self, NoRow> {
        Ok(self)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Vec<Cell>, NoRow> {
        value.serialize(self)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<Vec<Cell>, NoRow> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        _variant: &'static str,
        _value: &T,
    ) -> Result<Vec<Cell>, NoRow> {
        no_fields()
    }

    no_fields! {
        serialize_bool(bool) -> Ok;
        serialize_i8(i8) -> Ok;
        serialize_i16(i16) -> Ok;
        serialize_i32(i32) -> Ok;
        serialize_i64(i64) -> Ok;
        serialize_u8(u8) -> Ok;
        serialize_u16(u16) -> Ok;
        serialize_u32(u32) -> Ok;
        serialize_u64(u64) -> Ok;
        serialize_f32(f32) -> Ok;
        serialize_f64(f64) -> Ok;
        serialize_char(char) -> Ok;
        serialize_str(&str) -> Ok;
        serialize_bytes(&[u8]) -> Ok;
        serialize_none() -> Ok;
        serialize_unit() -> Ok;
        serialize_unit_struct(&'static str) -> Ok;
        serialize_unit_variant(&'static str, u32, &'static str) -> Ok;
        serialize_seq(Option<usize>) -> SerializeSeq;
        serialize_tuple(usize) -> SerializeTuple;
        serialize_tuple_struct(&'static str, usize) -> SerializeTupleStruct;
        serialize_tuple_variant(&'static str, u32, &'static str, usize) -> SerializeTupleVariant;
        serialize_struct_variant(&'static str, u32, &'static str, usize) -> SerializeStructVariant;
    }
}
