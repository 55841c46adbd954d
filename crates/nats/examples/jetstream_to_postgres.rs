//! Flights from a CSV file into a JetStream stream, and from there into a table of PostgreSQL, each once.
//!
//! ```sh
//! nats-server -js -sd /tmp/flights &
//! createdb -h 127.0.0.1 -U postgres flights
//! DATABASE_URL=postgres://postgres@127.0.0.1/flights cargo run --release -p actix-batch-nats --example jetstream_to_postgres
//! ```
//!
//! Both halves go on where they stopped: kill it, and run it again. The second one waits for more flights until Ctrl-C; with `--once` it ends
//! when there are no more.

use std::env;

use actix_batch_nats::{JetStream, NatsSubject};
use actix_batch_pipeline::prelude::*;
use actix_batch_postgres::Postgres;
use async_nats::jetstream::{self, stream};
use serde::{Deserialize, Serialize};

const FLIGHTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/data/flights.csv");
const TABLE: &str = "CREATE TABLE IF NOT EXISTS flights_seen (
    year int NOT NULL, month int NOT NULL, day int NOT NULL, carrier text NOT NULL, flight int NOT NULL, tailnum text NOT NULL,
    origin text NOT NULL, dest text, sched_dep_time int NOT NULL, dep_delay int)";

/// Some columns of the file. The table refuses a flight without a `tailnum`.
#[derive(Debug, Serialize, Deserialize)]
#[allow(clippy::struct_field_names, reason = "these are the names of the data")]
struct Flight {
    year: i32,
    month: i32,
    day: i32,
    carrier: String,
    flight: i32,
    tailnum: Option<String>,
    origin: String,
    dest: Option<String>,
    sched_dep_time: i32,
    dep_delay: Option<i32>,
}

async fn create_stream() -> Result<(), async_nats::Error> {
    let url = env::var("NATS_URL").unwrap_or_else(|_| "nats://127.0.0.1:4222".to_owned());
    let context = jetstream::new(async_nats::connect(url).await?);
    let config =
        stream::Config { name: "FLIGHTS".to_owned(), subjects: vec!["flights.>".to_owned()], ..Default::default() };
    context.get_or_create_stream(config).await?;
    Ok(())
}

#[actix_rt::main]
async fn main() -> Result<(), async_nats::Error> {
    env_logger::init();
    create_stream().await.map_err(|error| format!("start a server with `nats-server -js`: {error}"))?;
    let flights = Pipeline::named("publish-flights").read(Csv::<Flight>::file(FLIGHTS).null_words(["NA", ""]));
    let published = flights.write(NatsSubject::publish("flights.seen")).checkpoint("flights.published").run().await?;
    println!("{published}");

    let once = env::args().any(|argument| argument == "--once");
    let stored = Pipeline::named("store-flights")
        .read(JetStream::<Flight>::consumer("FLIGHTS", "store-flights").stop_at_end(once))
        // The table has no key that would hide a flight that was stored twice.
        .write(Postgres::append("flights_seen").create_table(TABLE).dead_letters_table("flights_rejected"))
        .stop_on_ctrl_c(true)
        .show_progress(true)
        .run()
        .await?;
    println!("{stored}");
    Ok(())
}
