//! Values on their way to a column: in the column's own binary form where that is simple, as text otherwise.

use serde_json::Value;
use tokio_postgres::types::ToSql;

/// The form in which a column's values are sent. The server casts texts to the column's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Bool,
    Int2,
    Int4,
    Int8,
    Float8,
    Text,
}

impl Form {
    pub(crate) fn of(sql_type: &str) -> Self {
        match sql_type {
            "boolean" => Self::Bool,
            "smallint" => Self::Int2,
            "integer" => Self::Int4,
            "bigint" => Self::Int8,
            "double precision" => Self::Float8,
            _ => Self::Text,
        }
    }

    /// The type of the array that is sent.
    pub(crate) fn array(self) -> &'static str {
        match self {
            Self::Bool => "bool[]",
            Self::Int2 => "int2[]",
            Self::Int4 => "int4[]",
            Self::Int8 => "int8[]",
            Self::Float8 => "float8[]",
            Self::Text => "text[]",
        }
    }

    /// The value in this form, or why it has none.
    pub(crate) fn cell(self, value: Value) -> Result<Cell, &'static str> {
        let integer = |value: &Value| match value {
            Value::Number(number) => number.as_i64(),
            Value::String(text) => text.parse().ok(),
            _ => None,
        };
        match (self, value) {
            (_, Value::Null) => Ok(Cell::Null),
            (Self::Bool, Value::Bool(value)) => Ok(Cell::Bool(value)),
            (Self::Int2, value) => {
                integer(&value).and_then(|value| value.try_into().ok()).map(Cell::Int2).ok_or("is no smallint")
            }
            (Self::Int4, value) => {
                integer(&value).and_then(|value| value.try_into().ok()).map(Cell::Int4).ok_or("is no integer")
            }
            (Self::Int8, value) => integer(&value).map(Cell::Int8).ok_or("is no bigint"),
            (Self::Float8, Value::Number(number)) => number.as_f64().map(Cell::Float8).ok_or("is no double precision"),
            (Self::Float8, Value::String(text)) => text.parse().map(Cell::Float8).map_err(|_| "is no double precision"),
            (Self::Bool | Self::Float8, _) => Err("does not fit the column's type"),
            (Self::Text, Value::String(text)) if text.contains('\0') => {
                Err("has a NUL, which PostgreSQL does not store in a text")
            }
            (Self::Text, Value::String(text)) => Ok(Cell::Text(text)),
            (Self::Text, other) => Ok(Cell::Text(other.to_string())),
        }
    }
}

/// One value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Cell {
    Null,
    Bool(bool),
    Int2(i16),
    Int4(i32),
    Int8(i64),
    Float8(f64),
    Text(String),
}

impl Cell {
    /// For comparing keys.
    pub(crate) fn text(&self) -> Option<String> {
        match self {
            Self::Null => None,
            Self::Bool(value) => Some(value.to_string()),
            Self::Int2(value) => Some(value.to_string()),
            Self::Int4(value) => Some(value.to_string()),
            Self::Int8(value) => Some(value.to_string()),
            Self::Float8(value) => Some(value.to_string()),
            Self::Text(text) => Some(text.clone()),
        }
    }
}

/// The values of a column.
#[derive(Debug)]
pub(crate) enum Array {
    Bool(Vec<Option<bool>>),
    Int2(Vec<Option<i16>>),
    Int4(Vec<Option<i32>>),
    Int8(Vec<Option<i64>>),
    Float8(Vec<Option<f64>>),
    Text(Vec<Option<String>>),
}

impl Array {
    pub(crate) fn new(form: Form, rows: usize) -> Self {
        match form {
            Form::Bool => Self::Bool(Vec::with_capacity(rows)),
            Form::Int2 => Self::Int2(Vec::with_capacity(rows)),
            Form::Int4 => Self::Int4(Vec::with_capacity(rows)),
            Form::Int8 => Self::Int8(Vec::with_capacity(rows)),
            Form::Float8 => Self::Float8(Vec::with_capacity(rows)),
            Form::Text => Self::Text(Vec::with_capacity(rows)),
        }
    }

    /// Adds a value of the column's own form; any other counts as NULL.
    pub(crate) fn push(&mut self, cell: Cell) {
        match (self, cell) {
            (Self::Bool(all), cell) => all.push(if let Cell::Bool(value) = cell { Some(value) } else { None }),
            (Self::Int2(all), cell) => all.push(if let Cell::Int2(value) = cell { Some(value) } else { None }),
            (Self::Int4(all), cell) => all.push(if let Cell::Int4(value) = cell { Some(value) } else { None }),
            (Self::Int8(all), cell) => all.push(if let Cell::Int8(value) = cell { Some(value) } else { None }),
            (Self::Float8(all), cell) => all.push(if let Cell::Float8(value) = cell { Some(value) } else { None }),
            (Self::Text(all), cell) => all.push(if let Cell::Text(text) = cell { Some(text) } else { None }),
        }
    }

    pub(crate) fn parameter(&self) -> &(dyn ToSql + Sync) {
        match self {
            Self::Bool(all) => all,
            Self::Int2(all) => all,
            Self::Int4(all) => all,
            Self::Int8(all) => all,
            Self::Float8(all) => all,
            Self::Text(all) => all,
        }
    }
}
