//! A CSV record as serde data: by position once the header was matched, by name where columns may be missing.

use std::{borrow::Cow, fmt};

use serde::de::{self, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess, Visitor};

use super::{
    number::Numbers,
    scan::{Dialect, Field},
};

/// What the text of a field means.
#[derive(Debug, Clone)]
pub(super) struct Format {
    pub(super) dialect: Dialect,
    pub(super) null_words: Vec<String>,
    pub(super) numbers: Numbers,
}

/// The columns of a file, and which of them a record's fields are.
#[derive(Debug, Default)]
pub(super) struct Columns {
    pub(super) names: Vec<String>,
    /// For each field of the record's type, its column; `None` before the first record.
    pub(super) by_field: Option<Vec<usize>>,
    pub(super) may_be_missing: bool,
}

/// Why a row could not be read.
#[derive(Debug)]
pub(super) enum RowError {
    /// This record is wrong.
    Record(String),
    /// The columns do not fit the type: every record is wrong.
    Columns(String),
}

/// One record.
pub(super) struct Row<'a> {
    pub(super) text: &'a str,
    pub(super) fields: &'a [Field],
    pub(super) columns: &'a mut Columns,
    pub(super) format: &'a Format,
}

impl Row<'_> {
    #[inline]
    fn value(&self, column: usize) -> Value<'_> {
        Value { row: self, column }
    }

    /// Matches the fields of the type to the columns.
    fn bind(&mut self, fields: &[&str]) -> Result<(), RowError> {
        if self.columns.by_field.is_some() {
            return Ok(());
        }
        let find = |field: &&str| {
            let mut found = self.columns.names.iter().enumerate().filter(|(_, name)| name == field);
            match (found.next(), found.next()) {
                (Some((column, _)), None) => Ok(Some(column)),
                (Some(_), Some(_)) => Err(RowError::Columns(format!("column `{field}` is there twice"))),
                (None, _) if self.columns.may_be_missing => Ok(None),
                (None, _) => Err(RowError::Columns(format!(
                    "column `{field}` is missing: the header has {}",
                    self.columns.names.join(", ")
                ))),
            }
        };
        let found: Vec<Option<usize>> = fields.iter().map(find).collect::<Result<_, _>>()?;
        // With a column missing, records are read by name, so that serde's defaults apply.
        self.columns.by_field = found.into_iter().collect::<Option<Vec<_>>>().or(Some(Vec::new()));
        Ok(())
    }
}

impl<'de> Deserializer<'de> for Row<'_> {
    type Error = RowError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, RowError> {
        self.deserialize_map(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        mut self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, RowError> {
        self.bind(fields)?;
        if let Some(columns) = self.columns.by_field.as_deref().filter(|columns| columns.len() == fields.len()) {
            return visitor.visit_seq(ByPosition { row: &self, columns });
        }
        self.deserialize_map(visitor)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, RowError> {
        visitor.visit_seq(InOrder { row: &self, at: 0 })
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _len: usize, visitor: V) -> Result<V::Value, RowError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _len: usize,
        visitor: V,
    ) -> Result<V::Value, RowError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, RowError> {
        visitor.visit_map(ByName { row: &self, at: 0 })
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, RowError> {
        visitor.visit_newtype_struct(self)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct enum
        identifier ignored_any
    }
}

/// The fields of a struct, in the order of its declaration.
struct ByPosition<'a> {
    row: &'a Row<'a>,
    /// The columns of those fields that have not come yet.
    columns: &'a [usize],
}

impl<'de> SeqAccess<'de> for ByPosition<'_> {
    type Error = RowError;

    #[inline]
    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, RowError> {
        let Some((&column, columns)) = self.columns.split_first() else { return Ok(None) };
        self.columns = columns;
        seed.deserialize(self.row.value(column)).map(Some)
    }
}

/// The fields of a tuple, in the order of the file.
struct InOrder<'a> {
    row: &'a Row<'a>,
    at: usize,
}

impl<'de> SeqAccess<'de> for InOrder<'_> {
    type Error = RowError;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, RowError> {
        if self.at == self.row.fields.len() {
            return Ok(None);
        }
        self.at += 1;
        seed.deserialize(self.row.value(self.at - 1)).map(Some)
    }
}

struct ByName<'a> {
    row: &'a Row<'a>,
    at: usize,
}

impl<'de> MapAccess<'de> for ByName<'_> {
    type Error = RowError;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, RowError> {
        let Some(name) = self.row.columns.names.get(self.at) else { return Ok(None) };
        seed.deserialize(name.as_str().into_deserializer()).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, RowError> {
        self.at += 1;
        seed.deserialize(self.row.value(self.at - 1))
    }
}

/// One field.
struct Value<'a> {
    row: &'a Row<'a>,
    column: usize,
}

