//! Flights from objects into SQLite, by a pipeline and by a loop that is written by hand: `cargo bench -p actix-batch-object-store --features s3`.
//!
//! `FLIGHTS_CSV` names the flights of nycflights13 as CSV. They are read from a local folder, and from a `moto_server` where there is one.
//! Each trial runs in a process of its own, so that its memory is its own. The contenders take turns.

use std::{
    env, fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use actix_batch_object_store::Objects;
use actix_batch_pipeline::prelude::*;
use serde::{Deserialize, Serialize};

mod by_hand;
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

/// What a trial prints, and the process that started it reads.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Outcome {
    rows: u64,
    time: Duration,
    /// The most memory that the process had, as Linux counts it; 0 elsewhere.
    peak_kib: u64,
}

#[actix_rt::main]
async fn main() {
    if let Ok(url) = env::var("TRIAL_URL") {
        let is_by_hand = env::var_os("TRIAL_BY_HAND").is_some();
        println!("{}", serde_json::to_string(&trial(&url, is_by_hand).await).unwrap());
        return;
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
    let rounds = (0..ROUNDS).map(|_| [true, false].map(|by_hand| start(url, by_hand, environment)));
    let rounds: Vec<_> = rounds.collect();
    let ratio = median(rounds.iter().map(|[hand, own]| hand.time.as_secs_f64() / own.time.as_secs_f64()));
    for (at, name) in ["by hand", "pipeline"].into_iter().enumerate() {
        let rate = |one: &Outcome| f64::from(u32::try_from(one.rows).unwrap()) / one.time.as_secs_f64();
        let rate = median(rounds.iter().map(|round| rate(&round[at])));
        let peak = rounds.iter().map(|round| round[at].peak_kib).max().unwrap_or_default() / 1024;
        println!("  {what:<16} {name:<10} {} rows  {rate:>7.0} rows/s  peak {peak} MiB", rounds[0][at].rows);
    }
    println!("  {what:<16} ratio {ratio:.2}");
}

fn start(url: &str, is_by_hand: bool, environment: &[(String, String)]) -> Outcome {
    let mut command = Command::new(env::current_exe().unwrap());
    command.env("TRIAL_URL", url).envs(environment.iter().cloned());
    if is_by_hand {
        command.env("TRIAL_BY_HAND", "1");
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

async fn trial(url: &str, is_by_hand: bool) -> Outcome {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("flights.sqlite");
    let begin = Instant::now();
    let rows = if is_by_hand { by_hand::copy(url, &database).await } else { piped(url, &database).await };
    Outcome { rows, time: begin.elapsed(), peak_kib: peak_kib() }
}

async fn piped(url: &str, database: &Path) -> u64 {
    let table = Sqlite::upsert(database, "flights").key(KEY).create_table(TABLE);
    let pipeline = Pipeline::named("flights").read(Objects::at(url).csv::<Flight>()).write(table);
    pipeline.run().await.unwrap().written
}

fn peak_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or_default()
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
