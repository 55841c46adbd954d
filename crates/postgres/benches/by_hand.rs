//! Flights from CSV into PostgreSQL: this sink beside loops that are written by hand. All of them upsert the same rows by the same key.
//!
//! ```sh
//! DATABASE_URL=postgres://… cargo bench -p actix-batch-postgres -- "$PWD/flights.csv"
//! ```
//!
//! It makes and drops a table `flights_bench`. The contenders take turns; the figures are the medians of the ratios within a round.

use std::{
    env, fs,
    path::{Path, PathBuf},
    pin::pin,
    process::Command,
    time::Instant,
};

use actix_batch::Workers;
use actix_batch_pipeline::prelude::*;
use actix_batch_postgres::Postgres;
use serde::{Deserialize, Serialize};
use tokio_postgres::{
    Client, NoTls,
    binary_copy::BinaryCopyInWriter,
    types::{ToSql, Type},
};

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

fn update() -> String {
    let others = COLUMNS.split(", ").filter(|column| !KEY.contains(column));
    let sets: Vec<_> = others.map(|column| format!("{column} = EXCLUDED.{column}")).collect();
    format!("ON CONFLICT ({}) DO UPDATE SET {}", KEY.join(", "), sets.join(", "))
}

macro_rules! arrays {
    ($rows:expr, $($column:ident),+) => {
        ($($rows.iter().map(|row| row.$column.clone()).collect::<Vec<_>>()),+)
    };
}

#[expect(clippy::many_single_char_names, reason = "they are columns, in their order")]
async fn unnest(client: &mut Client, rows: &[Flight]) {
    let sql = format!(
        "INSERT INTO flights_bench ({COLUMNS}) SELECT * FROM unnest($1::int[], $2::int[], $3::int[], $4::int[], $5::int[], $6::int[], \
         $7::int[], $8::int[], $9::int[], $10::text[], $11::int[], $12::text[], $13::text[], $14::text[], $15::int[], $16::int[], \
         $17::int[], $18::int[], $19::text[]) {}",
        update()
    );
    let (a, b, c, d, e, f, g, h, i) =
        arrays!(rows, year, month, day, dep_time, sched_dep_time, dep_delay, arr_time, sched_arr_time, arr_delay);
    let (j, k, l, m, n, o, p, q, r, s) =
        arrays!(rows, carrier, flight, tailnum, origin, dest, air_time, distance, hour, minute, time_hour);
    let transaction = client.transaction().await.expect("a transaction");
    let statement = transaction.prepare(&sql).await.expect("the statement");
    let values: [&(dyn ToSql + Sync); 19] =
        [&a, &b, &c, &d, &e, &f, &g, &h, &i, &j, &k, &l, &m, &n, &o, &p, &q, &r, &s];
    transaction.execute(&statement, &values).await.expect("the rows are stored");
    transaction.commit().await.expect("the batch is stored");
}

async fn values(client: &mut Client, rows: &[Flight]) {
    let row = |at: usize| {
        let places: Vec<_> = (1..=19).map(|column| format!("${}", at * 19 + column)).collect();
        format!("({})", places.join(", "))
    };
    let all: Vec<_> = (0..rows.len()).map(row).collect();
    let sql = format!("INSERT INTO flights_bench ({COLUMNS}) VALUES {} {}", all.join(", "), update());
    let values: Vec<&(dyn ToSql + Sync)> = rows.iter().flat_map(parameters).collect();
    let transaction = client.transaction().await.expect("a transaction");
    transaction.execute(&sql, &values).await.expect("the rows are stored");
    transaction.commit().await.expect("the batch is stored");
}

const STAGE: &str = "CREATE TEMPORARY TABLE stage (LIKE flights_bench) ON COMMIT DELETE ROWS";

async fn copy(client: &mut Client, rows: &[Flight]) {
    const INT: Type = Type::INT4;
    const TEXT: Type = Type::TEXT;
    let types = [INT, INT, INT, INT, INT, INT, INT, INT, INT, TEXT, INT, TEXT, TEXT, TEXT, INT, INT, INT, INT, TEXT];
    let transaction = client.transaction().await.expect("a transaction");
    let sink = transaction.copy_in(&format!("COPY stage ({COLUMNS}) FROM STDIN BINARY")).await.expect("a copy");
    let mut writer = pin!(BinaryCopyInWriter::new(sink, &types));
    for row in rows {
        writer.as_mut().write(&parameters(row)).await.expect("the row is sent");
    }
    writer.finish().await.expect("the rows are sent");
    let sql = format!("INSERT INTO flights_bench ({COLUMNS}) SELECT {COLUMNS} FROM stage {}", update());
    transaction.execute(&sql, &[]).await.expect("the rows are stored");
    transaction.commit().await.expect("the batch is stored");
}

