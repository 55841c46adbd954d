//! Flights from CSV into PostgreSQL: this sink beside loops that are written by hand. All of them upsert the same rows by the same key.
//!
//! ```sh
//! DATABASE_URL=postgres://… cargo bench -p actix-batch-postgres -- flights.csv
//! ```
//!
//! It makes and drops a table `flights_bench`. The contenders take turns; the figures are the medians of the ratios within a round.

use std::{env, path::Path, time::Instant};

use actix_batch_pipeline::prelude::*;
use actix_batch_postgres::Postgres;
use serde::{Deserialize, Serialize};
use tokio_postgres::{Client, NoTls, types::ToSql};

const COLUMNS: &str = "year, month, day, dep_time, sched_dep_time, dep_delay, arr_time, sched_arr_time, arr_delay, carrier, flight, \
    tailnum, origin, dest, air_time, distance, hour, minute, time_hour";
const KEY: [&str; 7] = ["year", "month", "day", "carrier", "flight", "origin", "sched_dep_time"];
const TABLE: &str = "DROP TABLE IF EXISTS flights_bench; CREATE TABLE flights_bench (
    year int NOT NULL, month int NOT NULL, day int NOT NULL, dep_time int, sched_dep_time int NOT NULL, dep_delay int, arr_time int,
    sched_arr_time int, arr_delay int, carrier text NOT NULL, flight int NOT NULL, tailnum text, origin text NOT NULL, dest text,
    air_time int, distance int, hour int, minute int, time_hour text,
    PRIMARY KEY (year, month, day, carrier, flight, origin, sched_dep_time))";
const ROUNDS: usize = 3;

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
#[derive(Clone, Copy, PartialEq)]
enum By {
    /// One statement, an array for each column.
    Unnest,
    /// One statement with a parameter for each value.
    Values,
    /// This crate.
    Sink,
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
    let values: Vec<&(dyn ToSql + Sync)> = rows
        .iter()
        .flat_map(|row| -> [&(dyn ToSql + Sync); 19] {
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
        })
        .collect();
    let transaction = client.transaction().await.expect("a transaction");
    transaction.execute(&sql, &values).await.expect("the rows are stored");
    transaction.commit().await.expect("the batch is stored");
}

/// Rows a second.
#[expect(clippy::cast_precision_loss, reason = "a rate is for reading")]
async fn run(by: By, url: &str, data: &Path, batch: usize) -> f64 {
    let mut client = connect(url).await;
    client.batch_execute(TABLE).await.expect("the table");
    let (begin, mut read) = (Instant::now(), 0);
    if by == By::Sink {
        let sink = Postgres::upsert("flights_bench").key(KEY).connect(url);
        let flow = Pipeline::named("flights-bench").read(Csv::<Flight>::file(data).null_words(["NA", ""])).write(sink);
        let pipeline = flow.collector(move |sink| sink.max_size(batch)).fresh(true);
        read = usize::try_from(pipeline.run().await.expect("the pipeline runs").read).expect("rows");
    } else {
        let mut reader = csv::ReaderBuilder::new().from_path(data).expect("the data opens");
        let headers = reader.headers().expect("a header").clone();
        let (mut record, mut rows) = (csv::StringRecord::new(), Vec::with_capacity(batch));
        loop {
            let more = reader.read_record(&mut record).expect("a row");
            if more {
                read += 1;
                let without_na: csv::StringRecord =
                    record.iter().map(|field| if field == "NA" { "" } else { field }).collect();
                rows.push(without_na.deserialize::<Flight>(Some(&headers)).expect("a typed row"));
            }
            if rows.len() == batch || (!more && !rows.is_empty()) {
                if by == By::Unnest {
                    unnest(&mut client, &rows).await;
                } else {
                    values(&mut client, &rows).await;
                }
                rows.clear();
            }
            if !more {
                break;
            }
        }
    }
    let rate = read as f64 / begin.elapsed().as_secs_f64();
    client.batch_execute("DROP TABLE flights_bench").await.expect("the table goes");
    rate
}

fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[actix_rt::main]
async fn main() {
    let slice = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/data/flights.csv");
    let data = env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_else(|| slice.to_owned());
    let Ok(url) = env::var("DATABASE_URL") else {
        return println!("skipped: `DATABASE_URL` does not say where a server is");
    };
    for batch in [500, 2_000, 3_000] {
        let mut rates = [const { Vec::new() }; 3];
        for _ in 0..ROUNDS {
            for (by, rates) in [By::Unnest, By::Values, By::Sink].into_iter().zip(&mut rates) {
                rates.push(run(by, &url, Path::new(&data), batch).await);
            }
        }
        let ratio =
            |to: usize| median(&rates[2].iter().zip(&rates[to]).map(|(own, other)| own / other).collect::<Vec<_>>());
        println!(
            "batches of {batch}: unnest by hand {:.0} rows/s, VALUES by hand {:.0}, this sink {:.0}: {:.2} of unnest, {:.2} of VALUES",
            median(&rates[0]),
            median(&rates[1]),
            median(&rates[2]),
            ratio(0),
            ratio(1)
        );
    }
}
