//! Runs that are killed at random moments and run again: the table and the dead letters are those of an uninterrupted run.
//!
//! Each run is a process of its own, this test's own program, killed with SIGKILL. `KILLS=500` kills each pipeline so often; the usual
//! number is 20. The seed is printed, and `KILL_SEED` sets it.
#![cfg(all(feature = "csv", feature = "sqlite"))]

use std::{
    env,
    ffi::OsStr,
    fs,
    path::Path,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use actix_batch::Workers;
use actix_batch_pipeline::{
    PipelineBuilder,
    checkpoint::{RunId, Settled, Store},
    outlet::{One, Outlet},
    prelude::*,
    read_dead_records,
    sink::{Defaults, IntoSink, JsonLinesFile, Promises, SqliteSink},
    source::{Csv, Source},
    test_util::{Kills, Victim},
};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

const ROWS: u64 = 30_000;
const TABLE: &str = "CREATE TABLE IF NOT EXISTS parts (id INTEGER NOT NULL, number INTEGER NOT NULL, text TEXT)";
const KEYED: &str = "CREATE TABLE IF NOT EXISTS parts (id INTEGER NOT NULL, number INTEGER NOT NULL, text TEXT, PRIMARY KEY (id, number))";

#[derive(Debug, Serialize, Deserialize)]
struct Row {
    id: u64,
    text: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Part {
    id: u64,
    number: u64,
    text: String,
}

/// Progress apart from the rows: what the whole scheme is there to avoid.
struct Apart(Sqlite);

impl IntoSink<Part> for Apart {
    type Sink = SqliteSink<Part>;

    fn describe(&self) -> String {
        "apart".to_owned()
    }

    fn promises(&self) -> Promises {
        Promises::Append
    }

    fn defaults(&self) -> Defaults {
        IntoSink::<Part>::defaults(&self.0)
    }

    fn sink(&self, worker: usize, run: &RunId, settled: &Arc<Settled>) -> Self::Sink {
        IntoSink::<Part>::sink(&self.0, worker, run, settled)
    }

    fn store(&self, _run: &RunId) -> Option<Box<dyn Store>> {
        None
    }
}

/// One run of a pipeline in this folder.
async fn run(kind: &str, folder: &Path) -> Result<Report, RunError> {
    let database = folder.join("parts.sqlite");
    let append = Sqlite::append(&database, "parts").create_table(TABLE);
    let upsert = Sqlite::upsert(&database, "parts").key(["id", "number"]).create_table(KEYED);
    let flow = Pipeline::named("parts")
        .read(Csv::<Row>::file(folder.join("rows.csv")))
        .filter(|row| row.id % 7 != 0)
        .try_map(|row| if row.id % 101 == 0 { Err("a multiple of 101") } else { Ok(row) })
        .flat_map(|row| (0..row.id % 3).map(move |number| Part { id: row.id, number, text: row.text.clone() }));
    let pipeline = match kind {
        "keyed" => often(flow.write(upsert), folder),
        "append" => often(flow.write(append), folder),
        "letters beside" => {
            let sink = append.dead_letters_table("rejected");
            // Nothing but the batches stores progress and letters.
            let every = Duration::from_secs(600);
            flow.write(sink).collector(|sink| sink.max_size(40)).chunk(50).checkpoint_every(every).build()
        }
        "overtaking" => {
            let workers = Workers::threads(3);
            often(flow.write(append).collector(move |sink| sink.max_size(40).workers(workers)), folder)
        }
        "two tables" => often(flow.tee(table(&database, "parts"), table(&database, "copies")), folder),
        "file" => {
            let file = JsonLinesFile::create(folder.join("parts.jsonl"));
            often(flow.write(file).collector(|sink| sink.max_size(40)).readers(2), folder)
        }
        "two readers" => often(flow.write(append).collector(|sink| sink.max_size(60)).readers(2), folder),
        "apart" => {
            forget(&database);
            let flow = flow.write(Apart(append)).collector(|sink| sink.max_size(40)).accept_duplicates(true);
            often(flow.checkpoint(folder.join("parts.checkpoint")), folder)
        }
        other => panic!("no pipeline {other}"),
    };
    pipeline.run().await
}

/// Small chunks, and a checkpoint every few milliseconds.
fn often<S: Source, O: Outlet<Part>>(pipeline: PipelineBuilder<S, Part, O>, folder: &Path) -> Pipeline {
    let pipeline = pipeline.dead_letters(folder.join("rejected.jsonl"));
    pipeline.chunk(50).checkpoint_every(Duration::from_millis(3)).build()
}

fn table(database: &Path, name: &str) -> One<Part, Sqlite> {
    let create = format!("CREATE TABLE IF NOT EXISTS {name} (id INTEGER NOT NULL, number INTEGER NOT NULL, text TEXT)");
    One::new(Sqlite::append(database, name).create_table(create)).collector(|sink| sink.max_size(400))
}

/// The sink defends itself with what stands beside the rows, so that has to go, too.
fn forget(database: &Path) {
    let database = rusqlite::Connection::open(database).unwrap();
    for table in ["_pipeline_settled", "_pipeline_beyond"] {
        // Before the first run there are no such tables.
        let _ = database.execute(&format!("DELETE FROM {table}"), []);
    }
}

/// The process that is killed; it does nothing in a usual run of the tests.
#[test]
fn child() {
    let (Ok(kind), Ok(folder)) = (env::var("KILL_KIND"), env::var("KILL_FOLDER")) else { return };
    let report = actix_rt::System::new().block_on(run(&kind, Path::new(&folder))).unwrap();
    assert!(report.adds_up());
}

fn start(kind: &str, folder: &Path) -> Victim {
    Victim::start("child", [("KILL_KIND", OsStr::new(kind)), ("KILL_FOLDER", folder.as_os_str())])
}

fn folder() -> TempDir {
    let folder = TempDir::new().unwrap();
    // Every 500th record is broken, and the texts hold line ends.
    let row = |id: u64| if id % 500 == 499 { format!("{id}\n") } else { format!("{id},\"line\n{id}\"\n") };
    let rows: String = (0..ROWS).map(row).collect();
    fs::write(folder.path().join("rows.csv"), format!("id,text\n{rows}")).unwrap();
    folder
}

/// What a folder holds after a run.
#[derive(Debug, Clone, PartialEq)]
struct Outcome {
    rows: i64,
    checksum: i64,
    /// The places of the dead letters.
    letters: Vec<(u32, u64)>,
}

fn letters(folder: &Path) -> Vec<(u32, u64)> {
    let file = folder.join("rejected.jsonl");
    if !file.exists() {
        let database = rusqlite::Connection::open(folder.join("parts.sqlite")).unwrap();
        let mut select = database.prepare("SELECT range, record FROM rejected ORDER BY range, record").unwrap();
        let places = select.query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?.unsigned_abs())));
        return places.unwrap().map(Result::unwrap).collect();
    }
    let letters = read_dead_records(&file).unwrap();
    let mut places: Vec<_> = letters.iter().map(|letter| (letter.position.range, letter.position.record)).collect();
    places.sort_unstable();
    places
}

