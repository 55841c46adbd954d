//! Binds one serde value to one parameter of a statement.

use std::{
    fmt::{self, Display},
    io::Write,
};

use rusqlite::{
    Statement, ToSql,
    types::{Null, ToSqlOutput, ValueRef},
};
use serde::{
    Serialize, Serializer,
    ser::{self, Impossible},
};

/// Where values are bound.
pub(super) trait Parameters {
    /// Binds a value. Parameters count from 1.
    fn bind(&mut self, parameter: usize, value: impl ToSql) -> Result<(), BindError>;
}

impl Parameters for Statement<'_> {
    #[inline]
    fn bind(&mut self, parameter: usize, value: impl ToSql) -> Result<(), BindError> {
        self.raw_bind_parameter(parameter, value).map_err(|error| BindError::Sqlite(Box::new(error)))
    }
}

/// Binds nothing, to learn the names of a record's fields.
pub(super) struct Nowhere;

impl Parameters for Nowhere {
    fn bind(&mut self, _parameter: usize, _value: impl ToSql) -> Result<(), BindError> {
        Ok(())
    }
}

/// Why a record was not bound. It is small, because it is the result of every field.
#[derive(Debug)]
pub(super) enum BindError {
    /// The value has an inner structure, so it becomes JSON.
    Nested,
    /// The record is neither a struct nor a map.
    NoFields,
    /// The value cannot be stored.
    Refused(Box<str>),
    /// SQLite refused it.
    Sqlite(Box<rusqlite::Error>),
}

impl Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nested => f.write_str("a nested value"),
            Self::NoFields => f.write_str("a row needs a struct or a map with names of columns"),
            Self::Refused(reason) => f.write_str(reason),
            Self::Sqlite(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for BindError {}

impl ser::Error for BindError {
    fn custom<M: Display>(message: M) -> Self {
        Self::Refused(message.to_string().into())
    }
}

/// Binds a value, as JSON text if it has an inner structure.
#[inline]
pub(super) fn bind<P: Parameters, T: Serialize + ?Sized>(
    parameters: &mut P,
    parameter: usize,
    value: &T,
    text: &mut Vec<u8>,
) -> Result<(), BindError> {
    match value.serialize(Value { parameters, parameter, text }) {
        Err(BindError::Nested) => bind_json(parameters, parameter, value, text),
        bound => bound,
    }
}

#[cold]
fn bind_json<P: Parameters, T: Serialize + ?Sized>(
    parameters: &mut P,
    parameter: usize,
    value: &T,
    text: &mut Vec<u8>,
) -> Result<(), BindError> {
    text.clear();
    serde_json::to_writer(&mut *text, value).map_err(ser::Error::custom)?;
    parameters.bind(parameter, Text(text))
}

/// UTF-8, without checking it once more.
struct Text<'a>(&'a [u8]);

impl ToSql for Text<'_> {
    #[inline]
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(ValueRef::Text(self.0)))
    }
}

struct Value<'a, P> {
    parameters: &'a mut P,
    parameter: usize,
    /// Reused for what must be written down first.
    text: &'a mut Vec<u8>,
}

impl<P: Parameters> Value<'_, P> {
    #[inline]
    fn put(self, value: impl ToSql) -> Result<(), BindError> {
        self.parameters.bind(self.parameter, value)
    }

    #[inline]
    fn put_integer<N: Display + Copy + TryInto<i64>>(self, value: N) -> Result<(), BindError> {
        match value.try_into() {
            Ok(value) => self.put(value),
            Err(_) => Err(too_large(value)),
        }
    }
}

#[cold]
fn too_large(value: impl Display) -> BindError {
    ser::Error::custom(format_args!(
        "{value} is beyond SQLite's integers, which have 64 bits and a sign: store it as text"
    ))
}

