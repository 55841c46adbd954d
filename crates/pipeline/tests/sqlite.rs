//! SQLite: rows and progress stand or fall together, a bad row fails alone, and tables are read by their key.
#![cfg(all(feature = "sqlite", feature = "test-util"))]

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use actix_batch::{Batch, Workers};
use actix_batch_pipeline::{
    Origin, Position, Range,
    checkpoint::{Checkpoint, CheckpointErrorKind, RangeCheckpoint, RunId, Settled, Store},
    prelude::*,
    read_dead_records,
    sink::{IntoSink, Sink, Sqlite},
    source::{
        Chunk, Cursor, Identity, More, Reader, Source, SourceError, SourceErrorKind, SqliteTable, concat, from_stream,
    },
    test_util::{check_source, read_range},
};
use futures_util::{StreamExt, stream};
use rusqlite::Connection;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Row {
    id: i64,
    name: Option<String>,
}

fn row(id: i64) -> Row {
    Row { id, name: Some(format!("row {id}")) }
}

struct Database {
    _folder: TempDir,
    path: PathBuf,
}

impl Database {
    fn new(sql: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("data.sqlite");
        Connection::open(&path).unwrap().execute_batch(sql).unwrap();
        Self { _folder: folder, path }
    }

    fn one(&self, sql: &str) -> i64 {
        Connection::open(&self.path).unwrap().query_row(sql, [], |row| row.get(0)).unwrap()
    }

    fn ids(&self) -> Vec<i64> {
        let connection = Connection::open(&self.path).unwrap();
        let mut select = connection.prepare("SELECT id FROM rows ORDER BY rowid").unwrap();
        select.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    }
}

const KEYED: &str = "CREATE TABLE rows (id INTEGER PRIMARY KEY, name TEXT)";
const PLAIN: &str = "CREATE TABLE rows (id INTEGER, name TEXT CHECK (name <> 'bad'))";

fn run<T>(test: impl Future<Output = T>) -> T {
    actix_rt::System::new().block_on(test)
}

async fn pipeline(sink: Sqlite, count: i64) -> Result<Report, RunError> {
    Pipeline::named("rows").read(from_iter("rows", move || 0..count)).map(row).write(sink).chunk(10).run().await
}

#[test]
fn an_upsert_overwrites_the_row_of_its_key_and_the_last_one_wins() {
    let database = Database::new(KEYED);
    run(async {
        let sink = Sqlite::upsert(&database.path, "rows").key(["id"]);
        let named = |number: i64| Row { id: number % 10, name: Some(number.to_string()) };
        let flow = Pipeline::named("upsert").read(from_iter("rows", || 0..100)).map(named);
        assert_eq!(flow.write(sink).run().await.unwrap().written, 100);
    });
    assert_eq!(database.one("SELECT count(*) FROM rows"), 10);
    assert_eq!(database.one("SELECT CAST(name AS INTEGER) FROM rows WHERE id = 7"), 97);
}

