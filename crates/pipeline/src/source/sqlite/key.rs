//! The key of a row: where reading goes on.

use std::{cmp::Ordering, fmt};

use rusqlite::{
    Error, Row, ToSql,
    types::{ToSqlOutput, Type, ValueRef},
};
use serde::{Deserialize, Serialize, de};

use crate::source::Cursor;

/// The key of a row, as the table holds it: the cursor of a [`SqliteTable`](super::SqliteTable).
///
/// It is stored exactly, and ordered as SQLite orders it: numbers, then texts and blobs byte by byte.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SqliteKey(Vec<KeyValue>);

/// One value of a key.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum KeyValue {
    Integer(i64),
    /// As text: JSON readers may round a number.
    #[serde(with = "real")]
    Real(f64),
    Text(String),
    /// A text that is not UTF-8.
    #[serde(with = "hex")]
    Bytes(Vec<u8>),
    #[serde(with = "hex")]
    Blob(Vec<u8>),
}

impl Cursor for SqliteKey {}

impl SqliteKey {
    /// Takes the key of a row, whose values begin with this column.
    pub(super) fn set(&mut self, row: &Row<'_>, from: usize, columns: usize) -> rusqlite::Result<()> {
        self.0.clear();
        for column in from..from + columns {
            self.0.push(KeyValue::of(row, column)?);
        }
        Ok(())
    }

    pub(super) fn refs(&self) -> impl Iterator<Item = ValueRef<'_>> {
        self.0.iter().map(KeyValue::as_ref)
    }

    /// The values, to be bound.
    pub(super) fn values(&self) -> impl Iterator<Item = &dyn ToSql> {
        self.0.iter().map(|value| value as &dyn ToSql)
    }

    /// How many columns it has.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

impl KeyValue {
    /// A key has no NULL: the queries leave them out, or the table has none.
    fn of(row: &Row<'_>, column: usize) -> rusqlite::Result<Self> {
        Ok(match row.get_ref(column)? {
            ValueRef::Null => return Err(Error::InvalidColumnType(column, "key".to_owned(), Type::Null)),
            ValueRef::Integer(value) => Self::Integer(value),
            ValueRef::Real(value) => Self::Real(value),
            ValueRef::Text(text) => match std::str::from_utf8(text) {
                Ok(text) => Self::Text(text.to_owned()),
                Err(_) => Self::Bytes(text.to_owned()),
            },
            ValueRef::Blob(bytes) => Self::Blob(bytes.to_owned()),
        })
    }

    fn as_ref(&self) -> ValueRef<'_> {
        match self {
            Self::Integer(value) => ValueRef::Integer(*value),
            Self::Real(value) => ValueRef::Real(*value),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Bytes(bytes) => ValueRef::Text(bytes),
            Self::Blob(bytes) => ValueRef::Blob(bytes),
        }
    }
}

impl ToSql for KeyValue {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(self.as_ref()))
    }
}

impl Ord for KeyValue {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self.as_ref(), other.as_ref()) {
            (ValueRef::Integer(one), ValueRef::Integer(other)) => one.cmp(&other),
            (ValueRef::Integer(one), ValueRef::Real(other)) => compare(one, other),
            (ValueRef::Real(one), ValueRef::Integer(other)) => compare(other, one).reverse(),
            (ValueRef::Real(one), ValueRef::Real(other)) => compare_reals(one, other),
            (ValueRef::Text(one), ValueRef::Text(other)) | (ValueRef::Blob(one), ValueRef::Blob(other)) => {
                one.cmp(other)
            }
            (one, other) => class(one).cmp(&class(other)),
        }
    }
}

/// Numbers come before texts, texts before blobs.
fn class(value: ValueRef<'_>) -> u8 {
    match value {
        ValueRef::Null => 0,
        ValueRef::Integer(_) | ValueRef::Real(_) => 1,
        ValueRef::Text(_) => 2,
        ValueRef::Blob(_) => 3,
    }
}

/// SQLite has no NaN, and its two zeros are equal.
fn compare_reals(one: f64, other: f64) -> Ordering {
    one.partial_cmp(&other).unwrap_or_else(|| one.total_cmp(&other))
}

