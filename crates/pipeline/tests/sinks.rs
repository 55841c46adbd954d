//! The sinks keep their promises while batches fail, answers are lost and workers die.
#![cfg(all(feature = "sqlite", feature = "test-util"))]

use std::{collections::HashMap, path::PathBuf};

use actix_batch::{Batch, BatchProcessor, Collector, Job, Outcomes};
use actix_batch_pipeline::{
    prelude::*,
    sink::{JsonLinesFile, collector, processor},
    source::from_stream,
    test_util::{check_sink, check_source},
};
use futures_util::stream;
use parking_lot::Mutex;
use rusqlite::Connection;
use serde::Serialize;
use tempfile::TempDir;

use support::{Shelf, paused};

mod support;

#[derive(Debug, Clone, Serialize)]
struct Row {
    id: u64,
}

fn row(id: u64) -> Row {
    Row { id }
}

fn database(folder: &TempDir, seed: u64, schema: &str) -> PathBuf {
    let path = folder.path().join(format!("{seed}.sqlite"));
    Connection::open(&path).unwrap().execute_batch(schema).unwrap();
    path
}

fn ids(folder: &TempDir, seed: u64) -> Vec<u64> {
    let connection = Connection::open(folder.path().join(format!("{seed}.sqlite"))).unwrap();
    let mut select = connection.prepare("SELECT id FROM rows").unwrap();
    select.query_map([], |row| row.get::<_, i64>(0)).unwrap().map(|id| id.unwrap().unsigned_abs()).collect()
}

#[test]
fn sqlite_has_each_appended_record_once_whatever_fails() {
    let folder = TempDir::new().unwrap();
    paused(async || {
        let make = |seed| Sqlite::append(database(&folder, seed, "CREATE TABLE rows (id INTEGER)"), "rows");
        check_sink(0..20, row, make, async |seed| ids(&folder, seed)).await;
    });
}

#[test]
fn sqlite_has_each_upserted_record_once_whatever_fails() {
    let folder = TempDir::new().unwrap();
    paused(async || {
        let schema = "CREATE TABLE rows (id INTEGER PRIMARY KEY)";
        let make = |seed| Sqlite::upsert(database(&folder, seed, schema), "rows").key(["id"]);
        check_sink(0..20, row, make, async |seed| ids(&folder, seed)).await;
    });
}

#[test]
fn a_json_lines_file_has_each_record_once_whatever_fails() {
    let folder = TempDir::new().unwrap();
    let path = |seed: u64| folder.path().join(format!("{seed}.jsonl"));
    paused(async || {
        let read = async |seed| {
            let lines = std::fs::read_to_string(path(seed)).unwrap();
            lines.lines().map(|line| serde_json::from_str::<HashMap<String, u64>>(line).unwrap()["id"]).collect()
        };
        check_sink(0..20, row, |seed| JsonLinesFile::create(path(seed)), read).await;
    });
}

#[test]
#[should_panic(expected = "are stored more than once")]
fn a_sink_that_breaks_its_promise_is_found() {
    paused(async || {
        // It promises keys, and appends.
        let shelves: Mutex<HashMap<u64, Shelf<u64>>> = Mutex::default();
        let make = |seed| shelves.lock().entry(seed).or_default().clone();
        check_sink(0..12, |number| number, make, async |seed| shelves.lock()[&seed].stored()).await;
    });
}

/// Stores even numbers.
#[derive(Debug)]
struct Even;

#[derive(Debug)]
struct Store(u64);

impl Job for Store {
    type Output = ();
    type Error = String;
}

impl BatchProcessor for Even {
    type Job = Store;

    async fn process(&mut self, batch: &Batch<Store>) -> Result<Outcomes<Store>, String> {
        let store = |job: &Store| if job.0.is_multiple_of(2) { Ok(()) } else { Err(format!("{} is odd", job.0)) };
        Ok(Outcomes::each(batch.iter().map(store)))
    }
}

#[test]
fn a_batch_processor_writes_records_and_its_errors_belong_to_theirs() {
    paused(async || {
        let sink = processor(|| Even, |number: &u64| Store(*number)).overwrites(true);
        let report =
            Pipeline::named("even").read(from_iter("numbers", || 0..1_000_u64)).write(sink).run().await.unwrap();
        assert_eq!((report.written, report.rejected, report.guarantee), (500, 500, Guarantee::OnceByKey));
    });
}

#[test]
fn a_collector_of_the_users_writes_records_beside_its_other_callers() {
    paused(async || {
        let even = Collector::builder(|| Even).start().unwrap();
        let other = even.submit(Store(2));
        let sink = collector(&even, |number: &u64| Store(*number)).overwrites(true);
        let report =
            Pipeline::named("even").read(from_iter("numbers", || 0..1_000_u64)).write(sink).run().await.unwrap();
        assert_eq!((report.written, report.rejected), (500, 500));
        other.await.unwrap();
        let stats = even.stats().await.unwrap();
        assert_eq!((stats.succeeded, stats.failed.failed), (501, 500));
    });
}

#[test]
fn a_stream_is_read_the_same_in_chunks_of_any_size_and_after_each_stop() {
    paused(async || {
        let source = from_stream("numbers", || stream::iter(0..60_u64));
        assert_eq!(check_source(&source).await.len(), 60);
    });
}

#[test]
fn records_of_a_stream_that_waits_go_on_their_way() {
    paused(async || {
        let (send, receive) = tokio::sync::mpsc::unbounded_channel::<u64>();
        let receive = std::sync::Arc::new(Mutex::new(Some(receive)));
        let source = from_stream("channel", move || {
            let receive = receive.lock().take().expect("it is read once");
            stream::unfold(receive, async |mut receive| receive.recv().await.map(|number| (number, receive)))
        });
        let shelf = Shelf::new();
        let pipeline = Pipeline::named("channel").read(source.once(true)).write(shelf.clone()).accept_duplicates(true);
        let run = pipeline.start().unwrap();
        for number in 0..5 {
            send.send(number).unwrap();
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            assert_eq!(shelf.stored().len() as u64, number + 1);
        }
        drop(send);
        assert_eq!(run.report().await.unwrap().written, 5);
    });
}
