//! The rows of the data, and the table that they go to; the same for everybody.

use rusqlite::Connection;
use serde::{Deserialize, Deserializer, de::Error};

use crate::flight::Flight;

pub(crate) const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS flights (
    year INTEGER NOT NULL, month INTEGER NOT NULL, day INTEGER NOT NULL, dep_time INTEGER, sched_dep_time INTEGER NOT NULL,
    dep_delay INTEGER, arr_time INTEGER, sched_arr_time INTEGER, arr_delay INTEGER, carrier TEXT NOT NULL,
    flight INTEGER NOT NULL, tailnum TEXT NOT NULL, origin TEXT NOT NULL, dest TEXT, air_time INTEGER, distance INTEGER,
    hour INTEGER, minute INTEGER, time_hour TEXT,
    PRIMARY KEY (year, month, day, carrier, flight, origin, sched_dep_time)
) WITHOUT ROWID";

pub(crate) const KEY: [&str; 7] = ["year", "month", "day", "carrier", "flight", "origin", "sched_dep_time"];

pub(crate) const COLUMNS: [&str; 19] = [
    "year",
    "month",
    "day",
    "dep_time",
    "sched_dep_time",
    "dep_delay",
    "arr_time",
    "sched_arr_time",
    "arr_delay",
    "carrier",
    "flight",
    "tailnum",
    "origin",
    "dest",
    "air_time",
    "distance",
    "hour",
    "minute",
    "time_hour",
];

/// The statement of those who write by hand.
pub(crate) fn upsert() -> String {
    let values = vec!["?"; COLUMNS.len()].join(", ");
    let others = COLUMNS.iter().filter(|column| !KEY.contains(column));
    let sets: Vec<_> = others.map(|column| format!("{column} = excluded.{column}")).collect();
    let (columns, key) = (COLUMNS.join(", "), KEY.join(", "));
    format!("INSERT INTO flights ({columns}) VALUES ({values}) ON CONFLICT ({key}) DO UPDATE SET {}", sets.join(", "))
}

/// A database as the pipeline's sink opens it.
pub(crate) fn open(path: &std::path::Path) -> Connection {
    let connection = Connection::open(path).expect("the database opens");
    connection.pragma_update(None, "journal_mode", "WAL").expect("WAL");
    connection.pragma_update(None, "synchronous", "FULL").expect("synchronous");
    connection.execute_batch(SCHEMA).expect("the table");
    connection
}

/// A row as somebody would declare it who reads it by hand: typed, borrowed, and nothing where the file says `NA`.
#[derive(Debug, Deserialize)]
pub(crate) struct Raw<'a> {
    year: i64,
    month: i64,
    day: i64,
    #[serde(deserialize_with = "na")]
    dep_time: Option<i64>,
    sched_dep_time: i64,
    #[serde(deserialize_with = "na")]
    dep_delay: Option<i64>,
    #[serde(deserialize_with = "na")]
    arr_time: Option<i64>,
    sched_arr_time: i64,
    #[serde(deserialize_with = "na")]
    arr_delay: Option<i64>,
    carrier: &'a str,
    flight: i64,
    tailnum: &'a str,
    origin: &'a str,
    dest: &'a str,
    #[serde(deserialize_with = "na")]
    air_time: Option<i64>,
    distance: i64,
    hour: i64,
    minute: i64,
    time_hour: &'a str,
}

fn na<'de, D: Deserializer<'de>>(field: D) -> Result<Option<i64>, D::Error> {
    match <&str>::deserialize(field)? {
        "NA" | "" => Ok(None),
        number => number.parse().map(Some).map_err(D::Error::custom),
    }
}

impl From<Raw<'_>> for Flight {
    fn from(raw: Raw<'_>) -> Self {
        let text = |text: &str| (text != "NA").then(|| text.into());
        Self {
            year: Some(raw.year),
            month: Some(raw.month),
            day: Some(raw.day),
            dep_time: raw.dep_time,
            sched_dep_time: Some(raw.sched_dep_time),
            dep_delay: raw.dep_delay,
            arr_time: raw.arr_time,
            sched_arr_time: Some(raw.sched_arr_time),
            arr_delay: raw.arr_delay,
            carrier: text(raw.carrier),
            flight: Some(raw.flight),
            tailnum: text(raw.tailnum),
            origin: text(raw.origin),
            dest: text(raw.dest),
            air_time: raw.air_time,
            distance: Some(raw.distance),
            hour: Some(raw.hour),
            minute: Some(raw.minute),
            time_hour: text(raw.time_hour),
        }
    }
}
