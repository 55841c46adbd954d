//! Flights from objects of CSV into a SQLite database, upserted by their natural key, resumable.
//!
//! ```sh
//! moto_server -p 5000 &     # a server for trying it out: pip install 'moto[server]'
//! export AWS_ENDPOINT_URL=http://127.0.0.1:5000 AWS_REGION=us-east-1 AWS_ACCESS_KEY_ID=me AWS_SECRET_ACCESS_KEY=secret
//! curl -X PUT $AWS_ENDPOINT_URL/flights && curl -T examples/data/flights.csv $AWS_ENDPOINT_URL/flights/2013/flights.csv
//! cargo run --release -p actix-batch-object-store --features s3 --example s3_to_sqlite -- 's3://flights/2013/*.csv'
//! ```
//!
//! Stop it with Ctrl-C, or kill it, and run it again: it goes on where it stopped. Any other URL will do, too: `file:///…/flights.csv`.

use std::{path::PathBuf, process::ExitCode};

use actix_batch_object_store::Objects;
use actix_batch_pipeline::prelude::*;
use clap::Parser;
use serde::{Deserialize, Serialize};

const TABLE: &str = "CREATE TABLE IF NOT EXISTS flights (
    year INTEGER NOT NULL, month INTEGER NOT NULL, day INTEGER NOT NULL, dep_time INTEGER, sched_dep_time INTEGER NOT NULL,
    dep_delay INTEGER, arr_time INTEGER, sched_arr_time INTEGER, arr_delay INTEGER, carrier TEXT NOT NULL,
    flight INTEGER NOT NULL, tailnum TEXT NOT NULL, origin TEXT NOT NULL, dest TEXT, air_time INTEGER, distance INTEGER,
    hour INTEGER, minute INTEGER, time_hour TEXT,
    PRIMARY KEY (year, month, day, carrier, flight, origin, sched_dep_time)
) WITHOUT ROWID";

const KEY: [&str; 7] = ["year", "month", "day", "carrier", "flight", "origin", "sched_dep_time"];

/// One row. The table refuses one without a `tailnum`.
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

/// Reads flights from objects of CSV into SQLite. The environment says what the store has to know: `AWS_ENDPOINT_URL`, `AWS_REGION`,
/// `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`.
#[derive(Debug, Parser)]
struct Options {
    /// The objects: one, a prefix that ends in a slash, or a pattern.
    #[arg(default_value = "s3://flights/2013/*.csv")]
    url: String,
    /// The database; it is created if it is not there.
    #[arg(long, default_value = "flights.sqlite")]
    database: PathBuf,
    /// Where rejected flights go.
    #[arg(long, default_value = "flights.rejected.jsonl")]
    dead_letters: PathBuf,
    /// Begin at the beginning, whatever the checkpoint says.
    #[arg(long)]
    fresh: bool,
}

#[actix_rt::main]
async fn main() -> ExitCode {
    env_logger::init();
    let options = Options::parse();
    let flights = Objects::at(&options.url).csv::<Flight>().null_words(["NA", ""]);
    let table = Sqlite::upsert(&options.database, "flights").key(KEY).create_table(TABLE);
    let pipeline = Pipeline::named("flights-from-objects")
        .read(flights)
        .write(table)
        .dead_letters(&options.dead_letters)
        .fresh(options.fresh)
        .stop_on_ctrl_c(true)
        .show_progress(true);
    match pipeline.run().await {
        Ok(report) => {
            println!("{report}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            eprintln!("This reads {} and starts no server. For one to try it out: moto_server -p 5000", options.url);
            ExitCode::from(2)
        }
    }
}
