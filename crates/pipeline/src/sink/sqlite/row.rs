//! Binds the fields of a record to the parameters of a statement.
//!
//! The fields of most records come in the order of the statement, which costs one comparison of addresses for each. Another order is found
//! by name.

use std::borrow::Cow;

use rusqlite::types::Null;
use serde::{
    Serialize, Serializer,
    ser::{Impossible, SerializeMap, SerializeStruct},
};
use serde_json::Value as Json;

use super::value::{BindError, Parameters, bind};

/// A field of the records, which is a parameter of the statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) name: Cow<'static, str>,
    /// Whether it is part of the key.
    pub(super) is_key: bool,
}

/// What is reused from row to row.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    text: Vec<u8>,
    /// Which fields have been bound; only kept for a record whose fields come in another order.
    bound: Vec<bool>,
    /// Fields of the last record that the statement does not have.
    pub(super) unknown: Vec<Cow<'static, str>>,
    /// Whether the last record was a map.
    pub(super) is_map: bool,
}

/// Serializes one record.
pub(super) struct Row<'a, P> {
    fields: &'a [Field],
    parameters: &'a mut P,
    scratch: &'a mut Scratch,
    /// The field that is expected next. Beyond all of them once a field has come out of order.
    next: usize,
    in_order: bool,
    /// The column of the map entry at hand.
    key: Option<String>,
}

impl Field {
    #[inline]
    fn is(&self, name: &str) -> bool {
        let same_place = std::ptr::eq(self.name.as_ptr(), name.as_ptr()) && self.name.len() == name.len();
        same_place || self.name == name
    }
}

impl<'a, P: Parameters> Row<'a, P> {
    pub(super) fn new(fields: &'a [Field], parameters: &'a mut P, scratch: &'a mut Scratch) -> Self {
        scratch.unknown.clear();
        scratch.is_map = false;
        Self { fields, parameters, scratch, next: 0, in_order: true, key: None }
    }

    #[inline]
    fn field<T: Serialize + ?Sized>(
        &mut self,
        name: &str,
        own: impl FnOnce() -> Cow<'static, str>,
        value: &T,
    ) -> Result<(), BindError> {
        let index = match self.fields.get(self.next) {
            Some(field) if field.is(name) => self.next,
            _ => {
                let Some(index) = self.find(name) else {
                    self.scratch.unknown.push(own());
                    return Ok(());
                };
                index
            }
        };
        self.next += 1;
        bind(self.parameters, index + 1, value, &mut self.scratch.text)
            .map_err(|error| named(&self.fields[index].name, error))
    }

    /// The place of a field that is not the next one.
    #[cold]
    fn find(&mut self, name: &str) -> Option<usize> {
        self.leave_order();
        let index = self.fields.iter().position(|field| field.is(name))?;
        self.scratch.bound[index] = true;
        Some(index)
    }

    #[cold]
    fn leave_order(&mut self) {
        if self.in_order {
            let next = self.next;
            self.scratch.bound.clear();
            self.scratch.bound.extend((0..self.fields.len()).map(|index| index < next));
            self.in_order = false;
        }
        self.next = self.fields.len();
    }

    /// Fields that the record lacks are NULL: the statement still holds the values of the row before.
    #[inline]
    fn finish(mut self) -> Result<(), BindError> {
        if self.in_order && self.next == self.fields.len() { Ok(()) } else { self.bind_missing() }
    }

    #[cold]
    fn bind_missing(&mut self) -> Result<(), BindError> {
        self.leave_order();
        for (index, field) in self.fields.iter().enumerate().filter(|(index, _)| !self.scratch.bound[*index]) {
            if field.is_key {
                let message = format!("the record has no field `{}`, which is part of the key", field.name);
                return Err(BindError::Refused(message.into()));
            }
            self.parameters.bind(index + 1, Null)?;
        }
        Ok(())
    }
}

#[cold]
fn named(field: &str, error: BindError) -> BindError {
    match error {
        BindError::Refused(reason) => BindError::Refused(format!("field `{field}`: {reason}").into()),
        other => other,
    }
}

impl<P: Parameters> SerializeStruct for Row<'_, P> {
    type Ok = ();
    type Error = BindError;

    #[inline]
    fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), BindError> {
        self.field(name, || Cow::Borrowed(name), value)
    }

    fn skip_field(&mut self, name: &'static str) -> Result<(), BindError> {
        self.field(name, || Cow::Borrowed(name), &())
    }

    #[inline]
    fn end(self) -> Result<(), BindError> {
        self.finish()
    }
}

impl<P: Parameters> SerializeMap for Row<'_, P> {
    type Ok = ();
    type Error = BindError;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), BindError> {
        self.key = match serde_json::to_value(key) {
            Ok(Json::String(name)) => Some(name),
            _ => return Err(BindError::Refused("the names of columns must be texts".into())),
        };
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), BindError> {
        let name = self.key.take().unwrap_or_default();
        self.field(&name, || Cow::Owned(name.clone()), value)
    }

    fn end(self) -> Result<(), BindError> {
        self.finish()
    }
}

/// Only a struct, a map, and a wrapper of one have names of columns.
macro_rules! no_fields {
    ($($method:ident($($argument:ty),*) -> $answer:ty;)*) => {
        $(fn $method(self, $(_: $argument),*) -> Result<$answer, BindError> {
            Err(BindError::NoFields)
        })*
    };
}

impl<P: Parameters> Serializer for Row<'_, P> {
    type Ok = ();
    type Error = BindError;
    type SerializeSeq = Impossible<(), BindError>;
    type SerializeTuple = Impossible<(), BindError>;
    type SerializeTupleStruct = Impossible<(), BindError>;
    type SerializeTupleVariant = Impossible<(), BindError>;
    type SerializeMap = Self;
    type SerializeStruct = Self;
    type SerializeStructVariant = Impossible<(), BindError>;

    #[inline]
    fn serialize_struct(self, _name: &'static str, _len: usize) -> Result<Self, BindError> {
        Ok(self)
    }

    fn serialize_map(self, _len: Option<usize>) -> Result<Self, BindError> {
        self.scratch.is_map = true;
        Ok(self)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), BindError> {
        value.serialize(self)
    }

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
        Err(BindError::NoFields)
    }

    no_fields! {
        serialize_bool(bool) -> ();
        serialize_i8(i8) -> ();
        serialize_i16(i16) -> ();
        serialize_i32(i32) -> ();
        serialize_i64(i64) -> ();
        serialize_u8(u8) -> ();
        serialize_u16(u16) -> ();
        serialize_u32(u32) -> ();
        serialize_u64(u64) -> ();
        serialize_f32(f32) -> ();
        serialize_f64(f64) -> ();
        serialize_char(char) -> ();
        serialize_str(&str) -> ();
        serialize_bytes(&[u8]) -> ();
        serialize_none() -> ();
        serialize_unit() -> ();
        serialize_unit_struct(&'static str) -> ();
        serialize_unit_variant(&'static str, u32, &'static str) -> ();
        serialize_seq(Option<usize>) -> Self::SerializeSeq;
        serialize_tuple(usize) -> Self::SerializeTuple;
        serialize_tuple_struct(&'static str, usize) -> Self::SerializeTupleStruct;
        serialize_tuple_variant(&'static str, u32, &'static str, usize) -> Self::SerializeTupleVariant;
        serialize_struct_variant(&'static str, u32, &'static str, usize) -> Self::SerializeStructVariant;
    }
}