fn parameters(row: &Flight) -> [&(dyn ToSql + Sync); 19] {
    [
        &row.year,
        &row.month,
        &row.day,
        &row.dep_time,
        &row.sched_dep_time,
        &row.dep_delay,
        &row.arr_time,
        &row.sched_arr_time,
        &row.arr_delay,
        &row.carrier,
        &row.flight,
        &row.tailnum,
        &row.origin,
        &row.dest,
        &row.air_time,
        &row.distance,
        &row.hour,
        &row.minute,
        &row.time_hour,
    ]
}

/// A trial has a process of its own, so that its memory is its own.
#[derive(Debug, Serialize, Deserialize)]
struct Trial {
    by: By,
    data: PathBuf,
    batch: usize,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Outcome {
    per_second: f64,
    /// The most memory that the process had, as Linux counts it; 0 elsewhere.
    peak_kib: u64,
}

impl Trial {
    fn start(&self) -> Outcome {
        let this = env::current_exe().expect("this program");
        let trial = serde_json::to_string(self).expect("a trial is serde data");
        let output = Command::new(this).env("TRIAL", trial).output().expect("the trial runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("the trial's outcome")
    }

    #[expect(clippy::cast_precision_loss, reason = "a rate is for reading")]
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
            By::Unnest | By::Values | By::Copy => by_hand(by, connect(url).await, data, batch).await,
        };
        let per_second = read as f64 / begin.elapsed().as_secs_f64();
        client.batch_execute("DROP TABLE flights_bench").await.expect("the table goes");
        Outcome { per_second, peak_kib: peak_kib() }
    }
}

fn peak_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or_default()
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

async fn by_hand(by: By, mut client: Client, data: &Path, batch: usize) -> u64 {
    if by == By::Copy {
        client.batch_execute(STAGE).await.expect("the temporary table");
    }
    let mut reader = csv::ReaderBuilder::new().from_path(data).expect("the data opens");
    let headers = reader.headers().expect("a header").clone();
    let (mut record, mut rows, mut read) = (csv::StringRecord::new(), Vec::with_capacity(batch), 0);
    loop {
        let more = reader.read_record(&mut record).expect("a row");
        if more {
            read += 1;
            let without_na: csv::StringRecord =
                record.iter().map(|field| if field == "NA" { "" } else { field }).collect();
            rows.push(without_na.deserialize::<Flight>(Some(&headers)).expect("a typed row"));
        }
        if rows.len() == batch || (!more && !rows.is_empty()) {
            match by {
                By::Unnest => unnest(&mut client, &rows).await,
                By::Values => values(&mut client, &rows).await,
                _ => copy(&mut client, &rows).await,
            }
            rows.clear();
        }
        if !more {
            return read;
        }
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[actix_rt::main]
async fn main() {
    let slice = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/data/flights.csv");
    let data = env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_else(|| slice.to_owned());
    let data = PathBuf::from(data);
    let Ok(url) = env::var("DATABASE_URL") else {
        return println!("skipped: `DATABASE_URL` does not say where a server is");
    };
    if let Ok(trial) = env::var("TRIAL") {
        let trial: Trial = serde_json::from_str(&trial).expect("a trial");
        return println!("{}", serde_json::to_string(&trial.run(&url).await).expect("an outcome is serde data"));
    }
    for batch in [500, 1_000, 2_000, 5_000, 10_000] {
        // A statement has at most 65,535 parameters.
        let contenders: Vec<_> = By::ALL.into_iter().filter(|by| *by != By::Values || batch * 19 < 65_536).collect();
        let mut outcomes = vec![Vec::new(); contenders.len()];
        for round in 0..ROUNDS {
            // Each of them comes first, and after each of the others.
            for at in (0..contenders.len()).map(|at| (at + round) % contenders.len()) {
                outcomes[at].push(Trial { by: contenders[at], data: data.clone(), batch }.start());
            }
        }
        println!("batches of {batch}:");
        let ratio = |own: usize, to: usize| {
            let both = outcomes[own].iter().zip(&outcomes[to]);
            median(both.map(|(own, other)| own.per_second / other.per_second))
        };
        let copy = contenders.iter().position(|by| *by == By::Copy).unwrap_or_default();
        for (at, by) in contenders.iter().enumerate() {
            let rate = median(outcomes[at].iter().map(|outcome| outcome.per_second));
            let peak = outcomes[at].iter().map(|outcome| outcome.peak_kib).max().unwrap_or_default() / 1024;
            let (name, unnest, copy) = (by.name(), ratio(at, 0), ratio(at, copy));
            println!(
                "  {name:20} {rate:>8.0} rows/s, {unnest:.2} of unnest by hand, {copy:.2} of COPY by hand, {peak} MiB"
            );
        }
    }
}
