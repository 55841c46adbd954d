//! Flights from a CSV file into a SQLite database: validated, upserted by their natural key, resumable.
//!
//! ```sh
//! cargo run --release -p actix-batch-pipeline --example ingest
//! ```
//!
//! Stop it with Ctrl-C, or kill it, and run it again: it goes on where it stopped.

use std::{path::PathBuf, process::ExitCode};

use actix_batch::Workers;
use actix_batch_pipeline::prelude::*;
use clap::Parser;

// The rules for a flight are those of the web example.
#[path = "../../../../examples/web/flight.rs"]
#[allow(dead_code, reason = "the web example needs its key")]
mod flight;

use flight::Flight;

/// The texts of a flight.
type Text = String;

const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS flights (
    year INTEGER NOT NULL, month INTEGER NOT NULL, day INTEGER NOT NULL, dep_time INTEGER, sched_dep_time INTEGER NOT NULL,
    dep_delay INTEGER, arr_time INTEGER, sched_arr_time INTEGER, arr_delay INTEGER, carrier TEXT NOT NULL,
    flight INTEGER NOT NULL, tailnum TEXT NOT NULL, origin TEXT NOT NULL, dest TEXT, air_time INTEGER, distance INTEGER,
    hour INTEGER, minute INTEGER, time_hour TEXT,
    PRIMARY KEY (year, month, day, carrier, flight, origin, sched_dep_time)
) WITHOUT ROWID";

const KEY: [&str; 7] = ["year", "month", "day", "carrier", "flight", "origin", "sched_dep_time"];

/// Reads flights from a CSV file into a SQLite database.
#[derive(Debug, Parser)]
struct Options {
    /// The CSV file.
    #[arg(default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/data/flights.csv"))]
    file: PathBuf,
    /// The database; it is created if it is not there.
    #[arg(long, default_value = "flights.sqlite")]
    database: PathBuf,
    /// Where rejected flights go.
    #[arg(long, default_value = "flights.rejected.jsonl")]
    dead_letters: PathBuf,
    /// Begin at the beginning, whatever the checkpoint says.
    #[arg(long)]
    fresh: bool,
    /// Read and validate only: nothing is written or saved.
    #[arg(long)]
    dry_run: bool,
    /// Stop after so many rows.
    #[arg(long)]
    limit: Option<u64>,
    /// Rows in a batch.
    #[arg(long, default_value_t = 2_000)]
    batch: usize,
    /// Batches in flight at once.
    #[arg(long, default_value_t = 1)]
    in_flight: usize,
    /// Parts of the file that are read at once.
    #[arg(long, default_value_t = 1)]
    readers: usize,
    /// Begin after this cursor, as JSON from a checkpoint.
    #[arg(long)]
    start_at: Option<serde_json::Value>,
    /// Stop after so many batches.
    #[arg(long)]
    max_batches: Option<u64>,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
}

#[actix_rt::main]
async fn main() -> ExitCode {
    env_logger::init();
    let options = Options::parse();
    match ingest(&options).await {
        Ok(report) if options.json => {
            println!("{}", serde_json::to_string_pretty(&report).expect("a report is serde data"));
            ExitCode::SUCCESS
        }
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

async fn ingest(options: &Options) -> Result<Report, RunError> {
    let (batch, in_flight) = (options.batch, options.in_flight);
    let flights = Sqlite::upsert(&options.database, "flights").key(KEY).create_table(SCHEMA);
    let mut pipeline = Pipeline::named("flights")
        .read(Csv::<Flight>::file(&options.file).null_words(["NA", ""]))
        .validate(Flight::check)
        .write(flights)
        .collector(move |sink| sink.max_size(batch).max_in_flight(in_flight).workers(Workers::threads(in_flight)))
        .dead_letters(&options.dead_letters)
        .readers(options.readers)
        .fresh(options.fresh)
        .stop_on_ctrl_c(true)
        .show_progress(!options.json);
    if let Some(cursor) = &options.start_at {
        pipeline = pipeline.start_at(cursor);
    }
    if let Some(batches) = options.max_batches {
        pipeline = pipeline.max_batches(batches);
    }
    if options.dry_run {
        return pipeline.dry_run(options.limit.unwrap_or(u64::MAX)).await;
    }
    if let Some(rows) = options.limit {
        pipeline = pipeline.max_records(rows);
    }
    pipeline.run().await
}
