//! The row that the server names when it refuses a statement.
//!
//! Of a constraint it says `Key (id)=(7) already exists.` or `Failing row contains (7, bad).`, with the values as text (PostgreSQL's
//! `src/backend/executor/execMain.c` and `access/nbtree/nbtinsert.c`). A record with these values is only suspected: it has to be tried alone.

use actix_batch_pipeline::Record;
use serde::Serialize;
use serde_json::{Map, Value};
use tokio_postgres::Error;

use crate::table::Table;

/// The last of these records of a batch that has the values which the server names.
pub(super) fn row<T: Serialize>(error: &Error, batch: &[Record<T>], written: &[usize], table: &Table) -> Option<usize> {
    let detail = error.as_db_error()?.detail()?;
    let columns: Vec<_> = table.columns.iter().map(|column| &*column.name).collect();
    let named = key(detail).or_else(|| failing_row(detail, &columns))?;
    let is_it = |at: &&usize| {
        let record = serde_json::to_value(&*batch[**at]);
        matches!(record, Ok(Value::Object(record)) if fits(&record, &named))
    };
    written.iter().rev().find(is_it).copied()
}

/// Columns and their values.
type Named<'a> = Vec<(&'a str, &'a str)>;

fn key(detail: &str) -> Option<Named<'_>> {
    let (columns, rest) = detail.strip_prefix("Key (")?.split_once(")=(")?;
    let (values, _) = rest.rsplit_once(") ")?;
    paired(columns.split(", ").collect(), values)
}

fn failing_row<'a>(detail: &'a str, columns: &[&'a str]) -> Option<Named<'a>> {
    paired(columns.to_vec(), detail.strip_prefix("Failing row contains (")?.strip_suffix(").")?)
}

/// `None` if a comma within a value makes them ambiguous.
fn paired<'a>(columns: Vec<&'a str>, values: &'a str) -> Option<Named<'a>> {
    let values: Vec<_> = values.split(", ").collect();
    (columns.len() == values.len()).then(|| columns.into_iter().zip(values).collect())
}

/// Whether a record has these values, as far as their text can be known. Columns that it does not have are the table's.
fn fits(record: &Map<String, Value>, named: &Named<'_>) -> bool {
    let mut compared =
        named.iter().filter_map(|(column, value)| Some(text(record.get(*column)?)? == *value)).peekable();
    compared.peek().is_some() && compared.all(|is_equal| is_equal)
}

/// As the server writes it.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::Null => Some("null".to_owned()),
        Value::Bool(value) => Some(if *value { "t" } else { "f" }.to_owned()),
        Value::Number(value) => Some(value.to_string()),
        Value::String(value) => Some(value.clone()),
        Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn is_named(detail: &str, record: &Value) -> bool {
        let named = key(detail).or_else(|| failing_row(detail, &["id", "name", "price"]));
        named.is_some_and(|named| fits(record.as_object().unwrap(), &named))
    }

    #[test]
    fn a_record_is_suspected_if_it_has_the_values_that_the_server_names() {
        let record = json!({ "id": 7, "name": "bad" });
        assert!(is_named("Key (id)=(7) already exists.", &record));
        assert!(is_named("Key (name, id)=(bad, 7) is not present in table \"names\".", &record));
        assert!(is_named("Failing row contains (7, bad, 1.5).", &record), "the price is a default");
        assert!(!is_named("Key (id)=(8) already exists.", &record));
        assert!(!is_named("Failing row contains (7, good, 1.5).", &record));
    }

    #[test]
    fn what_is_ambiguous_or_says_nothing_names_no_record() {
        let record = json!({ "id": 7, "name": "a, b" });
        assert!(!is_named("Failing row contains (7, a, b, 1.5).", &record));
        assert!(!is_named("Key (lower(name))=(a) already exists.", &record));
        assert!(!is_named("Key (place)=(7) already exists.", &record));
        assert!(!is_named("a trigger's own words", &record));
    }
}
