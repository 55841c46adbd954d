//! Records as documents.

use actix_batch_pipeline::{Position, sink::SinkError};
use bson::{self, Bson, Document, RawBsonRef, RawDocument, RawDocumentBuf};
use serde::Serialize;

/// What a server stores at most.
const LARGEST: usize = 16 * 1024 * 1024;

/// The record as a document.
pub(super) fn document<T: Serialize>(record: &T) -> Result<RawDocumentBuf, SinkError> {
    bson::serialize_to_raw_document_buf(record)
        .map_err(|error| SinkError::record("the record is no document").caused_by(error))
}

/// Refuses a document that the server would refuse, and the driver with its whole batch. It is asked when the document is as it is sent.
pub(super) fn check_size(document: &RawDocument) -> Result<(), SinkError> {
    let size = document.as_bytes().len();
    if size > LARGEST {
        let message = format!("the record makes a document of {size} bytes, and MongoDB stores {LARGEST} at most");
        return Err(SinkError::record(message));
    }
    Ok(())
}

/// The document's own `_id`. A null is none: it comes of an `Option` that is `None`.
pub(super) fn own_id(document: &RawDocument) -> Option<RawBsonRef<'_>> {
    document.get("_id").ok().flatten().filter(|id| *id != RawBsonRef::Null)
}

/// The document with its `_id` first, where the server has it, and with this one if it has none.
pub(super) fn with_id(document: RawDocumentBuf, or: impl FnOnce() -> String) -> RawDocumentBuf {
    let first = document.iter().next().and_then(Result::ok);
    if first.is_some_and(|(name, value)| name.as_str() == "_id" && value != RawBsonRef::Null) {
        return document;
    }
    let mut with = RawDocumentBuf::new();
    match own_id(&document) {
        Some(id) => with.append(bson::cstr!("_id"), id),
        None => with.append(bson::cstr!("_id"), or()),
    }
    append_others(&mut with, &document);
    with
}

/// The document without an `_id` that is null.
pub(super) fn without_null_id(document: RawDocumentBuf) -> RawDocumentBuf {
    if !matches!(document.get("_id"), Ok(Some(RawBsonRef::Null))) {
        return document;
    }
    let mut without = RawDocumentBuf::new();
    append_others(&mut without, &document);
    without
}

fn append_others(to: &mut RawDocumentBuf, document: &RawDocument) {
    for (name, value) in document.iter().filter_map(Result::ok).filter(|(name, _)| name.as_str() != "_id") {
        to.append(name, value);
    }
}

/// The `_id` of a record that has none: the same whenever it is written, and in the order of the source.
pub(super) fn id_of(pipeline: &str, position: Position) -> String {
    let Position { record, part, range } = position;
    let whole = format!("{pipeline}/{range}/{record:012}");
    if part == 0 { whole } else { format!("{whole}/{part}") }
}

/// The values of the key, or why there is none.
pub(super) fn key(document: &RawDocument, fields: &[String]) -> Result<Vec<Bson>, SinkError> {
    let refused = |field: &str, why: &str| SinkError::record(format!("`{field}` {why}, and it is part of the key"));
    let one = |field: &String| match field_of(document, field).map(Bson::try_from) {
        None => Err(refused(field, "is missing")),
        Some(Err(_)) => Err(refused(field, "is no BSON")),
        Some(Ok(Bson::Null | Bson::Undefined)) => Err(refused(field, "is null")),
        Some(Ok(Bson::Array(_))) => Err(refused(field, "is an array, which stands for each of its values")),
        Some(Ok(value)) => Ok(value),
    };
    fields.iter().map(one).collect()
}

/// A field, or one of a document within: `address.city`.
fn field_of<'a>(document: &'a RawDocument, path: &str) -> Option<RawBsonRef<'a>> {
    if let Ok(Some(found)) = document.get(path) {
        return Some(found);
    }
    let (first, rest) = path.split_once('.')?;
    field_of(document.get(first).ok().flatten()?.as_document()?, rest)
}

/// Equal for values that are equal to the server, and in one order for all writers.
pub(super) fn canonical(values: &[Bson]) -> Vec<u8> {
    let values = values.iter().map(|value| match value {
        Bson::Int32(number) => Bson::Int64(i64::from(*number)),
        // Whole numbers that a double has exactly.
        #[allow(clippy::cast_possible_truncation, reason = "it is whole, and small enough")]
        Bson::Double(number) if number.fract() == 0.0 && number.abs() < 9e15 => Bson::Int64(*number as i64),
        other => other.clone(),
    });
    let document: Document = values.enumerate().map(|(at, value)| (at.to_string(), value)).collect();
    bson::serialize_to_vec(&document).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::{doc, rawdoc};

    #[test]
    fn an_id_is_that_of_the_record_or_made_of_its_position_and_stands_first() {
        let id = || id_of("cities", Position { record: 42, part: 0, range: 3 });
        let with = |document| Document::try_from(with_id(document, id)).unwrap();
        let names = |document: &Document| document.keys().cloned().collect::<Vec<_>>();
        let made = with(rawdoc! { "name": "Bonn", "_id": null });
        assert_eq!(
            (names(&made), made.get_str("_id").unwrap()),
            (vec!["_id".into(), "name".into()], "cities/3/000000000042")
        );
        let own = with(rawdoc! { "name": "Bonn", "_id": 7 });
        assert_eq!((names(&own), own.get_i32("_id").unwrap()), (vec!["_id".into(), "name".into()], 7));
    }

    #[test]
    fn parts_of_one_record_have_ids_of_their_own_which_no_other_pipeline_makes() {
        let id = |pipeline, range, record, part| id_of(pipeline, Position { record, part, range });
        assert_eq!(id("a", 1, 2, 3), "a/1/000000000002/3");
        assert_ne!(id("a", 1, 2, 3), id("a/1", 2, 3, 0));
        assert!(id("a", 0, 9, 0) < id("a", 0, 10, 0) && id("a", 0, 9, 0) < id("a", 0, 9, 1));
    }

    #[test]
    fn keys_are_equal_if_the_server_finds_them_equal() {
        let bytes = |value: Bson| canonical(&[value]);
        assert_eq!(bytes(Bson::Int32(5)), bytes(Bson::Double(5.0)));
        assert_eq!(bytes(Bson::Int32(5)), bytes(Bson::Int64(5)));
        assert_ne!(bytes(Bson::Int32(5)), bytes(Bson::Double(5.5)));
        assert_ne!(bytes(Bson::Int32(5)), bytes(Bson::String("5".to_owned())));
    }

    #[test]
    fn a_key_that_finds_no_single_document_is_refused_by_name() {
        let document = rawdoc! { "a": 1, "b": { "c": "x" }, "d": [1], "e": null };
        let of = |field: &str| key(&document, &[field.to_owned()]).map_err(|error| error.to_string());
        assert_eq!(of("b.c"), Ok(vec![Bson::from("x")]));
        assert_eq!(of("b"), Ok(vec![Bson::Document(doc! { "c": "x" })]));
        for (field, why) in [("d", "an array"), ("e", "null"), ("f", "missing"), ("b.d", "missing")] {
            let refused = of(field).unwrap_err();
            assert!(refused.contains(why) && refused.contains(field), "{refused}");
        }
    }
}
