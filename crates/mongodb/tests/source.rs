//! The source on a real server: the same documents however they are read, and on again after any `_id`.

use std::time::Duration;

use actix_batch_mongodb::MongoDbCollection;
use actix_batch_pipeline::{
    Range,
    prelude::*,
    sink::for_each,
    source::Source,
    test_util::{check_source, read_range},
};
use bson::{Bson, Document, doc, oid::ObjectId};
use serde::Deserialize;

use support::{Server, connect};

mod support;

#[derive(Debug, Clone, PartialEq, Deserialize)]
struct Row {
    name: String,
}

async fn insert(uri: &str, ids: impl IntoIterator<Item = Bson>) {
    let rows = (0..).zip(ids).map(|(number, id): (u32, _)| doc! { "_id": id, "name": format!("row {number}") });
    connect(uri).await.collection::<Document>("rows").insert_many(rows).await.unwrap();
}

fn rows(uri: &str) -> MongoDbCollection<Row> {
    MongoDbCollection::named("rows").connect(uri)
}

#[actix_rt::test]
async fn a_collection_is_read_the_same_in_chunks_of_any_size_after_each_stop_and_in_ranges() {
    let Some(server) = Server::start() else { return };
    let object_id = |number: u8| ObjectId::from_bytes([number; 12]);
    let kinds: [fn(u8) -> Bson; 5] = [
        |number| Bson::Int64(i64::from(number) * 7 - 100),
        |number| Bson::Double(f64::from(number) / 3.0),
        |number| Bson::String(format!("row {}", u32::from(number) % 13 * 50 + u32::from(number))),
        |number| Bson::ObjectId(ObjectId::from_bytes([number; 12])),
        |number| Bson::DateTime(bson::DateTime::from_millis(i64::from(number) * 1_001)),
    ];
    for kind in kinds {
        let uri = server.database();
        insert(&uri, (0..24).map(kind)).await;
        assert_eq!(check_source(&rows(&uri)).await.len(), 24, "{:?}", kind(1));
    }
    let uri = server.database();
    let mixed = (0..24).map(|number| match number % 4 {
        0 => Bson::Int32(i32::from(number)),
        1 => Bson::Double(f64::from(number) + 0.5),
        2 => Bson::String(number.to_string()),
        _ => Bson::ObjectId(object_id(number)),
    });
    insert(&uri, mixed).await;
    assert_eq!(check_source(&rows(&uri)).await.len(), 24, "ids of several types");
}

#[actix_rt::test]
async fn ranges_that_are_cut_a_few_at_a_time_are_those_that_are_cut_at_once() {
    let Some(server) = Server::start() else { return };
    let uri = server.database();
    insert(&uri, (0..23).map(Bson::Int32)).await;
    let source = rows(&uri);
    let all = source.split(None, 7).await.unwrap();
    assert_eq!(all.len(), 7);
    let first = source.split_first(None, 7, 3).await.unwrap();
    assert_eq!(first, all[..3]);
    let rest = source.split_first(first[2].to.clone(), 4, 10).await.unwrap();
    assert_eq!((rest.len(), rest.first(), rest.last()), (4, all.get(3), all.last()));
    assert_eq!(source.split_first(None, 100, 100).await.unwrap().len(), 23, "no range is empty");
}

#[actix_rt::test]
async fn a_cursor_of_a_type_that_comes_first_goes_on_with_the_types_after_it() {
    let Some(server) = Server::start() else { return };
    let uri = server.database();
    insert(&uri, (0..5).map(Bson::Int32)).await;
    let chunks = read_range(&rows(&uri), &Range::all(), 10).await.unwrap();
    let last: actix_batch_mongodb::DocumentId = serde_json::from_value(chunks[0].1.clone()).unwrap();
    insert(&uri, (0..5).map(|number| Bson::String(number.to_string()))).await;
    let rest = read_range(&rows(&uri), &Range { from: Some(last), to: None }, 10).await.unwrap();
    assert_eq!(rest[0].0.len(), 5);
}

#[actix_rt::test]
async fn what_is_added_later_is_read_by_the_next_run() {
    let Some(server) = Server::start() else { return };
    let (uri, folder) = (server.database(), tempfile::tempdir().unwrap());
    let checkpoint = folder.path().join("checkpoint");
    let run = async || {
        let flow = Pipeline::named("rows").read(rows(&uri)).write(for_each(|_: &Row| {})).accept_duplicates(true);
        flow.checkpoint(&checkpoint).run().await.unwrap().written
    };
    insert(&uri, (0..30).map(|_| ObjectId::new().into())).await;
    assert_eq!(run().await, 30);
    assert_eq!(run().await, 0);
    insert(&uri, (0..20).map(|_| ObjectId::new().into())).await;
    assert_eq!(run().await, 20);
    assert!(!std::fs::read_to_string(&checkpoint).unwrap().contains("mongodb://"));
    // Another collection under the old name has other documents.
    connect(&uri).await.collection::<Document>("rows").drop().await.unwrap();
    insert(&uri, (0..30).map(|_| ObjectId::new().into())).await;
    let flow = Pipeline::named("rows").read(rows(&uri)).write(for_each(|_: &Row| {})).accept_duplicates(true);
    let refused = flow.checkpoint(&checkpoint).run().await.unwrap_err().to_string();
    assert!(refused.contains("uuid"), "{refused}");
}

#[actix_rt::test]
async fn a_document_that_does_not_fit_is_rejected_and_young_documents_wait() {
    let Some(server) = Server::start() else { return };
    let uri = server.database();
    let old = |number: u8| ObjectId::from_parts(1_700_000_000, [number; 5], [0; 3]);
    insert(&uri, [old(1).into(), old(2).into(), ObjectId::new().into()]).await;
    let all = connect(&uri).await.collection::<Document>("rows");
    all.update_one(doc! { "_id": old(2) }, doc! { "$set": { "name": 7 } }).await.unwrap();
    let source = rows(&uri).lag(Duration::from_secs(60));
    let flow = Pipeline::named("rows").read(source).write(for_each(|_: &Row| {})).accept_duplicates(true);
    let report = flow.run().await.unwrap();
    assert_eq!((report.read, report.written, report.rejected), (2, 1, 1));
}

#[actix_rt::test]
async fn what_cannot_be_read_is_refused_by_name() {
    let Some(server) = Server::start() else { return };
    let uri = server.database();
    let said = async |source: MongoDbCollection<Row>| source.identity().await.unwrap_err().to_string();
    assert!(said(rows(&uri)).await.contains("has no collection `rows`"));
    insert(&uri, [Bson::Int32(1)]).await;
    assert!(said(rows(&uri).lag(Duration::from_secs(1))).await.contains("`lag` reads the time of an ObjectId"));
    let without = uri.rsplit_once('/').unwrap().0;
    assert!(said(rows(without)).await.contains("there is no database"));
    assert!(rows(without).database("test_0").identity().await.is_ok());
}