impl<'a> Value<'a> {
    #[inline]
    fn field(&self) -> &'a Field {
        &self.row.fields[self.column]
    }

    /// As it stands in the file, without the quotes around it.
    #[inline]
    fn raw(&self) -> &'a str {
        let field = self.field();
        &self.row.text[field.start..field.end]
    }

    /// Its text: a doubled quote is one.
    #[inline]
    fn text(&self) -> Cow<'a, str> {
        match self.row.format.dialect.quote {
            Some(quote) if self.field().escaped => {
                let quote = char::from(quote);
                Cow::Owned(self.raw().replace(&format!("{quote}{quote}"), quote.encode_utf8(&mut [0; 4])))
            }
            _ => Cow::Borrowed(self.raw()),
        }
    }

    /// In quotes even an empty text is a text.
    #[inline]
    fn is_null(&self) -> bool {
        // Most texts differ in their first byte, which is cheaper to see than to compare two texts.
        let raw = self.raw();
        let is = |word: &str| word.bytes().next() == raw.bytes().next() && word == raw;
        !self.field().quoted && self.row.format.null_words.iter().any(|word| is(word))
    }

    #[cold]
    fn wrong(&self, wanted: &str) -> RowError {
        let text: String = self.text().chars().take(100).collect();
        RowError::Record(format!("column `{}`: \"{text}\" is not {wanted}", self.name()))
    }

    fn name(&self) -> &'a str {
        &self.row.columns.names[self.column]
    }
}

macro_rules! numbers {
    ($($method:ident $visit:ident $number:ty, $parse:ident, $wanted:literal;)+) => {
        $(#[inline]
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, RowError> {
            let numbers = self.row.format.numbers;
            let number: Option<$number> =
                if self.field().escaped { numbers.$parse(&self.text()) } else { numbers.$parse(self.raw()) };
            visitor.$visit(number.ok_or_else(|| self.wrong($wanted))?)
        })+
    };
}

impl<'de> Deserializer<'de> for Value<'_> {
    type Error = RowError;

    numbers! {
        deserialize_i8 visit_i8 i8, whole, "a whole number (i8)";
        deserialize_i16 visit_i16 i16, whole, "a whole number (i16)";
        deserialize_i32 visit_i32 i32, whole, "a whole number (i32)";
        deserialize_i64 visit_i64 i64, whole, "a whole number (i64)";
        deserialize_u8 visit_u8 u8, whole, "a whole number (u8)";
        deserialize_u16 visit_u16 u16, whole, "a whole number (u16)";
        deserialize_u32 visit_u32 u32, whole, "a whole number (u32)";
        deserialize_u64 visit_u64 u64, whole, "a whole number (u64)";
        deserialize_f32 visit_f32 f32, decimal, "a number (f32)";
        deserialize_f64 visit_f64 f64, decimal, "a number (f64)";
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, RowError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, RowError> {
        match &*self.text() {
            "true" | "TRUE" | "True" | "1" => visitor.visit_bool(true),
            "false" | "FALSE" | "False" | "0" => visitor.visit_bool(false),
            _ => Err(self.wrong("true or false")),
        }
    }

    #[inline]
    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, RowError> {
        match self.text() {
            Cow::Borrowed(text) => visitor.visit_str(text),
            Cow::Owned(text) => visitor.visit_string(text),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, RowError> {
        self.deserialize_str(visitor)
    }

    #[inline]
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, RowError> {
        if self.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, RowError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, RowError> {
        let name = self.name();
        visitor
            .visit_enum(self.text().into_owned().into_deserializer())
            .map_err(|error: RowError| RowError::Record(format!("column `{name}`: {error}")))
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, RowError> {
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! {
        i128 u128 char bytes byte_buf unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

impl de::Error for RowError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::Record(message.to_string())
    }

    fn missing_field(field: &'static str) -> Self {
        Self::Columns(format!("column `{field}` is missing, and its field has no default"))
    }
}

impl fmt::Display for RowError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Record(message) | Self::Columns(message)) = self;
        f.write_str(message)
    }
}

impl std::error::Error for RowError {}

/// Whether a type's fields have columns, without any record. A type that is no struct takes any columns.
pub(super) fn check_columns<'de, T: de::Deserialize<'de>>(
    names: &[String],
    may_be_missing: bool,
) -> Result<(), String> {
    struct Probe<'a>(&'a [String], bool);

    impl<'de> Deserializer<'de> for Probe<'_> {
        type Error = RowError;

        fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, RowError> {
            Err(RowError::Record(String::new()))
        }

        fn deserialize_struct<V: Visitor<'de>>(
            self,
            _name: &'static str,
            fields: &'static [&'static str],
            _visitor: V,
        ) -> Result<V::Value, RowError> {
            let mut columns = Columns { names: self.0.to_vec(), by_field: None, may_be_missing: self.1 };
            let dialect = Dialect { delimiter: b',', quote: None, comment: None };
            let format = Format { dialect, null_words: Vec::new(), numbers: Numbers::default() };
            Row { text: "", fields: &[], columns: &mut columns, format: &format }.bind(fields)?;
            Err(RowError::Record(String::new()))
        }

        serde::forward_to_deserialize_any! {
            bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
            newtype_struct seq tuple tuple_struct map enum identifier ignored_any
        }
    }

    match T::deserialize(Probe(names, may_be_missing)) {
        Err(RowError::Columns(message)) => Err(message),
        _ => Ok(()),
    }
}
