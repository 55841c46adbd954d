//! What one would write with the driver alone, one command after the other. It cannot go on where it stopped.

use mongodb::{
    Collection, Database, IndexModel,
    bson::{Document, doc, serialize_to_document},
    options::IndexOptions,
};

use crate::{Case, Mode, Order, orders, support::connect};

pub(crate) async fn write(case: &Case, uri: &str) {
    let database = connect(uri).await;
    let collection = database.collection::<Order>("orders");
    if let Mode::UpsertByKey = case.mode {
        make_index(&collection).await;
    }
    let mut batch = Vec::with_capacity(case.batch);
    for order in orders(case.documents) {
        batch.push(order);
        if batch.len() == case.batch {
            match case.mode {
                Mode::Insert => drop(collection.insert_many(&batch).ordered(false).await.unwrap()),
                Mode::UpsertById | Mode::UpsertByKey => upsert(&database, case.mode, &batch).await,
            }
            batch.clear();
        }
    }
}

async fn make_index(collection: &Collection<Order>) {
    let unique = IndexOptions::builder().unique(true).build();
    let index = IndexModel::builder().keys(doc! { "number": 1 }).options(unique).build();
    collection.create_index(index).await.unwrap();
}

/// `bulkWrite` needs a server 8.0; this is the command before it.
async fn upsert(database: &Database, mode: Mode, batch: &[Order]) {
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
    let answer = database.run_command(doc! { "update": "orders", "updates": updates, "ordered": false }).await.unwrap();
    assert_eq!(answer.get_i32("n").unwrap().unsigned_abs() as usize, batch.len(), "{answer}");
}
