//! The `_id` of a document as a cursor, and the order in which the server has them.
//!
//! A comparison by `$gt` or `$lte` only finds values of the type that it compares with, while an index holds all types, one after the other.
//! So a range of `_id`s is asked for type by type: that is what [`between`] does.

use std::cmp::Ordering;

use actix_batch_pipeline::{Cursor, Range};
use bson::{Bson, Document, doc};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use serde_json::{Value, json};

/// The `_id` of a document: whatever BSON it is. It is stored as canonical extended JSON, which reads back to the same value; a document as the
/// list of its fields, `{"$fields": [["day", …], ["carrier", …]]}`, because their order counts.
///
/// Its order is one of texts, for collections of them. The server has its own.
#[derive(Debug, Clone)]
pub struct DocumentId(Bson);

impl Cursor for DocumentId {}

impl DocumentId {
    pub(crate) fn new(id: Bson) -> Self {
        Self(id)
    }

    pub(crate) fn bson(&self) -> &Bson {
        &self.0
    }

    /// For people and for comparing: canonical extended JSON, but an object's id is shown as its digits. No other `_id` has the same text.
    pub(crate) fn text(&self) -> String {
        match &self.0 {
            Bson::String(text) => format!("{text:?}"),
            Bson::ObjectId(id) => id.to_hex(),
            other => to_json(other).to_string(),
        }
    }

    fn stored(&self) -> Value {
        to_json(&self.0)
    }
}

impl Serialize for DocumentId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.stored().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for DocumentId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = Value::deserialize(deserializer)?;
        from_json(json).map(Self).map_err(|error| D::Error::custom(format!("this is no extended JSON: {error}")))
    }
}

