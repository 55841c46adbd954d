//! What one would write with the crates alone. It holds the whole object, and cannot go on where it stopped.

use std::path::Path;

use object_store::{ObjectStore, ObjectStoreExt, aws::AmazonS3Builder, local::LocalFileSystem};
use rusqlite::{Connection, params};

use crate::{BATCH, Flight, KEY, TABLE};

pub(crate) async fn copy(url: &str, database: &Path) -> u64 {
    let object = if let Some(path) = url.strip_prefix("file://") {
        get(&LocalFileSystem::new(), path).await
    } else {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let store = AmazonS3Builder::from_env().with_url(url).with_allow_http(true).build().unwrap();
        get(&store, "flights.csv").await
    };
    let mut connection = open(database);
    let sql = upsert(&connection);
    let (mut rows, mut batch) = (0, Vec::with_capacity(BATCH));
    for flight in csv::Reader::from_reader(&*object).into_deserialize() {
        batch.push(flight.unwrap());
        if batch.len() == BATCH {
            rows += write(&mut connection, &sql, &mut batch);
        }
    }
    rows + write(&mut connection, &sql, &mut batch)
}

async fn get(store: &dyn ObjectStore, path: &str) -> bytes::Bytes {
    store.get(&path.into()).await.unwrap().bytes().await.unwrap()
}

/// A database as the sink opens it.
fn open(path: &Path) -> Connection {
    let connection = Connection::open(path).unwrap();
    connection.pragma_update(None, "journal_mode", "WAL").unwrap();
    connection.pragma_update(None, "synchronous", "FULL").unwrap();
    connection.execute_batch(TABLE).unwrap();
    connection
}

fn upsert(connection: &Connection) -> String {
    let all = connection.prepare("SELECT * FROM flights").unwrap();
    let columns: Vec<_> = all.column_names().collect();
    let values = vec!["?"; columns.len()].join(", ");
    let others = columns.iter().filter(|column| !KEY.contains(column));
    let sets: Vec<_> = others.map(|column| format!("{column} = excluded.{column}")).collect();
    let (key, sets) = (KEY.join(", "), sets.join(", "));
    format!("INSERT INTO flights VALUES ({values}) ON CONFLICT ({key}) DO UPDATE SET {sets}")
}

fn write(connection: &mut Connection, sql: &str, batch: &mut Vec<Flight>) -> u64 {
    let transaction = connection.transaction().unwrap();
    let mut statement = transaction.prepare_cached(sql).unwrap();
    let rows = batch.len() as u64;
    for f in batch.drain(..) {
        statement
            .execute(params![
                f.year,
                f.month,
                f.day,
                f.dep_time,
                f.sched_dep_time,
                f.dep_delay,
                f.arr_time,
                f.sched_arr_time,
                f.arr_delay,
                f.carrier,
                f.flight,
                f.tailnum,
                f.origin,
                f.dest,
                f.air_time,
                f.distance,
                f.hour,
                f.minute,
                f.time_hour,
            ])
            .unwrap();
    }
    drop(statement);
    transaction.commit().unwrap();
    rows
}