fn outcome(folder: &Path) -> Outcome {
    let letters = letters(folder);
    if let Ok(text) = fs::read_to_string(folder.join("parts.jsonl")) {
        let parts = text.lines().map(|line| serde_json::from_str::<Part>(line).unwrap());
        let checksums = parts.map(|part| (part.id * 31 + part.number * 7 + part.text.len() as u64).cast_signed());
        return Outcome { rows: text.lines().count().try_into().unwrap(), checksum: checksums.sum(), letters };
    }
    let database = rusqlite::Connection::open(folder.join("parts.sqlite")).unwrap();
    let sums = |table: &str| {
        let sql = format!("SELECT count(*), sum(id * 31 + number * 7 + length(text)) FROM {table}");
        database.query_row(&sql, [], |row| Ok((row.get(0)?, row.get(1)?)))
    };
    let (rows, checksum) = sums("parts").unwrap();
    // Only a pipeline with two sinks has the other table.
    assert!(sums("copies").is_err() || sums("copies").unwrap() == (rows, checksum), "the second table differs");
    Outcome { rows, checksum, letters }
}

/// Kills a pipeline until it was killed so often, running it again each time, and calls `check` with what each finished folder holds.
fn kill(kind: &str, mut check: impl FnMut(Outcome)) {
    let mut kills = Kills::from_env(kind);
    let mut folder = folder();
    let began = Instant::now();
    drop(uninterrupted(kind));
    let longest = began.elapsed();
    while kills.are_left() {
        let run = start(kind, folder.path());
        thread::sleep(kills.moment(longest));
        if !kills.kill(run) {
            check(outcome(folder.path()));
            folder = self::folder();
        }
    }
    start(kind, folder.path()).finish();
    check(outcome(folder.path()));
}