impl PartialEq for DocumentId {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for DocumentId {}

impl PartialOrd for DocumentId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for DocumentId {
    fn cmp(&self, other: &Self) -> Ordering {
        self.stored().to_string().cmp(&other.stored().to_string())
    }
}

fn to_json(id: &Bson) -> Value {
    match id {
        Bson::Document(document) => {
            let fields = document.iter().map(|(name, value)| json!([name, to_json(value)]));
            json!({ "$fields": fields.collect::<Vec<_>>() })
        }
        Bson::Array(values) => values.iter().map(to_json).collect(),
        other => other.clone().into_canonical_extjson(),
    }
}

fn from_json(json: Value) -> Result<Bson, bson::error::Error> {
    match json {
        Value::Array(values) => values.into_iter().map(from_json).collect::<Result<Vec<_>, _>>().map(Bson::Array),
        Value::Object(mut object) if object.len() == 1 && object.contains_key("$fields") => {
            let fields: Vec<(String, Value)> = object
                .remove("$fields")
                .and_then(|fields| serde_json::from_value(fields).ok())
                .ok_or_else(|| bson::error::Error::custom("`$fields` is no list of names and values"))?;
            let fields = fields.into_iter().map(|(name, value)| Ok((name, from_json(value)?)));
            fields.collect::<Result<Document, _>>().map(Bson::Document)
        }
        other => Bson::try_from(other),
    }
}

/// The types that an `_id` can have, in the server's order.
const TYPES: [&str; 13] = [
    "minKey",
    "null",
    "number",
    "string",
    "object",
    "binData",
    "objectId",
    "bool",
    "date",
    "timestamp",
    "javascript",
    "javascriptWithScope",
    "maxKey",
];

/// The place of a value's type in [`TYPES`].
pub(crate) fn type_of(id: &Bson) -> usize {
    match id {
        Bson::MinKey => 0,
        Bson::Null | Bson::Undefined => 1,
        Bson::Int32(_) | Bson::Int64(_) | Bson::Double(_) | Bson::Decimal128(_) => 2,
        Bson::String(_) | Bson::Symbol(_) => 3,
        Bson::Document(_) | Bson::Array(_) => 4,
        Bson::Binary(_) => 5,
        Bson::ObjectId(_) => 6,
        Bson::Boolean(_) => 7,
        Bson::DateTime(_) => 8,
        Bson::Timestamp(_) => 9,
        Bson::JavaScriptCode(_) | Bson::RegularExpression(_) | Bson::DbPointer(_) => 10,
        Bson::JavaScriptCodeWithScope(_) => 11,
        Bson::MaxKey => 12,
    }
}

/// The documents of a range, if the smallest and the largest `_id` of the collection are these.
pub(crate) fn between(range: &Range<DocumentId>, smallest: &Bson, largest: &Bson) -> Document {
    let (from, to) = (range.from.as_ref().map(DocumentId::bson), range.to.as_ref().map(DocumentId::bson));
    let first = type_of(from.unwrap_or(smallest));
    // What lies before `from` may be all that the collection has left.
    let last = type_of(to.unwrap_or(largest)).max(first);
    let mut pieces: Vec<_> = (first..=last).filter_map(|at| piece(at, from, to)).collect();
    // To a query NaN is less than no number, though it comes before all of them.
    if from.is_none() && is_nan(smallest) && to.is_some_and(|to| type_of(to) == first && !is_nan(to)) {
        pieces.push(doc! { "_id": smallest });
    }
    match <[Document; 1]>::try_from(pieces) {
        Ok([piece]) => piece,
        // No `_id` is an array.
        Err(none) if none.is_empty() => doc! { "_id": { "$type": "array" } },
        Err(several) => doc! { "$or": several },
    }
}

/// The part of a range that has this type.
fn piece(at: usize, from: Option<&Bson>, to: Option<&Bson>) -> Option<Document> {
    let (from, to) = (from.filter(|id| type_of(id) == at), to.filter(|id| type_of(id) == at));
    // Types that have a single value: nothing comes after it, and everything is up to it.
    if matches!(TYPES[at], "minKey" | "null" | "maxKey") {
        return from.is_none().then(|| doc! { "_id": { "$type": TYPES[at] } });
    }
    let mut bounds = Document::new();
    if let Some(from) = from {
        // To a query no number is greater than NaN.
        let (operator, from) = if is_nan(from) { ("$gte", &Bson::Double(f64::NEG_INFINITY)) } else { ("$gt", from) };
        bounds.insert(operator, from);
    }
    if let Some(to) = to {
        bounds.insert("$lte", to);
    }
    if bounds.is_empty() {
        bounds.insert("$type", TYPES[at]);
    }
    Some(doc! { "_id": bounds })
}

fn is_nan(id: &Bson) -> bool {
    match id {
        Bson::Double(number) => number.is_nan(),
        Bson::Decimal128(number) => number.to_string().ends_with("NaN"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::{DateTime, Timestamp, oid::ObjectId, spec::BinarySubtype};

    #[test]
    fn different_ids_have_different_texts_although_one_looks_like_the_other() {
        let id = ObjectId::new();
        let alike = [Bson::ObjectId(id), Bson::String(id.to_hex()), Bson::Int32(1), Bson::String("1".to_owned())];
        let texts: std::collections::HashSet<_> = alike.into_iter().map(|id| DocumentId::new(id).text()).collect();
        assert_eq!(texts.len(), 4, "{texts:?}");
    }

    fn ids() -> Vec<Bson> {
        let binary = bson::Binary { subtype: BinarySubtype::Generic, bytes: vec![0, 255] };
        vec![
            Bson::MinKey,
            Bson::Null,
            Bson::Double(f64::NAN),
            Bson::Double(f64::NEG_INFINITY),
            Bson::Double(-0.0),
            Bson::Double(5e-324),
            Bson::Double(0.1),
            Bson::Double(1e300),
            Bson::Double(9_007_199_254_740_993.0),
            Bson::Int32(-7),
            Bson::Int64(i64::MAX),
            Bson::Decimal128("1.50".parse().unwrap()),
            Bson::String("a \"quoted\" $text\u{0}".to_owned()),
            Bson::Document(doc! { "b": 1_i64, "a": { "$oid": "no id" } }),
            Bson::Document(doc! { "day": 1, "carrier": "UA" }),
            Bson::Binary(binary),
            Bson::ObjectId(ObjectId::new()),
            Bson::Boolean(true),
            Bson::DateTime(DateTime::from_millis(-62_135_596_800_001)),
            Bson::DateTime(DateTime::from_millis(1_700_000_000_123)),
            Bson::Timestamp(Timestamp { time: u32::MAX, increment: 1 }),
            Bson::MaxKey,
        ]
    }

    #[test]
    fn every_id_comes_back_from_a_checkpoint_as_it_was() {
        for id in ids() {
            let stored = serde_json::to_string(&DocumentId(id.clone())).unwrap();
            let DocumentId(back) = serde_json::from_str(&stored).unwrap_or_else(|error| panic!("{stored}: {error}"));
            let bytes = |id: &Bson| bson::serialize_to_vec(&doc! { "_id": id }).unwrap();
            assert_eq!(bytes(&back), bytes(&id), "{stored}");
        }
    }

    #[test]
    fn types_are_in_the_order_of_the_server() {
        let types: Vec<_> = ids().iter().map(type_of).collect();
        assert!(types.is_sorted(), "{types:?}");
    }

    fn range(from: Option<Bson>, to: Option<Bson>) -> Range<DocumentId> {
        Range { from: from.map(DocumentId), to: to.map(DocumentId) }
    }

    #[test]
    fn a_range_over_several_types_asks_for_each_of_them() {
        let (one, id) = (Bson::Int32(1), Bson::ObjectId(ObjectId::new()));
        let same = between(&range(Some(one.clone()), None), &one, &Bson::Int64(9));
        assert_eq!(same, doc! { "_id": { "$gt": 1 } });
        let several = between(&range(Some(one.clone()), None), &one, &id);
        let rest = ["string", "object", "binData", "objectId"].map(|name| doc! { "_id": { "$type": name } });
        let all: Vec<_> = [doc! { "_id": { "$gt": 1 } }].into_iter().chain(rest).collect();
        assert_eq!(several, doc! { "$or": all });
        let up_to = between(&range(None, Some("b".into())), &one, &id);
        assert_eq!(up_to, doc! { "$or": [{ "_id": { "$type": "number" } }, { "_id": { "$lte": "b" } }] });
    }

    #[test]
    fn numbers_after_nan_and_the_end_after_the_last_value_of_a_type_are_found() {
        let nan = Bson::Double(f64::NAN);
        let after = between(&range(Some(nan.clone()), None), &nan, &Bson::Int32(1));
        assert_eq!(after, doc! { "_id": { "$gte": f64::NEG_INFINITY } });
        let up_to = between(&range(None, Some(Bson::Int32(1))), &nan, &Bson::Int32(1));
        assert_eq!(up_to.get_array("$or").unwrap().len(), 2);
        let nothing = between(&range(Some(Bson::Null), None), &Bson::Null, &Bson::Null);
        assert_eq!(nothing, doc! { "_id": { "$type": "array" } });
    }
}
