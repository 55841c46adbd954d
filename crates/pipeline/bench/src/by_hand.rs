//! What one would write without this crate. None of it can go on where it stopped.

use std::{
    fs::File,
    io::{BufWriter, Write},
    path::Path,
    sync::mpsc::sync_channel,
    thread,
};

use rusqlite::{Connection, params};

use crate::{
    flight::Flight,
    rows::{Raw, open, upsert},
};

/// Calls `then` for each row that passes the checks.
fn read(data: &Path, mut then: impl FnMut(Flight)) -> u64 {
    let mut reader = csv::Reader::from_path(data).expect("the data opens");
    let headers = reader.headers().expect("a header").clone();
    let (mut record, mut read) = (csv::StringRecord::new(), 0);
    while reader.read_record(&mut record).expect("a row") {
        read += 1;
        let flight = Flight::from(record.deserialize::<Raw<'_>>(Some(&headers)).expect("a typed row"));
        if flight.check().is_ok() {
            then(flight);
        }
    }
    read
}

fn write(connection: &mut Connection, sql: &str, batch: &[Flight]) {
    let transaction = connection.transaction().expect("a transaction");
    let mut statement = transaction.prepare_cached(sql).expect("the statement");
    for f in batch {
        let values = params![
            f.year,
            f.month,
            f.day,
            f.dep_time,
            f.sched_dep_time,
            f.dep_delay,
            f.arr_time,
            f.sched_arr_time,
            f.arr_delay,
            f.carrier.as_deref(),
            f.flight,
            f.tailnum.as_deref(),
            f.origin.as_deref(),
            f.dest.as_deref(),
            f.air_time,
            f.distance,
            f.hour,
            f.minute,
            f.time_hour.as_deref()
        ];
        statement.execute(values).expect("the row is stored");
    }
    drop(statement);
    transaction.commit().expect("the batch is stored");
}

/// One loop: read, check, and write each batch in a transaction.
pub(crate) fn serial(data: &Path, database: &Path, batch: usize) -> u64 {
    let (mut connection, sql) = (open(database), upsert());
    let mut rows = Vec::with_capacity(batch);
    let read = read(data, |flight| {
        rows.push(flight);
        if rows.len() == batch {
            write(&mut connection, &sql, &rows);
            rows.clear();
        }
    });
    write(&mut connection, &sql, &rows);
    read
}

/// One thread reads and checks, another one writes.
pub(crate) fn threads(data: &Path, database: &Path, batch: usize) -> u64 {
    let (send, receive) = sync_channel::<Vec<Flight>>(4);
    let database = database.to_owned();
    let writer = thread::spawn(move || {
        let (mut connection, sql) = (open(&database), upsert());
        receive.into_iter().for_each(|rows| write(&mut connection, &sql, &rows));
    });
    let mut rows = Vec::with_capacity(batch);
    let read = read(data, |flight| {
        rows.push(flight);
        if rows.len() == batch {
            let full = std::mem::replace(&mut rows, Vec::with_capacity(batch));
            send.send(full).expect("the writer lives");
        }
    });
    send.send(rows).expect("the writer lives");
    drop(send);
    writer.join().expect("the writer ends well");
    read
}

/// One loop to JSON lines.
pub(crate) fn json_lines(data: &Path, file: &Path) -> u64 {
    let mut lines = BufWriter::new(File::create(file).expect("the file"));
    let read = read(data, |flight| {
        serde_json::to_writer(&mut lines, &flight).expect("the row is written");
        lines.write_all(b"\n").expect("the row is written");
    });
    let file = lines.into_inner().expect("the rows are written");
    file.sync_all().expect("the file is on the disk");
    read
}