/// Exactly: not every integer is a float.
#[expect(clippy::cast_possible_truncation, reason = "the bounds are checked first")]
fn compare(integer: i64, real: f64) -> Ordering {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    if real >= LIMIT {
        return Ordering::Less;
    }
    if real < -LIMIT {
        return Ordering::Greater;
    }
    let whole = real.trunc();
    integer.cmp(&(whole as i64)).then_with(|| compare_reals(whole, real))
}

impl PartialOrd for KeyValue {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for KeyValue {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for KeyValue {}

impl fmt::Display for SqliteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, value) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            write_value(f, value.as_ref())?;
        }
        Ok(())
    }
}

/// Writes a value for people.
pub(super) fn write_value(f: &mut impl fmt::Write, value: ValueRef<'_>) -> fmt::Result {
    match value {
        ValueRef::Null => f.write_str("NULL"),
        ValueRef::Integer(value) => write!(f, "{value}"),
        ValueRef::Real(value) => write!(f, "{value:?}"),
        ValueRef::Text(text) => write!(f, "{:?}", String::from_utf8_lossy(text)),
        ValueRef::Blob(bytes) => write!(f, "x'{}'", hex::encode(bytes)),
    }
}

mod real {
    use super::{Deserialize, de};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's shape")]
    pub(super) fn serialize<S: serde::Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{value:?}"))
    }

    pub(super) fn deserialize<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

mod hex {
    use std::fmt::Write;

    use super::{Deserialize, de};

    pub(super) fn encode(bytes: &[u8]) -> String {
        bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }

    pub(super) fn serialize<S: serde::Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&encode(bytes))
    }

    pub(super) fn deserialize<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        let pairs = text.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap_or_default());
        pairs.map(|pair| u8::from_str_radix(pair, 16).map_err(de::Error::custom)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> Vec<SqliteKey> {
        let values = [
            KeyValue::Real(f64::NEG_INFINITY),
            KeyValue::Integer(i64::MIN),
            KeyValue::Integer(-1),
            KeyValue::Real(-0.5),
            KeyValue::Integer(0),
            KeyValue::Real(0.1 + 0.2),
            KeyValue::Integer(9_007_199_254_740_992),
            KeyValue::Integer(9_007_199_254_740_993),
            KeyValue::Real(9_007_199_254_740_994.0),
            KeyValue::Integer(i64::MAX),
            KeyValue::Real(9_223_372_036_854_775_808.0),
            KeyValue::Real(f64::INFINITY),
            KeyValue::Text(String::new()),
            KeyValue::Text("2013-01-01T10:00:00+05:00".to_owned()),
            KeyValue::Text("a\0b".to_owned()),
            KeyValue::Bytes(vec![b'a', 0xff]),
            KeyValue::Blob(vec![]),
            KeyValue::Blob(vec![0, 255]),
        ];
        values.into_iter().map(|value| SqliteKey(vec![value])).collect()
    }

    #[test]
    fn a_key_is_stored_exactly() {
        for key in keys() {
            let stored = serde_json::to_value(&key).unwrap();
            let loaded =
                SqliteKey::load(SqliteKey::VERSION, serde_json::from_str(&stored.to_string()).unwrap()).unwrap();
            assert_eq!(format!("{loaded:?}"), format!("{key:?}"), "{stored}");
        }
    }

    #[test]
    fn keys_are_ordered_as_sqlite_orders_them() {
        let keys = keys();
        assert!(keys.is_sorted_by(|one, other| one < other), "{keys:?}");
        let connection = rusqlite::Connection::open_in_memory().unwrap();
        for (one, other) in keys.iter().flat_map(|one| keys.iter().map(move |other| (one, other))) {
            let compare = "SELECT CASE WHEN ?1 < ?2 THEN -1 WHEN ?1 = ?2 THEN 0 ELSE 1 END";
            let sqlite: i8 =
                connection.query_row(compare, rusqlite::params![one.0[0], other.0[0]], |row| row.get(0)).unwrap();
            assert_eq!(one.cmp(other) as i8, sqlite, "{one} {other}");
        }
    }
}
