//! Orders from a JetStream stream into a SQLite table, each once, for as long as it runs.
//!
//! ```sh
//! nats-server -js -sd /tmp/orders &
//! cargo run -p actix-batch-nats --example jetstream_to_sqlite
//! ```
//!
//! It publishes a thousand orders, and waits for more: `nats pub orders.new '{"id": 1001, "item": "tea"}'`. Stop it with Ctrl-C, or
//! kill it, and run it again: it goes on where it stopped. With `--once` it ends when there are no more.

use std::env;

use actix_batch_nats::{JetStream, NatsSubject};
use actix_batch_pipeline::prelude::*;
use async_nats::jetstream::{self, stream};
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize)]
struct Order {
    id: u64,
    item: String,
}

fn order(id: u64) -> Order {
    Order { id, item: ["coffee", "tea", "cake"][usize::try_from(id % 3).unwrap_or(0)].to_owned() }
}

async fn create_stream() -> Result<(), async_nats::Error> {
    let url = env::var("NATS_URL").unwrap_or_else(|_| "nats://127.0.0.1:4222".to_owned());
    let context = jetstream::new(async_nats::connect(url).await?);
    let config =
        stream::Config { name: "ORDERS".to_owned(), subjects: vec!["orders.>".to_owned()], ..Default::default() };
    context.get_or_create_stream(config).await?;
    Ok(())
}

#[actix_rt::main]
async fn main() -> Result<(), async_nats::Error> {
    env_logger::init();
    create_stream().await.map_err(|error| format!("start a server with `nats-server -js`: {error}"))?;
    let orders = Pipeline::named("orders").read(from_iter("orders", || (1..=1_000).map(order)));
    println!("{}", orders.write(NatsSubject::publish("orders.new")).run().await?);

    let once = env::args().any(|argument| argument == "--once");
    let table = "CREATE TABLE IF NOT EXISTS orders (id INTEGER NOT NULL, item TEXT NOT NULL)";
    let report = Pipeline::named("store-orders")
        .read(JetStream::<Order>::consumer("ORDERS", "store-orders").stop_at_end(once))
        .write(Sqlite::append("orders.sqlite", "orders").create_table(table))
        .dead_letters("orders.rejected.jsonl")
        .stop_on_ctrl_c(true)
        .show_progress(true)
        .run()
        .await?;
    println!("{report}");
    Ok(())
}
