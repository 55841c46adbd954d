//! The same by pipelines, with their defaults.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use actix_batch_nats::{JetStream, NatsSubject};
use actix_batch_pipeline::prelude::*;

use crate::{MESSAGES, Order, TABLE, order};

pub(crate) async fn publish(url: &str) -> u64 {
    let orders = Pipeline::named("out").read(from_iter("orders", || (0..MESSAGES).map(order)));
    orders.write(NatsSubject::publish("out").connect(url)).run().await.unwrap().written
}

fn orders(url: &str, name: &str) -> JetStream<Order> {
    JetStream::consumer("OUT", name).connect(url).stop_at_end(true)
}

pub(crate) async fn read(url: &str, name: &str) -> u64 {
    let cents = Arc::new(AtomicI64::new(0));
    let sum = Arc::clone(&cents);
    let add = move |order: &Order| {
        sum.fetch_add(order.cents, Ordering::Relaxed);
    };
    let pipeline = Pipeline::named("read").read(orders(url, name)).write(for_each(add)).accept_duplicates(true);
    let report = pipeline.run().await.unwrap();
    assert_eq!(cents.load(Ordering::Relaxed), (0..MESSAGES).map(|id| order(id).cents).sum::<i64>());
    report.written
}

pub(crate) async fn store(url: &str, name: &str, database: &Path) -> u64 {
    let table = Sqlite::append(database, "orders").create_table(TABLE);
    let report = Pipeline::named("store").read(orders(url, name)).write(table).run().await.unwrap();
    report.written
}
