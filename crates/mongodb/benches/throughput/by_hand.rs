//! What one would write with the driver alone, one command after the other. It cannot go on where it stopped.

use mongodb::{
    Collection, IndexModel,
    bson::{Document, doc, serialize_to_document},
    options::IndexOptions,
};

use crate::{Case, Mode, Order, orders, support::connect};

pub(crate) async fn write(case: &Case, uri: &str) {
    let collection = connect(uri).await.collection::<Order>("orders");
    if let Mode::UpsertByKey = case.mode {
        make_index(&collection).await;
    }
    let mut batch = Vec::with_capacity(case.batch);
    for order in orders(case.documents) {
        batch.push(order);
        if batch.len() == case.batch {
            write_batch(&collection, case.mode, &batch).await;
            batch.clear();
        }
    }
    if !batch.is_empty() {
        write_batch(&collection, case.mode, &batch).await;
    }
}

async fn write_batch(collection: &Collection<Order>, mode: Mode, batch: &[Order]) {
    match mode {
        Mode::Insert => drop(collection.insert_many(batch).ordered(false).await.unwrap()),
        Mode::UpsertById | Mode::UpsertByKey => upsert(collection, mode, batch).await,
    }
}

async fn make_index(collection: &Collection<Order>) {
    let unique = IndexOptions::builder().unique(true).build();
    let index = IndexModel::builder().keys(doc! { "number": 1 }).options(unique).build();
    collection.create_index(index).await.unwrap();
}

/// `bulkWrite` needs a server 8.0; this is the command before it.
async fn upsert(collection: &Collection<Order>, mode: Mode, batch: &[Order]) {
    let update = |order: &Order| {
        let by = if let Mode::UpsertById = mode {
            doc! { "_id": &order.id }
        } else {
            doc! { "number": order.number }
        };
        let document: Document = serialize_to_document(order).unwrap();
        doc! { "q": by, "u": document, "upsert": true }
    };
    let updates: Vec<_> = batch.iter().map(update).collect();
    let update = doc! { "update": collection.name(), "updates": updates, "ordered": false };
    let answer = collection.client().database(&collection.namespace().db).run_command(update).await.unwrap();
    assert_eq!(answer.get_i32("n").unwrap().unsigned_abs() as usize, batch.len(), "{answer}");
}
