//! Flights from a CSV file into a table, on as many worker processes as there are.
//!
//! Start a server (`temporal server start-dev`), some workers, and a run:
//!
//! ```sh
//! cd crates/temporal
//! cargo run --release --example departures -- worker &
//! cargo run --release --example departures -- worker &
//! cargo run --release --example departures -- run --file flights.csv --database flights.sqlite
//! ```
//!
//! Kill a worker, or the server, and start it again: the run goes on. `plain` copies the same without a cluster.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use actix_batch_pipeline::prelude::*;
use actix_batch_postgres::Postgres;
use actix_batch_temporal::{ClusterError, Report as ClusterReport, TemporalRunner, TemporalWorker};
use clap::{Parser, Subcommand};
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

const COLUMNS: &str =
    "year int NOT NULL, month int NOT NULL, day int NOT NULL, dep_time int, sched_dep_time int NOT NULL, dep_delay int,
    arr_time int, sched_arr_time int, arr_delay int, carrier text NOT NULL, flight int NOT NULL, tailnum text NOT NULL,
    origin text NOT NULL, dest text, air_time int, distance int, hour int, minute int, time_hour text";
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

/// What is copied, and where to: all that a worker needs. Paths are those of the workers.
#[derive(Debug, Clone, Serialize, Deserialize, clap::Args)]
struct Departures {
    /// The CSV file.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/data/flights.csv"))]
    file: PathBuf,
    /// A SQLite file, or `postgres` for the server that the workers' environment names (`DATABASE_URL`).
    #[arg(long, default_value = "departures.sqlite")]
    database: String,
    /// Only append: there is no key that would hide a row that was written twice.
    #[arg(long)]
    append: bool,
}

impl Definition for Departures {
    const NAME: &'static str = "departures";

    fn build(&self) -> Result<Pipeline, RunError> {
        let key = if self.append { String::new() } else { format!(", PRIMARY KEY ({})", KEY.join(", ")) };
        let table = format!("CREATE TABLE IF NOT EXISTS departures ({COLUMNS}{key})");
        let flow = Pipeline::named("departures").read(Csv::<Flight>::file(&self.file).null_words(["NA", ""]));
        if self.database == "postgres" {
            let sink =
                if self.append { Postgres::append("departures") } else { Postgres::upsert("departures").key(KEY) };
            return Ok(flow.write(sink.create_table(table).dead_letters_table("rejected")).build());
        }
        let path = &self.database;
        let sink =
            if self.append { Sqlite::append(path, "departures") } else { Sqlite::upsert(path, "departures").key(KEY) };
        Ok(flow.write(sink.create_table(table).dead_letters_table("rejected")).build())
    }
}

/// Copies flights on a cluster.
#[derive(Debug, Parser)]
struct Options {
    /// The Temporal server.
    #[arg(long, global = true, default_value = "http://127.0.0.1:7233")]
    server: String,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Copies ranges until it is told to end.
    Worker {
        /// Ranges at once.
        #[arg(long, default_value_t = 4)]
        slots: usize,
    },
    /// Starts a run and waits for its end.
    Run {
        #[command(flatten)]
        departures: Departures,
        /// The run's name.
        #[arg(long, default_value = "departures")]
        name: String,
        /// Rows in a range. Without it they are measured.
        #[arg(long)]
        rows: Option<u64>,
        /// Ranges at once, over all workers.
        #[arg(long, default_value_t = 8)]
        in_flight: usize,
    },
    /// Copies everything in this process, without a cluster.
    Plain {
        #[command(flatten)]
        departures: Departures,
    },
}

#[actix_rt::main]
async fn main() -> ExitCode {
    env_logger::init();
    let options = Options::parse();
    let done = match options.what {
        What::Worker { slots } => {
            let worker = TemporalWorker::new(&options.server).register::<Departures>().slots(slots);
            worker.run().await.map_err(|error| error.to_string())
        }
        What::Run { departures, name, rows, in_flight } => run(&options.server, &departures, &name, rows, in_flight)
            .await
            .map(|report| println!("{} records in {} ranges", report.totals.records, report.totals.ranges))
            .map_err(|error| error.to_string()),
        What::Plain { departures } => plain(&departures).await.map_err(|error| error.to_string()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

async fn plain(departures: &Departures) -> Result<(), RunError> {
    println!("{}", departures.build()?.run().await?);
    Ok(())
}

async fn run(
    server: &str,
    departures: &Departures,
    name: &str,
    rows: Option<u64>,
    in_flight: usize,
) -> Result<ClusterReport, ClusterError> {
    let runner = TemporalRunner::connect(server).await?;
    let mut start = runner.start(departures).in_flight(in_flight);
    if let Some(rows) = rows {
        start = start.rows_per_range(rows);
    }
    let run = start.run_as(name).await?;
    let mut report = std::pin::pin!(run.report());
    loop {
        tokio::select! {
            report = &mut report => return report,
            () = sleep(Duration::from_secs(2)) => match run.progress().await {
                Ok(progress) => eprintln!("{progress}"),
                Err(error) => eprintln!("no answer: {error}"),
            },
        }
    }
}
