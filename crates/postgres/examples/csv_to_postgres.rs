//! Flights from a CSV file into a table of PostgreSQL, upserted by their natural key, resumable.
//!
//! ```sh
//! createdb flights
//! DATABASE_URL=postgres:///flights?host=/var/run/postgresql cargo run --release -p actix-batch-postgres --example csv_to_postgres
//! ```
//!
//! Stop it with Ctrl-C, or kill it, and run it again: it goes on where it stopped.

use std::{path::PathBuf, process::ExitCode};

use actix_batch_pipeline::prelude::*;
use actix_batch_postgres::Postgres;
use clap::Parser;
use serde::{Deserialize, Serialize};

const TABLE: &str = "CREATE TABLE IF NOT EXISTS flights (
    year int NOT NULL, month int NOT NULL, day int NOT NULL, dep_time int, sched_dep_time int NOT NULL, dep_delay int, arr_time int,
    sched_arr_time int, arr_delay int, carrier text NOT NULL, flight int NOT NULL, tailnum text NOT NULL, origin text NOT NULL,
    dest text, air_time int, distance int, hour int, minute int, time_hour timestamptz,
    PRIMARY KEY (year, month, day, carrier, flight, origin, sched_dep_time))";

const KEY: [&str; 7] = ["year", "month", "day", "carrier", "flight", "origin", "sched_dep_time"];

/// One row of the file. The table refuses one without a `tailnum`.
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

/// Reads flights from a CSV file into PostgreSQL. The environment says where the server is: `DATABASE_URL`, or `PGHOST` and its like.
#[derive(Debug, Parser)]
struct Options {
    /// The CSV file.
    #[arg(default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/data/flights.csv"))]
    file: PathBuf,
    /// Begin at the beginning, whatever the checkpoint says.
    #[arg(long)]
    fresh: bool,
    /// Rows in a batch.
    #[arg(long, default_value_t = 2_000)]
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
        .write(Postgres::upsert("flights").key(KEY).create_table(TABLE))
        .collector(move |sink| sink.max_size(options.batch))
        .dead_letters("flights.rejected.jsonl")
        .fresh(options.fresh)
        .stop_on_ctrl_c(true)
        .show_progress(true)
        .run()
        .await
}
