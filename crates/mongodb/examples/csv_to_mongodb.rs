//! Flights from a CSV file into a collection of MongoDB, upserted by their natural key, resumable.
//!
//! It needs a server; one line starts it:
//!
//! ```sh
//! docker run --rm -d -p 127.0.0.1:27017:27017 mongo:8
//! MONGODB_URI=mongodb://localhost/flights cargo run --release -p actix-batch-mongodb --example csv_to_mongodb
//! ```
//!
//! Stop it with Ctrl-C, or kill it, and run it again: it goes on where it stopped.

use std::{path::PathBuf, process::ExitCode};

use actix_batch_mongodb::MongoDb;
use actix_batch_pipeline::prelude::*;
use clap::Parser;
use serde::{Deserialize, Serialize};

const KEY: [&str; 7] = ["year", "month", "day", "carrier", "flight", "origin", "sched_dep_time"];

/// One row of the file.
#[derive(Debug, Serialize, Deserialize)]
#[allow(clippy::struct_field_names, reason = "these are the names of the data")]
struct Flight {
    year: i32,
    month: i32,
    day: i32,
    dep_time: Option<i32>,
    sched_dep_time: i32,
    dep_delay: Option<i32>,
    arr_time: Option<i32>,
    sched_arr_time: Option<i32>,
    arr_delay: Option<i32>,
    carrier: String,
    flight: i32,
    tailnum: Option<String>,
    origin: String,
    dest: Option<String>,
    air_time: Option<i32>,
    distance: Option<i32>,
    hour: Option<i32>,
    minute: Option<i32>,
    time_hour: Option<String>,
}

/// Reads flights from a CSV file into MongoDB. The environment says where the server is: `MONGODB_URI`.
#[derive(Debug, Parser)]
struct Options {
    /// The CSV file.
    #[arg(default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/data/flights.csv"))]
    file: PathBuf,
    /// The collection.
    #[arg(long, default_value = "flights")]
    collection: String,
    /// Begin at the beginning, whatever the checkpoint says.
    #[arg(long)]
    fresh: bool,
    /// Documents in a batch.
    #[arg(long, default_value_t = 1_000)]
    batch: usize,
}

#[actix_rt::main]
async fn main() -> ExitCode {
    env_logger::init();
    match ingest(Options::parse()).await {
        Ok(report) => {
            println!("{report}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

async fn ingest(options: Options) -> Result<Report, RunError> {
    Pipeline::named("flights")
        .read(Csv::<Flight>::file(options.file).null_words(["NA", ""]))
        .write(MongoDb::upsert(options.collection).key(KEY).create_index(true))
        .collector(move |sink| sink.max_size(options.batch))
        .dead_letters("flights.rejected.jsonl")
        .fresh(options.fresh)
        .stop_on_ctrl_c(true)
        .show_progress(true)
        .run()
        .await
}
