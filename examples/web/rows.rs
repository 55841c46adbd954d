//! A flight as a row of SQLite: the table, and the order of its columns.

use rusqlite::{Result, Row, ToSql};

use crate::flight::{Flight, Key};

pub(crate) const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS flights (
        id INTEGER PRIMARY KEY,
        year INTEGER NOT NULL, month INTEGER NOT NULL, day INTEGER NOT NULL,
        dep_time INTEGER, sched_dep_time INTEGER NOT NULL, dep_delay INTEGER,
        arr_time INTEGER, sched_arr_time INTEGER, arr_delay INTEGER,
        carrier TEXT NOT NULL, flight INTEGER NOT NULL, tailnum TEXT NOT NULL,
        origin TEXT NOT NULL, dest TEXT, air_time INTEGER, distance INTEGER,
        hour INTEGER, minute INTEGER, time_hour TEXT,
        UNIQUE (year, month, day, carrier, flight, origin, sched_dep_time)
    ) STRICT";

/// In the order of [`values`].
pub(crate) const COLUMNS: &str = "year, month, day, dep_time, sched_dep_time, dep_delay, arr_time, sched_arr_time, arr_delay, \
    carrier, flight, tailnum, origin, dest, air_time, distance, hour, minute, time_hour";

/// In the order of [`key_values`].
pub(crate) const KEY: &str = "year, month, day, carrier, flight, origin, sched_dep_time";

pub(crate) fn values(flight: &Flight) -> [&dyn ToSql; 19] {
    [
        &flight.year,
        &flight.month,
        &flight.day,
        &flight.dep_time,
        &flight.sched_dep_time,
        &flight.dep_delay,
        &flight.arr_time,
        &flight.sched_arr_time,
        &flight.arr_delay,
        &flight.carrier,
        &flight.flight,
        &flight.tailnum,
        &flight.origin,
        &flight.dest,
        &flight.air_time,
        &flight.distance,
        &flight.hour,
        &flight.minute,
        &flight.time_hour,
    ]
}

pub(crate) fn key_values(key: &Key) -> [&dyn ToSql; 7] {
    [&key.year, &key.month, &key.day, &key.carrier, &key.flight, &key.origin, &key.sched_dep_time]
}

pub(crate) fn flight(row: &Row<'_>) -> Result<Flight> {
    Ok(Flight {
        year: row.get("year")?,
        month: row.get("month")?,
        day: row.get("day")?,
        dep_time: row.get("dep_time")?,
        sched_dep_time: row.get("sched_dep_time")?,
        dep_delay: row.get("dep_delay")?,
        arr_time: row.get("arr_time")?,
        sched_arr_time: row.get("sched_arr_time")?,
        arr_delay: row.get("arr_delay")?,
        carrier: row.get("carrier")?,
        flight: row.get("flight")?,
        tailnum: row.get("tailnum")?,
        origin: row.get("origin")?,
        dest: row.get("dest")?,
        air_time: row.get("air_time")?,
        distance: row.get("distance")?,
        hour: row.get("hour")?,
        minute: row.get("minute")?,
        time_hour: row.get("time_hour")?,
    })
}

pub(crate) fn key(row: &Row<'_>) -> Result<Key> {
    Ok(Key {
        year: row.get("year")?,
        month: row.get("month")?,
        day: row.get("day")?,
        carrier: row.get("carrier")?,
        flight: row.get("flight")?,
        origin: row.get("origin")?,
        sched_dep_time: row.get("sched_dep_time")?,
    })
}