impl<P: Parameters> Serializer for Value<'_, P> {
    type Ok = ();
    type Error = BindError;
    type SerializeSeq = Impossible<(), BindError>;
    type SerializeTuple = Impossible<(), BindError>;
    type SerializeTupleStruct = Impossible<(), BindError>;
    type SerializeTupleVariant = Impossible<(), BindError>;
    type SerializeMap = Impossible<(), BindError>;
    type SerializeStruct = Impossible<(), BindError>;
    type SerializeStructVariant = Impossible<(), BindError>;

    #[inline]
    fn serialize_bool(self, value: bool) -> Result<(), BindError> {
        self.put(i64::from(value))
    }

    #[inline]
    fn serialize_i8(self, value: i8) -> Result<(), BindError> {
        self.put(i64::from(value))
    }

    #[inline]
    fn serialize_i16(self, value: i16) -> Result<(), BindError> {
        self.put(i64::from(value))
    }

    #[inline]
    fn serialize_i32(self, value: i32) -> Result<(), BindError> {
        self.put(i64::from(value))
    }

    #[inline]
    fn serialize_i64(self, value: i64) -> Result<(), BindError> {
        self.put(value)
    }

    fn serialize_i128(self, value: i128) -> Result<(), BindError> {
        self.put_integer(value)
    }

    #[inline]
    fn serialize_u8(self, value: u8) -> Result<(), BindError> {
        self.put(i64::from(value))
    }

    #[inline]
    fn serialize_u16(self, value: u16) -> Result<(), BindError> {
        self.put(i64::from(value))
    }

    #[inline]
    fn serialize_u32(self, value: u32) -> Result<(), BindError> {
        self.put(i64::from(value))
    }

    #[inline]
    fn serialize_u64(self, value: u64) -> Result<(), BindError> {
        self.put_integer(value)
    }

    fn serialize_u128(self, value: u128) -> Result<(), BindError> {
        self.put_integer(value)
    }

    #[inline]
    fn serialize_f32(self, value: f32) -> Result<(), BindError> {
        self.put(f64::from(value))
    }

    #[inline]
    fn serialize_f64(self, value: f64) -> Result<(), BindError> {
        self.put(value)
    }

    fn serialize_char(self, value: char) -> Result<(), BindError> {
        let mut bytes = [0; 4];
        self.put(Text(value.encode_utf8(&mut bytes).as_bytes()))
    }

    #[inline]
    fn serialize_str(self, value: &str) -> Result<(), BindError> {
        self.put(Text(value.as_bytes()))
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<(), BindError> {
        self.put(value)
    }

    #[inline]
    fn serialize_none(self) -> Result<(), BindError> {
        self.put(Null)
    }

    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), BindError> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), BindError> {
        self.put(Null)
    }

    fn serialize_unit_struct(self, _name: &'static str) -> Result<(), BindError> {
        self.put(Null)
    }

    fn serialize_unit_variant(self, _name: &'static str, _index: u32, variant: &'static str) -> Result<(), BindError> {
        self.serialize_str(variant)
    }

    #[inline]
    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _name: &'static str, value: &T) -> Result<(), BindError> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        _variant: &'static str,
        _value: &T,
    ) -> Result<(), BindError> {
        Err(BindError::Nested)
    }

    /// Times and numbers of other crates are written by their `Display`: without a `String` for each.
    fn collect_str<T: Display + ?Sized>(self, value: &T) -> Result<(), BindError> {
        self.text.clear();
        write!(self.text, "{value}").map_err(ser::Error::custom)?;
        self.parameters.bind(self.parameter, Text(self.text))
    }

    fn serialize_seq(self, _len: Option<usize>) -> Result<Self::SerializeSeq, BindError> {
        Err(BindError::Nested)
    }

    fn serialize_tuple(self, _len: usize) -> Result<Self::SerializeTuple, BindError> {
        Err(BindError::Nested)
    }

    fn serialize_tuple_struct(self, _name: &'static str, _len: usize) -> Result<Self::SerializeTupleStruct, BindError> {
        Err(BindError::Nested)
    }

    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        _index: u32,
        _variant: &'static str,
        _len: usize,
    ) -> Result<Self::SerializeTupleVariant, BindError> {
        Err(BindError::Nested)
    }

    fn serialize_map(self, _len: Option<usize>) -> Result<Self::SerializeMap, BindError> {
        Err(BindError::Nested)
    }

    fn serialize_struct(self, _name: &'static str, _len: usize) -> Result<Self::SerializeStruct, BindError> {
        Err(BindError::Nested)
    }

    fn serialize_struct_variant(
        self,
        _name: &'static str,
        _index: u32,
        _variant: &'static str,
        _len: usize,
    ) -> Result<Self::SerializeStructVariant, BindError> {
        Err(BindError::Nested)
    }
}
