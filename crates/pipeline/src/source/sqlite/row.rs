//! Deserializes a row: each column is a field.

use rusqlite::{Row, types::ValueRef};
use serde::{
    Deserializer, de,
    de::{
        DeserializeSeed, IntoDeserializer, MapAccess, Visitor,
        value::{Error, SeqDeserializer, StrDeserializer},
    },
    forward_to_deserialize_any,
};

/// A row, as a map of its columns.
pub(super) struct RowMap<'a> {
    pub(super) row: &'a Row<'a>,
    pub(super) columns: &'a [String],
    /// The next column.
    pub(super) next: usize,
}

impl<'de> Deserializer<'de> for RowMap<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_map(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _name: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct enum identifier ignored_any
    }
}

impl<'de> MapAccess<'de> for RowMap<'_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        let Some(name) = self.columns.get(self.next) else { return Ok(None) };
        let name: StrDeserializer<'_, Error> = name.as_str().into_deserializer();
        seed.deserialize(name).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let index = self.next;
        self.next += 1;
        let value = self.row.get_ref(index).map_err(de::Error::custom)?;
        let named = |error| de::Error::custom(format_args!("column `{}`: {error}", self.columns[index]));
        seed.deserialize(Value(value)).map_err(named)
    }
}

type Json<'a> = serde_json::Deserializer<serde_json::de::IoRead<&'a [u8]>>;

/// One value of a row.
struct Value<'a>(ValueRef<'a>);

impl<'a> Value<'a> {
    fn text(&self) -> Option<&'a [u8]> {
        match self.0 {
            ValueRef::Text(text) => Some(text),
            _ => None,
        }
    }

    /// A text that is the JSON of a nested value, as the sink stores it. It is read as a stream, which lends nothing to the value.
    fn nested<O>(text: &[u8], read: impl FnOnce(&mut Json<'_>) -> serde_json::Result<O>) -> Result<O, Error> {
        let mut json = serde_json::Deserializer::from_reader(text);
        let value = read(&mut json).and_then(|value| json.end().map(|()| value));
        value.map_err(|error| de::Error::custom(format_args!("a nested value stands there as JSON, and: {error}")))
    }
}

impl<'de> Deserializer<'de> for Value<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            ValueRef::Null => visitor.visit_unit(),
            ValueRef::Integer(value) => visitor.visit_i64(value),
            ValueRef::Real(value) => visitor.visit_f64(value),
            ValueRef::Text(text) => visitor.visit_str(std::str::from_utf8(text).map_err(de::Error::custom)?),
            ValueRef::Blob(bytes) => visitor.visit_bytes(bytes),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.0 == ValueRef::Null { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    /// SQLite's truth values are 0 and 1.
    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            ValueRef::Integer(value @ (0 | 1)) => visitor.visit_bool(value == 1),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            ValueRef::Text(text) => Self::nested(text, |json| json.deserialize_seq(visitor)),
            ValueRef::Blob(bytes) => visitor.visit_seq(SeqDeserializer::new(bytes.iter().copied())),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _len: usize, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _len: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.text() {
            Some(text) => Self::nested(text, |json| json.deserialize_map(visitor)),
            None => self.deserialize_any(visitor),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.text() {
            Some(text) => Self::nested(text, |json| json.deserialize_struct(name, fields, visitor)),
            None => self.deserialize_any(visitor),
        }
    }

    /// A variant without values is its name, any other one is JSON.
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.text() {
            Some(text) if text.starts_with(b"{") => {
                Self::nested(text, |json| json.deserialize_enum(name, variants, visitor))
            }
            Some(text) => {
                let text = std::str::from_utf8(text).map_err(de::Error::custom)?;
                let name: StrDeserializer<'_, Error> = text.into_deserializer();
                visitor.visit_enum(name)
            }
            None => self.deserialize_any(visitor),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _name: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct identifier
    }
}
