//! Flights from CSV into PostgreSQL: this sink beside loops that are written by hand. All of them upsert the same rows by the same key.
//!
//! ```sh
//! DATABASE_URL=postgres://… cargo bench -p actix-batch-postgres -- "$PWD/flights.csv"
//! ```
//!
//! It makes and drops a table `flights_bench`. The contenders take turns; the figures are the medians of the ratios within a round.

use std::{
    env,
    path::{Path, PathBuf},
    time::Instant,
};

use actix_batch::Workers;
use actix_batch_pipeline::prelude::*;
use actix_batch_postgres::Postgres;
use serde::{Deserialize, Serialize};
use tokio_postgres::{Client, NoTls};

use self::contest::{Figures, Outcome};

mod by_hand;
#[path = "../../../pipeline/bench/src/contest.rs"]
mod contest;

const COLUMNS: &str = "year, month, day, dep_time, sched_dep_time, dep_delay, arr_time, sched_arr_time, arr_delay, carrier, flight, \
    tailnum, origin, dest, air_time, distance, hour, minute, time_hour";
const KEY: [&str; 7] = ["year", "month", "day", "carrier", "flight", "origin", "sched_dep_time"];
const TABLE: &str = "DROP TABLE IF EXISTS flights_bench; CREATE TABLE flights_bench (
    year int NOT NULL, month int NOT NULL, day int NOT NULL, dep_time int, sched_dep_time int NOT NULL, dep_delay int, arr_time int,
    sched_arr_time int, arr_delay int, carrier text NOT NULL, flight int NOT NULL, tailnum text, origin text NOT NULL, dest text,
    air_time int, distance int, hour int, minute int, time_hour text,
    PRIMARY KEY (year, month, day, carrier, flight, origin, sched_dep_time))";
const ROUNDS: usize = 5;
/// The pipeline's default.
const LOOK_AHEAD: usize = 8_000;

#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(clippy::struct_field_names, reason = "these are the names of the data")]
struct Flight {
    year: i32,
    month: i32,
    day: i32,
    dep_time: Option<i32>,
    sched_dep_time: i32,
    dep_delay: Option<i32>,
    arr_time: Option<i32>,
    sched_arr_time: i32,
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

/// How the rows of a batch reach the server.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
enum By {
    /// One statement, an array for each column.
    Unnest,
    /// One statement with a parameter for each value.
    Values,
    /// `COPY` into a temporary table, and one statement from there.
    Copy,
    /// This crate, always by `unnest`.
    SinkUnnest,
    /// This crate, always by `COPY`.
    SinkCopy,
    /// This crate as it is: an upsert writes one batch after the other.
    SinkDefaults,
}

impl By {
    const ALL: [Self; 6] =
        [Self::Unnest, Self::Values, Self::Copy, Self::SinkUnnest, Self::SinkCopy, Self::SinkDefaults];

    fn name(self) -> &'static str {
        match self {
            Self::Unnest => "unnest by hand",
            Self::Values => "VALUES by hand",
            Self::Copy => "COPY by hand",
            Self::SinkUnnest => "this sink by unnest",
            Self::SinkCopy => "this sink by COPY",
            Self::SinkDefaults => "one after the other",
        }
    }
}

async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("DATABASE_URL says where a server is");
    actix_rt::spawn(connection);
    client
}

/// A trial has a process of its own, so that its memory is its own.
#[derive(Debug, Serialize, Deserialize)]
struct Trial {
    by: By,
    data: PathBuf,
    batch: usize,
}

impl Trial {
    async fn run(&self, url: &str) -> Outcome {
        let Self { by, ref data, batch } = *self;
        let client = connect(url).await;
        client.batch_execute(TABLE).await.expect("the table");
        let begin = Instant::now();
        let sink = Postgres::upsert("flights_bench").key(KEY).connect(url);
        let read = match by {
            By::SinkUnnest => pipeline(sink.min_copy_rows(usize::MAX), data, batch, 2).await,
            By::SinkCopy => pipeline(sink.min_copy_rows(1), data, batch, 2).await,
            By::SinkDefaults => pipeline(sink, data, batch, 1).await,
            By::Unnest | By::Values | By::Copy => by_hand::copy_rows(by, connect(url).await, data, batch).await,
        };
        let outcome = Outcome::now(read, begin);
        client.batch_execute("DROP TABLE flights_bench").await.expect("the table goes");
        outcome
    }
}

async fn pipeline(sink: Postgres, data: &Path, batch: usize, at_once: usize) -> u64 {
    let flow = Pipeline::named("flights-bench").read(Csv::<Flight>::file(data).null_words(["NA", ""])).write(sink);
    // Two batches on their way, and a third that is filled.
    let pipeline = flow
        .look_ahead(LOOK_AHEAD.max(3 * batch))
        .collector(move |sink| sink.max_size(batch).workers(Workers::local(at_once)))
        .fresh(true);
    pipeline.run().await.expect("the pipeline runs").read
}

#[actix_rt::main]
async fn main() {
    let slice = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/data/flights.csv");
    let data = env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_else(|| slice.to_owned());
    let data = PathBuf::from(data);
    let Ok(url) = env::var("DATABASE_URL") else {
        return println!("skipped: `DATABASE_URL` does not say where a server is");
    };
    if let Some(trial) = contest::trial::<Trial>() {
        return contest::tell(trial.run(&url).await);
    }
    for batch in [500, 1_000, 2_000, 5_000, 10_000] {
        // A statement has at most 65,535 parameters.
        let contenders: Vec<_> = By::ALL.into_iter().filter(|by| *by != By::Values || batch * 19 < 65_536).collect();
        let mut outcomes = vec![Vec::new(); contenders.len()];
        for at in contest::turns(contenders.len(), ROUNDS) {
            outcomes[at].push(contest::start(&Trial { by: contenders[at], data: data.clone(), batch }, &[]));
        }
        println!("batches of {batch}, ratios to unnest by hand:");
        let copy = contenders.iter().position(|by| *by == By::Copy).unwrap_or_default();
        for (by, own) in contenders.iter().zip(&outcomes) {
            let (name, of_copy) = (by.name(), Figures::of(own, &outcomes[copy]).ratio);
            println!("  {name:20} {}, {of_copy:.2} × COPY by hand", Figures::of(own, &outcomes[0]));
        }
    }
}
