//! Values on their way to a column: in the column's own binary form where that is simple, as text otherwise.

use std::{cmp::Ordering, error::Error, fmt::Write};

use bytes::BytesMut;
use serde_json::Value;
use tokio_postgres::types::{IsNull, ToSql, Type};

/// The form in which a column's values are sent. The server casts texts to the column's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Bool,
    Int2,
    Int4,
    Int8,
    Float8,
    /// As text, in hexadecimal digits.
    Bytes,
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
            "bytea" => Self::Bytes,
            _ => Self::Text,
        }
    }

    /// The type in which the server receives a value.
    pub(crate) fn sql_type(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::Int2 => "int2",
            Self::Int4 => "int4",
            Self::Int8 => "int8",
            Self::Float8 => "float8",
            Self::Bytes | Self::Text => "text",
        }
    }

    /// The same, for the binary protocol.
    pub(crate) fn wire_type(self) -> Type {
        match self {
            Self::Bool => Type::BOOL,
            Self::Int2 => Type::INT2,
            Self::Int4 => Type::INT4,
            Self::Int8 => Type::INT8,
            Self::Float8 => Type::FLOAT8,
            Self::Bytes | Self::Text => Type::TEXT,
        }
    }

    pub(crate) fn bool(self, value: bool) -> Result<Cell, &'static str> {
        match self {
            Self::Bool => Ok(Cell::Bool(value)),
            Self::Text => Ok(Cell::Text(value.to_string())),
            _ => Err(self.misfit()),
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "a column of floating-point numbers has no others")]
    pub(crate) fn integer(self, value: i128) -> Result<Cell, &'static str> {
        match self {
            Self::Bool | Self::Bytes => Err(self.misfit()),
            Self::Int2 => value.try_into().map(Cell::Int2).map_err(|_| self.misfit()),
            Self::Int4 => value.try_into().map(Cell::Int4).map_err(|_| self.misfit()),
            Self::Int8 => value.try_into().map(Cell::Int8).map_err(|_| self.misfit()),
            Self::Float8 => Ok(Cell::Float8(value as f64)),
            Self::Text => Ok(Cell::Text(value.to_string())),
        }
    }

    /// NaN and the infinities are values of PostgreSQL's `double precision`, `real` and `numeric`, also as texts.
    pub(crate) fn float(self, value: f64) -> Result<Cell, &'static str> {
        match self {
            Self::Float8 => Ok(Cell::Float8(value)),
            Self::Text => Ok(Cell::Text(match serde_json::Number::from_f64(value) {
                Some(number) => number.to_string(),
                None if value.is_nan() => "NaN".to_owned(),
                None if value > 0.0 => "Infinity".to_owned(),
                None => "-Infinity".to_owned(),
            })),
            _ => Err(self.misfit()),
        }
    }

    pub(crate) fn text(self, text: String) -> Result<Cell, &'static str> {
        match self {
            Self::Text if text.contains('\0') => Err("has a NUL, which PostgreSQL does not store in a text"),
            Self::Bytes | Self::Text => Ok(Cell::Text(text)),
            Self::Float8 => text.parse().map(Cell::Float8).map_err(|_| self.misfit()),
            _ => text.parse().map_err(|_| self.misfit()).and_then(|value| self.integer(value)),
        }
    }

    /// A value with an inner structure, by its JSON.
    pub(crate) fn nested(self, json: &Value) -> Result<Cell, &'static str> {
        if self != Self::Bytes {
            return self.text(json.to_string());
        }
        let byte = |item: &Value| item.as_u64().and_then(|byte| u8::try_from(byte).ok());
        let bytes = json.as_array().and_then(|items| items.iter().map(byte).collect::<Option<Vec<_>>>());
        let bytes = bytes.ok_or_else(|| self.misfit())?;
        let mut hex = "\\x".to_owned();
        for byte in bytes {
            // Writing to a string cannot fail.
            let _ = write!(hex, "{byte:02x}");
        }
        Ok(Cell::Text(hex))
    }

    fn misfit(self) -> &'static str {
        match self {
            Self::Bool => "is no boolean",
            Self::Int2 => "is no smallint",
            Self::Int4 => "is no integer",
            Self::Int8 => "is no bigint",
            Self::Float8 => "is no double precision",
            Self::Bytes => "is neither a sequence of bytes nor a text in PostgreSQL's form of bytes",
            Self::Text => "is no text",
        }
    }
}

/// One value, in the form of its column.
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
    /// The order of the values of one column. Floating-point numbers are ordered, and equal, as in the server's indexes.
    pub(crate) fn order(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Bool(own), Self::Bool(other)) => own.cmp(other),
            (Self::Int2(own), Self::Int2(other)) => own.cmp(other),
            (Self::Int4(own), Self::Int4(other)) => own.cmp(other),
            (Self::Int8(own), Self::Int8(other)) => own.cmp(other),
            (Self::Float8(own), Self::Float8(other)) => {
                own.partial_cmp(other).unwrap_or_else(|| own.is_nan().cmp(&other.is_nan()))
            }
            (Self::Text(own), Self::Text(other)) => own.cmp(other),
            // One of them is NULL: a column has values of one form.
            _ => (*self != Self::Null).cmp(&(*other != Self::Null)),
        }
    }
}

impl ToSql for Cell {
    fn to_sql(&self, sql_type: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match self {
            Self::Null => Ok(IsNull::Yes),
            Self::Bool(value) => value.to_sql_checked(sql_type, out),
            Self::Int2(value) => value.to_sql_checked(sql_type, out),
            Self::Int4(value) => value.to_sql_checked(sql_type, out),
            Self::Int8(value) => value.to_sql_checked(sql_type, out),
            Self::Float8(value) => value.to_sql_checked(sql_type, out),
            Self::Text(value) => value.to_sql_checked(sql_type, out),
        }
    }

    /// Which value fits which of them is checked with each value.
    fn accepts(sql_type: &Type) -> bool {
        [Type::BOOL, Type::INT2, Type::INT4, Type::INT8, Type::FLOAT8, Type::TEXT].contains(sql_type)
    }

    fn to_sql_checked(&self, sql_type: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        self.to_sql(sql_type, out)
    }
}
