//! Several sinks: each holds what is its own, also when one of them fails, and a run goes on behind what all of them have settled.
#![cfg(feature = "sqlite")]

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use actix_batch::Batch;
use actix_batch_pipeline::{
    checkpoint::{RunId, Settled, Store},
    outlet::One,
    prelude::*,
    read_dead_records,
    sink::{Defaults, IntoSink, Promises, Sink, SinkError, Written},
};
use rusqlite::Connection;
use serde::Serialize;
use support::Shelf;
use tempfile::TempDir;

mod support;

#[derive(Debug, Clone, Serialize)]
struct Row {
    id: u64,
}

const RECORDS: u64 = 2_000;

fn rows() -> impl actix_batch_pipeline::source::Source<Record = Row> {
    from_iter("rows", || (0..RECORDS).map(|id| Row { id }))
}

fn table(database: &Path, table: &str) -> Sqlite {
    Sqlite::append(database, table).create_table(format!("CREATE TABLE IF NOT EXISTS {table} (id INTEGER)"))
}

fn ids(database: &Path, table: &str) -> Vec<u64> {
    let connection = Connection::open(database).unwrap();
    let mut select = connection.prepare(&format!("SELECT id FROM {table} ORDER BY id")).unwrap();
    let ids = select.query_map([], |row| row.get::<_, i64>(0)).unwrap();
    ids.map(|id| id.unwrap().unsigned_abs()).collect()
}

fn run<T>(test: impl Future<Output = T>) -> T {
    actix_rt::System::new().block_on(test)
}

/// A table whose server goes away once the other sink is ahead of it.
#[derive(Clone)]
struct Failing {
    table: Sqlite,
    ahead: PathBuf,
    fails: Arc<AtomicBool>,
}

struct FailingSink {
    sink: <Sqlite as IntoSink<Row>>::Sink,
    spec: Failing,
    batches: u32,
}

impl IntoSink<Row> for Failing {
    type Sink = FailingSink;

    fn describe(&self) -> String {
        IntoSink::<Row>::describe(&self.table)
    }

    fn promises(&self) -> Promises {
        IntoSink::<Row>::promises(&self.table)
    }

    fn defaults(&self) -> Defaults {
        IntoSink::<Row>::defaults(&self.table)
    }

    fn sink(&self, worker: usize, run: &RunId, settled: &Arc<Settled>) -> FailingSink {
        FailingSink { sink: self.table.sink(worker, run, settled), spec: self.clone(), batches: 0 }
    }

    fn store(&self, run: &RunId) -> Option<Box<dyn Store>> {
        IntoSink::<Row>::store(&self.table, run)
    }
}

impl Sink<Row> for FailingSink {
    async fn write(&mut self, batch: &Batch<Record<Row>>) -> Result<Written, SinkError> {
        self.batches += 1;
        if self.batches > 2 && self.spec.fails.load(Ordering::Relaxed) {
            while (ids(&self.spec.ahead, "left").len() as u64) < RECORDS {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            return Err(SinkError::fatal("the server has gone away"));
        }
        self.sink.write(batch).await
    }

    async fn close(&mut self) -> Result<(), SinkError> {
        self.sink.close().await
    }
}

#[test]
fn a_sink_that_was_ahead_when_the_other_failed_takes_nothing_from_it() {
    run(async {
        let folder = TempDir::new().unwrap();
        let (left, right) = (folder.path().join("left.sqlite"), folder.path().join("right.sqlite"));
        let fails = Arc::new(AtomicBool::new(true));
        let failing = Failing { table: table(&right, "right"), ahead: left.clone(), fails: Arc::clone(&fails) };
        let tee = || {
            let (left, right) = (One::new(table(&left, "left")), One::new(failing.clone()));
            let small = |sink: One<Row, Sqlite>| sink.collector(|sink| sink.max_size(100));
            Pipeline::named("tee").read(rows()).tee(small(left), right.collector(|sink| sink.max_size(100))).chunk(50)
        };
        let error = tee().run().await.unwrap_err();
        assert!(error.to_string().contains("has gone away") && !error.is_retryable(), "{error}");
        assert_eq!((ids(&left, "left").len() as u64, ids(&right, "right").len()), (RECORDS, 200));
        // Killed right after it began, and run again: what one sink holds must not stand in the other's progress by then.
        fails.store(false, Ordering::Relaxed);
        for _ in 0..2 {
            tee().run().await.unwrap();
            assert_eq!(ids(&left, "left"), (0..RECORDS).collect::<Vec<_>>());
            assert_eq!(ids(&right, "right"), (0..RECORDS).collect::<Vec<_>>());
        }
    });
}

#[test]
fn two_tables_of_one_database_are_written_by_one_pipeline() {
    run(async {
        let folder = TempDir::new().unwrap();
        let database = folder.path().join("both.sqlite");
        let branch = |records| {
            let (even, odd) = (One::new(table(&database, "even")), One::new(table(&database, "odd")));
            Pipeline::named("branch").read(rows()).branch(|row| row.id % 2 == 0, even, odd).max_records(records)
        };
        branch(700).run().await.unwrap();
        let report = branch(RECORDS).run().await.unwrap();
        assert_eq!((report.resumed_after, report.written), (700, RECORDS - 700));
        assert_eq!(ids(&database, "even"), (0..RECORDS).filter(|id| id % 2 == 0).collect::<Vec<_>>());
        assert_eq!(ids(&database, "odd"), (0..RECORDS).filter(|id| id % 2 == 1).collect::<Vec<_>>());
    });
}

#[test]
fn dead_letters_in_two_sinks_of_a_pipeline_are_refused_by_name() {
    let database = Path::new("unused.sqlite");
    let sink = |name| One::new(table(database, name).dead_letters_table("rejected"));
    let pipeline = Pipeline::named("letters").read(rows()).tee(sink("left"), sink("right")).build();
    let error = pipeline.check().unwrap_err().to_string();
    assert_eq!(error, "`dead_letters_table` must be set for one sink of a pipeline (got 2 sinks)");
}

#[test]
fn a_record_whose_sink_cannot_be_told_is_rejected_alone() {
    run(async {
        let folder = TempDir::new().unwrap();
        let letters = folder.path().join("rejected.jsonl");
        let (even, odd) = (Shelf::new(), Shelf::new());
        let is_even = |row: &Row| if row.id == 7 { panic!("seven") } else { row.id.is_multiple_of(2) };
        let flow = Pipeline::named("branch").read(rows());
        let branch = flow.branch(is_even, One::new(even.clone()), One::new(odd.clone()));
        let report = branch.dead_letters(&letters).run().await.unwrap();
        assert_eq!((report.written, report.rejected), (RECORDS - 1, 1));
        assert!(report.adds_up());
        assert_eq!((even.stored().len(), odd.stored().len()), (1_000, 999));
        let letter = &read_dead_records(&letters).unwrap()[0];
        assert_eq!((letter.position.record, &*letter.error), (7, "panicked: seven"));
    });
}
