//! The same by a pipeline.

use actix_batch_mongodb::MongoDb;
use actix_batch_pipeline::prelude::*;

use crate::{Case, Mode, orders};

pub(crate) async fn write(case: &Case, uri: &str) {
    let sink = match case.mode {
        Mode::Insert => MongoDb::insert("orders"),
        Mode::UpsertById => MongoDb::upsert("orders"),
        Mode::UpsertByKey => MongoDb::upsert("orders").key(["number"]).create_index(true),
    };
    let (documents, batch) = (case.documents, case.batch);
    let pipeline = Pipeline::named("orders").read(from_iter("orders", move || orders(documents)));
    let pipeline = pipeline.write(sink.connect(uri)).collector(move |sink| sink.max_size(batch));
    assert_eq!(pipeline.run().await.unwrap().written, documents);
}
