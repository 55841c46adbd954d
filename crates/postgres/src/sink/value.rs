//! One serde value as the value of a column.

use std::fmt::{self, Display};

use serde::{
    Serialize, Serializer,
    ser::{self, Impossible},
};

use crate::form::{Cell, Form};

/// Why a value has no form.
#[derive(Debug)]
pub(super) enum Misfit {
    /// It has an inner structure, so it becomes JSON.
    Nested,
    /// The column does not take it.
    Refused(Box<str>),
}

impl Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nested => f.write_str("has an inner structure"),
            Self::Refused(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for Misfit {}

impl ser::Error for Misfit {
    fn custom<M: Display>(message: M) -> Self {
        Self::Refused(message.to_string().into())
    }
}

impl From<&'static str> for Misfit {
    fn from(why: &'static str) -> Self {
        Self::Refused(why.into())
    }
}

/// The value in this form: as JSON if it has an inner structure.
pub(super) fn cell<T: Serialize + ?Sized>(form: Form, value: &T) -> Result<Cell, Misfit> {
    match value.serialize(ToCell(form)) {
        Err(Misfit::Nested) => Ok(form.nested(&serde_json::to_value(value).map_err(<Misfit as ser::Error>::custom)?)?),
        cell => cell,
    }
}

struct ToCell(Form);

macro_rules! integers {
    ($($method:ident($type:ty))*) => {
        $(#[inline]
        fn $method(self, value: $type) -> Result<Cell, Misfit> {
            Ok(self.0.integer(value.into())?)
        })*
    };
}

macro_rules! nested {
    ($($method:ident($($argument:ty),*) -> $answer:ident;)*) => {
        $(fn $method(self, $(_: $argument),*) -> Result<Self::$answer, Misfit> {
            Err(Misfit::Nested)
        })*
    };
}

impl Serializer for ToCell {
    type Ok = Cell;
    type Error = Misfit;
    type SerializeSeq = Impossible<Cell, Misfit>;
    type SerializeTuple = Impossible<Cell, Misfit>;
    type SerializeTupleStruct = Impossible<Cell, Misfit>;
    type SerializeTupleVariant = Impossible<Cell, Misfit>;
    type SerializeMap = Impossible<Cell, Misfit>;
    type SerializeStruct = Impossible<Cell, Misfit>;
    type SerializeStructVariant = Impossible<Cell, Misfit>;

    integers! {
        serialize_i8(i8)
        serialize_i16(i16)
        serialize_i32(i32)
        serialize_i64(i64)
        serialize_i128(i128)
        serialize_u8(u8)
        serialize_u16(u16)
        serialize_u32(u32)
        serialize_u64(u64)
    }

    fn serialize_u128(self, value: u128) -> Result<Cell, Misfit> {
        Ok(self.0.text(value.to_string())?)
    }

    fn serialize_bool(self, value: bool) -> Result<Cell, Misfit> {
        Ok(self.0.bool(value)?)
    }

    fn serialize_f32(self, value: f32) -> Result<Cell, Misfit> {
        self.serialize_f64(value.into())
    }

    fn serialize_f64(self, value: f64) -> Result<Cell, Misfit> {
        Ok(self.0.float(value)?)
    }

    fn serialize_char(self, value: char) -> Result<Cell, Misfit> {
        Ok(self.0.text(value.into())?)
    }

    fn serialize_str(self, value: &str) -> Result<Cell, Misfit> {
        Ok(self.0.text(value.to_owned())?)
    }

    fn collect_str<T: Display + ?Sized>(self, value: &T) -> Result<Cell, Misfit> {
        Ok(self.0.text(value.to_string())?)
    }

    fn serialize_none(self) -> Result<Cell, Misfit> {
        Ok(Cell::Null)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Cell, Misfit> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<Cell, Misfit> {
        Ok(Cell::Null)
    }

    fn serialize_unit_struct(self, _name: &'static str) -> Result<Cell, Misfit> {
        Ok(Cell::Null)
    }

    fn serialize_unit_variant(self, _name: &'static str, _index: u32, variant: &'static str) -> Result<Cell, Misfit> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _name: &'static str, value: &T) -> Result<Cell, Misfit> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        _variant: &'static str,
        _value: &T,
    ) -> Result<Cell, Misfit> {
        Err(Misfit::Nested)
    }

    nested! {
        serialize_bytes(&[u8]) -> Ok;
        serialize_seq(Option<usize>) -> SerializeSeq;
        serialize_tuple(usize) -> SerializeTuple;
        serialize_tuple_struct(&'static str, usize) -> SerializeTupleStruct;
        serialize_tuple_variant(&'static str, u32, &'static str, usize) -> SerializeTupleVariant;
        serialize_map(Option<usize>) -> SerializeMap;
        serialize_struct(&'static str, usize) -> SerializeStruct;
        serialize_struct_variant(&'static str, u32, &'static str, usize) -> SerializeStructVariant;
    }
}