#[test]
fn every_kind_of_rejected_record_has_one_letter_beside_the_rows_and_a_fresh_run_begins_without_any() {
    let database = Database::new(PLAIN);
    let rejecting = |fresh: bool| {
        let named = |id: i64| match id {
            3 => Err("three"),
            5 => Ok(Row { id, name: Some("bad".to_owned()) }),
            _ => Ok(row(id)),
        };
        let sink = Sqlite::append(&database.path, "rows").dead_letters_table("rejected rows");
        let flow = Pipeline::named("rows").read(from_iter("rows", || 0..10)).try_map(named);
        async move { flow.write(sink).fresh(fresh).run().await.unwrap() }
    };
    for fresh in [false, true] {
        assert_eq!(run(rejecting(fresh)).rejected, 2);
        assert_eq!(database.one("SELECT count(*) FROM \"rejected rows\""), 2);
    }
    let one = |column: &str, record: i64| {
        let sql = format!("SELECT {column} FROM \"rejected rows\" WHERE record = {record}");
        Connection::open(&database.path).unwrap().query_row(&sql, [], |row| row.get::<_, String>(0)).unwrap()
    };
    assert_eq!((one("rejected_by", 3), one("error", 3)), ("try_map".to_owned(), "three".to_owned()));
    assert!(one("error", 5).contains("CHECK constraint failed"), "{}", one("error", 5));
    assert_eq!(one("value", 5), r#"{"id":5,"name":"bad"}"#);
}

#[test]
fn more_rejected_records_than_may_wait_for_the_table_hold_the_reader_and_none_is_lost() {
    let database = Database::new(PLAIN);
    let sink = Sqlite::append(&database.path, "rows").dead_letters_table("rejected");
    let flow = Pipeline::named("rows")
        .read(from_iter("rows", || 0..50_000_i64))
        .try_map(|id| if id % 10_000 == 0 { Ok(row(id)) } else { Err("not wanted") });
    let report = run(async move { flow.write(sink).checkpoint_every(Duration::from_secs(600)).run().await.unwrap() });
    assert_eq!((report.written, report.rejected), (5, 49_995));
    assert_eq!(database.one("SELECT count(*) FROM rejected"), 49_995);
}

#[test]
fn a_row_that_a_rule_of_the_table_refuses_is_rejected_alone() {
    let database = Database::new(PLAIN);
    let report = run(async {
        let bad = |id: i64| Row { id, name: Some(if id % 10 == 3 { "bad" } else { "good" }.to_owned()) };
        let flow = Pipeline::named("rules").read(from_iter("rows", || 0..100)).map(bad);
        flow.write(Sqlite::append(&database.path, "rows")).run().await.unwrap()
    });
    assert_eq!((report.written, report.rejected), (90, 10));
    assert_eq!(database.one("SELECT count(*) FROM rows WHERE name = 'bad'"), 0);
}

#[test]
fn a_missing_table_or_column_or_unique_index_ends_the_run_by_its_name() {
    let database = Database::new("CREATE TABLE rows (id INTEGER); CREATE TABLE plain (id INTEGER, name TEXT)");
    let message = |sink| run(async { pipeline(sink, 1).await.unwrap_err().to_string() });
    let missing = message(Sqlite::append(&database.path, "nothing"));
    assert!(missing.contains("nothing"), "{missing}");
    let column = message(Sqlite::append(&database.path, "rows"));
    assert!(column.contains("name"), "{column}");
    let index = message(Sqlite::upsert(&database.path, "plain").key(["id"]));
    assert!(index.contains("unique") && index.contains("id"), "{index}");
}

#[test]
fn a_run_goes_on_beside_the_data_without_any_file() {
    let database = Database::new(PLAIN);
    for (count, read) in [(50, 50), (50, 0), (80, 30)] {
        let report = run(pipeline(Sqlite::append(&database.path, "rows"), count)).unwrap();
        assert_eq!(report.read, read);
    }
    assert_eq!(database.ids(), (0..80).collect::<Vec<_>>());
}

#[test]
fn a_stream_that_is_read_once_is_appended_to_what_earlier_runs_have_written() {
    run(async {
        let database = Database::new(PLAIN);
        let (ids, letters) = (Arc::new(AtomicI64::new(0)), database.path.with_extension("jsonl"));
        for number in 1..=3 {
            let next = Arc::clone(&ids);
            let stream = move || {
                let next = Arc::clone(&next);
                stream::repeat_with(move || row(next.fetch_add(1, Ordering::Relaxed))).take(100)
            };
            let flow = Pipeline::named("once").read(from_stream("ids", stream).once(true));
            let flow = flow.try_map(|row| if row.id % 10 == 3 { Err("ends with 3") } else { Ok(row) });
            let pipeline = flow.write(Sqlite::append(&database.path, "rows")).dead_letters(&letters).build();
            assert_eq!(pipeline.check().unwrap(), Guarantee::AtMostOnce);
            let report = pipeline.run().await.unwrap();
            assert_eq!((report.written, report.rejected, report.skipped), (90, 10, 0), "run {number}");
        }
        let expected: Vec<_> = (0..300).filter(|id| id % 10 != 3).collect();
        assert_eq!(database.ids(), expected);
        assert_eq!(read_dead_records(&letters).unwrap().len(), 30);
    });
}

/// Where a source of another version of the program goes on: it wrote a number alone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(untagged)]
enum Place<const VERSION: u32> {
    Number(u64),
    Named { after: u64 },
}

impl<const VERSION: u32> Place<VERSION> {
    fn new(after: u64) -> Self {
        if VERSION == 1 { Self::Number(after) } else { Self::Named { after } }
    }

    fn after(&self) -> u64 {
        match self {
            Self::Number(after) | Self::Named { after } => *after,
        }
    }
}

impl<const VERSION: u32> Cursor for Place<VERSION> {
    const VERSION: u32 = VERSION;

    fn migrate(version: u32, stored: serde_json::Value) -> Result<Self, SourceError> {
        assert_eq!(version, 1, "what this version stored is never taken for another one's");
        Ok(Self::new(stored.as_u64().unwrap()))
    }
}

struct Places<const VERSION: u32>;

struct PlaceReader<const VERSION: u32> {
    next: u64,
    to: u64,
}

impl<const VERSION: u32> Source for Places<VERSION> {
    type Record = Row;
    type Cursor = Place<VERSION>;
    type Reader = PlaceReader<VERSION>;

    fn describe(&self) -> String {
        "places".to_owned()
    }

    async fn identity(&self) -> Result<Identity, SourceError> {
        Ok(Identity::Null)
    }

    async fn split(&self, _: Option<Self::Cursor>, _: usize) -> Result<Vec<Range<Self::Cursor>>, SourceError> {
        let middle = || Some(Place::new(500));
        Ok(vec![Range { from: None, to: middle() }, Range { from: middle(), to: None }])
    }

    async fn open(&self, range: &Range<Self::Cursor>) -> Result<Self::Reader, SourceError> {
        let place = |place: &Option<Place<VERSION>>, other| place.as_ref().map_or(other, Place::after);
        Ok(PlaceReader { next: place(&range.from, 0), to: place(&range.to, 1_000) })
    }
}

impl<const VERSION: u32> Reader for PlaceReader<VERSION> {
    type Record = Row;
    type Cursor = Place<VERSION>;

    async fn read(&mut self, chunk: &mut Chunk<Row, Self::Cursor>, limit: usize) -> Result<More, SourceError> {
        let to = self.to.min(self.next + limit as u64);
        (self.next..to).for_each(|id| chunk.push(row(id.cast_signed()), Origin::Unknown));
        self.next = to;
        chunk.set_after(Place::new(to));
        Ok(if to < self.to { More::Yes } else { More::No })
    }
}

#[test]
fn a_checkpoint_of_an_earlier_form_of_cursors_goes_on_and_is_stored_in_the_new_form() {
    run(async {
        async fn some<const VERSION: u32>(sink: Sqlite) -> Report {
            let pipeline = Pipeline::named("places").read(Places::<VERSION>).write(sink).chunk(10).readers(2);
            pipeline.max_records(300).run().await.unwrap()
        }
        let database = Database::new(PLAIN);
        let sink = || Sqlite::append(&database.path, "rows");
        let resumed = [some::<1>(sink()).await, some::<2>(sink()).await, some::<2>(sink()).await];
        assert_eq!(resumed.map(|report| report.resumed_after), [0, 300, 600]);
        some::<2>(sink()).await;
        let mut ids = database.ids();
        ids.sort_unstable();
        assert_eq!(ids, (0..1_000).collect::<Vec<_>>());
    });
}

#[test]
fn two_runs_of_one_pipeline_on_one_database_are_refused() {
    let database = Database::new(PLAIN);
    let run_id = RunId::new("rows".to_owned());
    let sink = Sqlite::append(&database.path, "rows");
    run(async {
        let mut store = IntoSink::<Row>::store(&sink, &run_id).unwrap();
        store.lease().await.unwrap();
        match pipeline(sink, 1).await {
            Err(RunError::Checkpoint(error)) => assert_eq!(error.kind(), CheckpointErrorKind::Leased),
            other => panic!("{other:?}"),
        }
    });
}

/// One sink of a run that is driven by hand.
struct Bench {
    sink: Sqlite,
    run: RunId,
}

impl Bench {
    fn new(database: &Database) -> Self {
        Self { sink: Sqlite::append(&database.path, "rows"), run: RunId::new("rows".to_owned()) }
    }

    fn store(&self) -> Box<dyn Store> {
        IntoSink::<Row>::store(&self.sink, &self.run).unwrap()
    }

    async fn write(&self, settled: &Arc<Settled>, ids: impl IntoIterator<Item = i64>) {
        let mut sink = IntoSink::<Row>::sink(&self.sink, 0, &self.run, settled);
        sink.prepare().await.unwrap();
        let records = ids.into_iter().map(|id| {
            let position = Position { record: id.unsigned_abs(), part: 0, range: 0 };
            let mut record = Record::new(row(id), position, Origin::Unknown);
            record.set_sequence(id.unsigned_abs() + 1);
            record
        });
        let written = sink.write(&Batch::from(records.collect::<Vec<_>>())).await.unwrap();
        assert!(written.refused().is_empty());
    }
}

fn checkpoint(record: u64) -> Checkpoint {
    let range = RangeCheckpoint { record, cursor: Some(record.into()), ..RangeCheckpoint::new(0, None, None) };
    let (identity, sink) = (serde_json::Value::Null, serde_json::Value::Null);
    Checkpoint { plan: "plan".to_owned(), identity, cursor_version: 1, ranges: vec![range], sink }
}

#[test]
fn what_overtook_the_prefix_is_stored_with_its_rows_and_loaded_again() {
    let database = Database::new(PLAIN);
    run(async {
        let bench = Bench::new(&database);
        bench.store().save(&checkpoint(0)).await.unwrap();
        let settled = Arc::new(Settled::new(checkpoint(0)));
        bench.write(&settled, 10..20).await;
        bench.write(&settled, 30..35).await;
        let loaded = bench.store().load().await.unwrap().unwrap();
        let beyond: Vec<_> = loaded.ranges[0].beyond.iter().map(|known| (known.first.0, known.last.0)).collect();
        assert_eq!(beyond, [(10, 19), (30, 34)]);
    });
}

#[test]
fn a_batch_that_comes_again_writes_nothing_twice() {
    let database = Database::new(PLAIN);
    run(async {
        let bench = Bench::new(&database);
        bench.store().save(&checkpoint(0)).await.unwrap();
        let settled = Arc::new(Settled::new(checkpoint(0)));
        bench.write(&settled, 0..10).await;
        // Its answer was lost, and the batch was formed anew with others.
        bench.write(&settled, 5..15).await;
    });
    assert_eq!(database.ids(), (0..15).collect::<Vec<_>>());
}

#[test]
fn the_stored_prefix_never_goes_backwards() {
    let database = Database::new(PLAIN);
    run(async {
        let bench = Bench::new(&database);
        bench.store().save(&checkpoint(40)).await.unwrap();
        bench.write(&Arc::new(Settled::new(checkpoint(20))), 50..55).await;
        let loaded = bench.store().load().await.unwrap().unwrap();
        assert_eq!(loaded.ranges[0].record, 40);
        assert_eq!(loaded.ranges[0].beyond.len(), 1);
    });
}

#[test]
fn several_workers_on_one_file_wait_for_each_other() {
    let database = Database::new(PLAIN);
    let report = run(async {
        let flow = Pipeline::named("rows").read(from_iter("rows", || 0..5_000)).map(row);
        let sink = Sqlite::append(&database.path, "rows");
        flow.write(sink).collector(|sink| sink.max_size(50).workers(Workers::threads(4))).run().await.unwrap()
    });
    let mut ids = database.ids();
    ids.sort_unstable();
    assert_eq!((report.written, ids), (5_000, (0..5_000).collect::<Vec<_>>()));
}

fn table() -> Database {
    let database = Database::new(
        "CREATE TABLE rows (kind TEXT NOT NULL, id INTEGER NOT NULL, name TEXT, PRIMARY KEY (kind, id));
         CREATE TABLE loose (id INTEGER, name TEXT);",
    );
    let connection = Connection::open(&database.path).unwrap();
    for (id, kind) in (0..60).zip(["a", "b", "ü"].into_iter().cycle()) {
        connection.execute("INSERT INTO rows VALUES (?, ?, ?)", (kind, id, format!("row {id}"))).unwrap();
    }
    database
}

#[test]
fn a_table_is_read_by_its_key_however_it_is_stopped_and_split() {
    let database = table();
    let rows = run(async { check_source(&SqliteTable::<Row>::new(&database.path, "rows").key(["kind", "id"])).await });
    let ids: Vec<_> = rows.into_iter().map(|row| row.unwrap().id).collect();
    let expected: Vec<i64> = (0..3).flat_map(|kind| (0..60).filter(move |id| id % 3 == kind)).collect();
    assert_eq!(ids, expected);
}

/// Leaves a database as a program does that was killed in the middle of a transaction: half of it is in the file, and its journal is
/// there to undo it.
fn killed_halfway(database: &Database) -> Database {
    let connection = Connection::open(&database.path).unwrap();
    let many = "WITH RECURSIVE n (id) AS (SELECT 100 UNION ALL SELECT id + 1 FROM n WHERE id < 20000)
        INSERT INTO rows SELECT id, 'half' FROM n";
    connection.execute_batch(&format!("PRAGMA cache_size = 1; BEGIN; {many}")).unwrap();
    let copy = Database::new("");
    fs::copy(&database.path, &copy.path).unwrap();
    let journal = |path: &Path| path.with_extension("sqlite-journal");
    fs::copy(journal(&database.path), journal(&copy.path)).unwrap();
    copy
}

#[test]
fn a_database_whose_last_writer_was_killed_halfway_is_read_and_written_as_before_it() {
    run(async {
        let fill = format!("{KEYED}; INSERT INTO rows VALUES (1, 'one'), (2, NULL)");
        let database = killed_halfway(&Database::new(&fill));
        let source = SqliteTable::<Row>::new(&database.path, "rows").key(["id"]);
        assert_eq!(read_range(&source, &Range::all(), 1).await.unwrap().len(), 2);
        let database = killed_halfway(&Database::new(&fill));
        let report = pipeline(Sqlite::upsert(&database.path, "rows").key(["id"]), 10).await.unwrap();
        assert_eq!((report.written, database.one("SELECT count(*) FROM rows")), (10, 10));
    });
}

#[test]
fn a_key_that_is_not_unique_is_refused_before_anything_is_read() {
    let database = table();
    for (name, key) in [("rows", vec!["kind"]), ("loose", vec!["id"]), ("rows", vec!["nothing"])] {
        let source = SqliteTable::<Row>::new(&database.path, name).key(key.clone());
        let error = run(async { source.identity().await.unwrap_err() });
        assert_eq!(error.kind(), SourceErrorKind::Config);
        assert!(error.to_string().contains(key[0]), "{error}");
    }
}

#[test]
fn a_row_that_does_not_fit_its_type_is_refused_and_the_others_are_read() {
    let database = table();
    Connection::open(&database.path).unwrap().execute("UPDATE rows SET name = x'ff00' WHERE id = 3", []).unwrap();
    let chunks = run(async {
        let source = SqliteTable::<Row>::new(&database.path, "rows").key(["kind", "id"]);
        read_range(&source, &Range::all(), 100).await.unwrap()
    });
    assert_eq!(chunks[0].0.iter().filter(|row| row.is_err()).count(), 1);
    assert_eq!(chunks[0].0.len(), 60);
}

#[actix_rt::test]
async fn rows_of_equal_keys_in_two_tables_have_different_origins() {
    let databases = [(); 2].map(|()| {
        Database::new("CREATE TABLE rows (id INTEGER PRIMARY KEY, name TEXT); INSERT INTO rows VALUES (1, 'one')")
    });
    let tables = databases.each_ref().map(|database| SqliteTable::<Row>::new(&database.path, "rows").key(["id"]));
    let origins = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&origins);
    let flow =
        Pipeline::named("two").read(concat(tables)).inspect(move |row| seen.lock().unwrap().push(row.origin().clone()));
    flow.write(for_each(|_: &Row| {})).accept_duplicates(true).run().await.unwrap();
    let texts: Vec<_> = origins.lock().unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(texts, ["key id=1 of source 1", "key id=1 of source 2"]);
}

