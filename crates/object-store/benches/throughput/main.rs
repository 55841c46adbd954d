//! Flights from objects into SQLite, by a pipeline and by a loop that is written by hand: `cargo bench -p actix-batch-object-store --features s3`.
//!
//! `FLIGHTS_CSV` names the flights of nycflights13 as CSV. They are read from a local folder, and from a `moto_server` where there is one.
//! The contenders take turns.

use std::{env, fs, path::Path, time::Instant};

use actix_batch_object_store::Objects;
use actix_batch_pipeline::prelude::*;
use serde::{Deserialize, Serialize};

use self::contest::{Figures, Outcome};

mod by_hand;
#[path = "../../../pipeline/bench/src/contest.rs"]
mod contest;
#[path = "../../tests/support/mod.rs"]
mod support;

const ROUNDS: usize = 5;
/// Rows in a transaction: what the sink has by default.
const BATCH: usize = 2_000;

const TABLE: &str = "CREATE TABLE IF NOT EXISTS flights (
    year INTEGER NOT NULL, month INTEGER NOT NULL, day INTEGER NOT NULL, dep_time INTEGER, sched_dep_time INTEGER NOT NULL,
    dep_delay INTEGER, arr_time INTEGER, sched_arr_time INTEGER NOT NULL, arr_delay INTEGER, carrier TEXT NOT NULL,
    flight INTEGER NOT NULL, tailnum TEXT NOT NULL, origin TEXT NOT NULL, dest TEXT NOT NULL, air_time INTEGER,
    distance INTEGER NOT NULL, hour INTEGER NOT NULL, minute INTEGER NOT NULL, time_hour TEXT NOT NULL,
    PRIMARY KEY (year, month, day, carrier, flight, origin, sched_dep_time)
) WITHOUT ROWID";

const KEY: [&str; 7] = ["year", "month", "day", "carrier", "flight", "origin", "sched_dep_time"];

/// A row as both contenders read and write it: `NA` is no number.
#[expect(clippy::struct_field_names, reason = "they are the columns")]
#[derive(Debug, Serialize, Deserialize)]
struct Flight {
    year: i32,
    month: i32,
    day: i32,
    #[serde(deserialize_with = "csv::invalid_option")]
    dep_time: Option<i32>,
    sched_dep_time: i32,
    #[serde(deserialize_with = "csv::invalid_option")]
    dep_delay: Option<i32>,
    #[serde(deserialize_with = "csv::invalid_option")]
    arr_time: Option<i32>,
    sched_arr_time: i32,
    #[serde(deserialize_with = "csv::invalid_option")]
    arr_delay: Option<i32>,
    carrier: String,
    flight: i32,
    tailnum: String,
    origin: String,
    dest: String,
    #[serde(deserialize_with = "csv::invalid_option")]
    air_time: Option<i32>,
    distance: i32,
    hour: i32,
    minute: i32,
    time_hour: String,
}

/// A trial has a process of its own, so that its memory is its own.
#[derive(Debug, Serialize, Deserialize)]
struct Trial {
    url: String,
    by_hand: bool,
}

#[actix_rt::main]
async fn main() {
    if let Some(trial) = contest::trial::<Trial>() {
        return contest::tell(trial.run().await);
    }
    let Some(flights) = env::var_os("FLIGHTS_CSV") else {
        println!("skipped: FLIGHTS_CSV names no file of flights");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    fs::copy(&flights, folder.path().join("flights.csv")).unwrap();
    println!("flights from CSV into SQLite, batches of {BATCH}, medians of {ROUNDS} rounds");
    compare("a local folder", &format!("file://{}/flights.csv", folder.path().display()), &[]);
    if let Some(server) = support::moto::Server::start() {
        server.put("bucket/flights.csv", &fs::read_to_string(&flights).unwrap());
        let options = server.options().map(|(name, value)| (name.to_ascii_uppercase(), value));
        compare("S3 (moto)", "s3://bucket/flights.csv", &options);
    }
}

fn compare(what: &str, url: &str, environment: &[(String, String)]) {
    let mut outcomes = [Vec::new(), Vec::new()];
    for at in contest::turns(2, ROUNDS) {
        let trial = Trial { url: url.to_owned(), by_hand: at == 0 };
        outcomes[at].push(contest::start(&trial, environment));
    }
    for (name, own) in ["by hand", "pipeline"].iter().zip(&outcomes) {
        println!("  {what:<16} {name:<10} {}", Figures::of(own, &outcomes[0]));
    }
}

impl Trial {
    async fn run(&self) -> Outcome {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("flights.sqlite");
        let begin = Instant::now();
        let rows =
            if self.by_hand { by_hand::copy(&self.url, &database).await } else { piped(&self.url, &database).await };
        Outcome::now(rows, begin)
    }
}

async fn piped(url: &str, database: &Path) -> u64 {
    let table = Sqlite::upsert(database, "flights").key(KEY).create_table(TABLE);
    let pipeline = Pipeline::named("flights").read(Objects::at(url).csv::<Flight>()).write(table);
    pipeline.run().await.unwrap().written
}
