//! Batches into a table of SQLite, each in a transaction.

use std::{
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use rusqlite::{
    Connection,
    types::{ToSqlOutput, ValueRef},
};
use spate::{
    bytes::{Buf, BufMut, Bytes, BytesMut},
    deser::Owned,
    error::{ErrorClass, SinkError},
    record::Record,
    sink::{RowEncoder, SealedBatch, ShardWriter, SinkParts, SinkPoolConfig},
};

use crate::{
    Text,
    flight::Flight,
    rows::{COLUMNS, open, upsert},
};

const NULL: u8 = 0;
const INTEGER: u8 = 1;
const TEXT: u8 = 2;

/// A sink with one connection that writes batches of so many rows, and the number of rows that it has written.
pub(crate) fn sqlite(database: &Path, batch: u64) -> (SinkParts<Writer>, Arc<AtomicU64>) {
    let written = Arc::new(AtomicU64::new(0));
    let mut pool = SinkPoolConfig::default();
    pool.batch.max_rows = batch;
    let connection = Arc::new(Mutex::new(open(database)));
    let writer = Writer { upsert: upsert().into(), written: Arc::clone(&written) };
    (SinkParts::new(writer, vec![vec![connection]], pool).with_component_type("sqlite"), written)
}

/// A row's values in the order of the columns, each behind a byte that says what it is.
#[derive(Clone)]
pub(crate) struct Encoder;

impl RowEncoder<Owned<Flight>> for Encoder {
    fn encode<'buf>(&mut self, record: &Record<Flight>, row: &mut BytesMut) -> Result<(), SinkError> {
        let f = &record.payload;
        integers(&[f.year, f.month, f.day, f.dep_time, f.sched_dep_time, f.dep_delay, f.arr_time], row);
        integers(&[f.sched_arr_time, f.arr_delay], row);
        texts(&[&f.carrier], row);
        integers(&[f.flight], row);
        texts(&[&f.tailnum, &f.origin, &f.dest], row);
        integers(&[f.air_time, f.distance, f.hour, f.minute], row);
        texts(&[&f.time_hour], row);
        Ok(())
    }
}

fn integers(values: &[Option<i64>], row: &mut BytesMut) {
    for value in values {
        match value {
            Some(value) => {
                row.put_u8(INTEGER);
                row.put_i64_ne(*value);
            }
            None => row.put_u8(NULL),
        }
    }
}

fn texts(values: &[&Option<Text>], row: &mut BytesMut) {
    for value in values {
        match value {
            Some(value) => {
                row.put_u8(TEXT);
                row.put_u32_ne(u32::try_from(value.len()).expect("a short text"));
                row.put_slice(value.as_bytes());
            }
            None => row.put_u8(NULL),
        }
    }
}

/// The next value of a frame of encoded rows.
fn value<'a>(frame: &mut &'a [u8]) -> ValueRef<'a> {
    match frame.get_u8() {
        INTEGER => ValueRef::Integer(frame.get_i64_ne()),
        TEXT => {
            let length = frame.get_u32_ne() as usize;
            let (text, rest) = frame.split_at(length);
            *frame = rest;
            ValueRef::Text(text)
        }
        _ => ValueRef::Null,
    }
}

pub(crate) struct Writer {
    upsert: Arc<str>,
    written: Arc<AtomicU64>,
}

impl ShardWriter for Writer {
    type Endpoint = Arc<Mutex<Connection>>;

    async fn write_batch(&self, connection: &Self::Endpoint, batch: &SealedBatch) -> Result<(), SinkError> {
        let (connection, upsert) = (Arc::clone(connection), Arc::clone(&self.upsert));
        // Cheap: the bytes of a frame are shared.
        let frames = batch.frames.clone();
        let store = move || write(&mut connection.lock().unwrap_or_else(PoisonError::into_inner), &upsert, &frames);
        let stored = tokio::task::spawn_blocking(store).await.map_err(|error| failed(&error))?;
        self.written.fetch_add(stored.map_err(|error| failed(&error))?, Ordering::Relaxed);
        Ok(())
    }
}

fn failed(error: &dyn std::error::Error) -> SinkError {
    SinkError::Client { class: ErrorClass::Fatal, reason: error.to_string() }
}

fn write(connection: &mut Connection, upsert: &str, frames: &[Bytes]) -> rusqlite::Result<u64> {
    let transaction = connection.transaction()?;
    let mut statement = transaction.prepare_cached(upsert)?;
    let mut rows = 0;
    for frame in frames {
        let mut frame = &**frame;
        while !frame.is_empty() {
            for column in 1..=COLUMNS.len() {
                statement.raw_bind_parameter(column, ToSqlOutput::Borrowed(value(&mut frame)))?;
            }
            statement.raw_execute()?;
            rows += 1;
        }
    }
    drop(statement);
    transaction.commit()?;
    Ok(rows)
}