/// A record with a name, or without the field.
fn named(id: u64, name: Option<&str>) -> Record<serde_json::Map<String, serde_json::Value>> {
    let name = name.map(|name| ("name".to_owned(), name.into()));
    let fields: serde_json::Map<_, _> = [("id".to_owned(), id.into())].into_iter().chain(name).collect();
    let mut record = Record::new(fields, Position { record: id, part: 0, range: 0 }, Origin::Unknown);
    record.set_sequence(id + 1);
    record
}

#[test]
fn a_batch_that_is_written_again_gives_no_record_the_fields_of_those_behind_it() {
    let database = Database::new("CREATE TABLE rows (id INTEGER PRIMARY KEY, name TEXT NOT NULL DEFAULT 'none')");
    run(async {
        let settled = Arc::new(Settled::new(checkpoint(0)));
        let (table, id) = (Sqlite::append(&database.path, "rows"), RunId::new("run"));
        // One record was written by another worker, so the whole batch is written a second time.
        for batch in [vec![named(3, None)], vec![named(1, None), named(2, Some("two")), named(3, None)]] {
            let mut sink = table.sink(0, &id, &settled);
            sink.prepare().await.unwrap();
            let written = sink.write(&Batch::from(batch)).await.unwrap();
            assert!(written.refused().is_empty(), "{:?}", written.refused());
        }
    });
    assert_eq!(database.one("SELECT count(*) FROM rows WHERE name = 'none'"), 2);
    assert_eq!(database.one("SELECT count(*) FROM rows WHERE name = 'two'"), 1);
}