fn uninterrupted(kind: &str) -> Outcome {
    let folder = folder();
    start(kind, folder.path()).finish();
    outcome(folder.path())
}

fn a_killed_run_equals_an_uninterrupted_one(kind: &str) {
    let expected = uninterrupted(kind);
    kill(kind, |outcome| assert_eq!(outcome, expected, "{kind}"));
}

#[test]
fn a_keyed_sink_holds_each_record_once_after_kills() {
    a_killed_run_equals_an_uninterrupted_one("keyed");
}

#[test]
fn an_append_only_sink_holds_each_record_once_after_kills() {
    a_killed_run_equals_an_uninterrupted_one("append");
}

#[test]
fn batches_that_overtake_each_other_are_written_once_after_kills() {
    a_killed_run_equals_an_uninterrupted_one("overtaking");
}

#[test]
fn two_readers_write_each_record_once_after_kills() {
    a_killed_run_equals_an_uninterrupted_one("two readers");
}

#[test]
fn two_sinks_of_one_pipeline_hold_each_record_once_after_kills() {
    a_killed_run_equals_an_uninterrupted_one("two tables");
}

#[test]
fn dead_letters_beside_the_rows_are_complete_and_stored_once_after_kills() {
    a_killed_run_equals_an_uninterrupted_one("letters beside");
}

/// Kills runs until ten were killed between their beginning and their end, and calls `check` with what each left in its database, and with
/// its settled prefix.
fn kill_midway(kind: &str, check: impl Fn(&dyn Fn(&str) -> u64, u64)) {
    let began = Instant::now();
    drop(uninterrupted(kind));
    let (longest, mut random, mut midway) = (began.elapsed(), fastrand::Rng::new(), 0);
    for _ in 0..300 {
        let folder = folder();
        let run = start(kind, folder.path());
        thread::sleep(longest.mul_f64(random.f64()));
        run.kill();
        let database = rusqlite::Connection::open(folder.path().join("parts.sqlite")).unwrap();
        let one = |sql: &str| database.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap().unsigned_abs();
        if one("SELECT count(*) FROM sqlite_schema WHERE name = '_pipeline_settled'") == 0 {
            continue;
        }
        let prefix = one("SELECT coalesce(max(record), 0) FROM _pipeline_settled");
        if (1..ROWS).contains(&prefix) {
            check(&one, prefix);
            midway += 1;
        }
        if midway == 10 {
            return;
        }
    }
    panic!("only {midway} of 300 runs were killed midway");
}

#[test]
fn the_checkpoint_never_passes_a_rejected_record_whose_letter_is_not_stored() {
    kill_midway("letters beside", |one, prefix| {
        let is_rejected = |id: &u64| id % 500 == 499 || (!id.is_multiple_of(7) && id.is_multiple_of(101));
        let expected = (0..prefix).filter(is_rejected).count() as u64;
        assert_eq!(one(&format!("SELECT count(*) FROM rejected WHERE record < {prefix}")), expected, "prefix {prefix}");
    });
}

#[test]
fn a_file_holds_each_record_once_after_kills() {
    a_killed_run_equals_an_uninterrupted_one("file");
}

#[test]
fn progress_apart_from_the_rows_would_write_records_twice() {
    let (expected, mut most) = (uninterrupted("apart"), 0);
    kill("apart", |outcome| most = most.max(outcome.rows));
    assert!(most > expected.rows, "the control must fail: {most} rows, and an uninterrupted run has {}", expected.rows);
}

#[test]
fn the_checkpoint_never_passes_a_record_that_was_not_written() {
    kill_midway("append", |one, prefix| {
        let is_good = |id: &u64| id % 500 != 499 && !id.is_multiple_of(7) && !id.is_multiple_of(101);
        let expected: u64 = (0..prefix).filter(is_good).map(|id| id % 3).sum();
        let written = |what: &str| one(&format!("SELECT {what} FROM parts WHERE id < {prefix}"));
        assert_eq!(written("count(*)"), expected, "prefix {prefix}");
        assert_eq!(written("count(DISTINCT id * 3 + number)"), expected, "prefix {prefix}");
    });
}
