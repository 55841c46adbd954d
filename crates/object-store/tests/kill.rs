//! Runs that are killed at random moments and run again: what is published is what an uninterrupted run publishes.
//!
//! Each run is a process of its own, this test's own program, killed with SIGKILL. `KILLS=500` kills so often; the usual number is 20.
//! The seed is printed, and `KILL_SEED` sets it.

use std::{
    env,
    ffi::OsStr,
    fs,
    io::Write,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use actix_batch_object_store::{ObjectParts, Objects};
use actix_batch_pipeline::{
    prelude::*,
    read_dead_records,
    test_util::{Kills, Victim},
};
use flate2::{Compression, write::GzEncoder};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tempfile::TempDir;

const ROWS: u64 = 12_000;

#[derive(Debug, Serialize, Deserialize)]
struct Row {
    id: u64,
    text: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Part {
    id: u64,
    number: u64,
    text: String,
}

fn url(folder: &Path, rest: &str) -> String {
    format!("file://{}/{rest}", folder.display())
}

/// One run of a pipeline in this folder.
async fn run(kind: &str, folder: &Path) -> Result<Report, RunError> {
    let flow = Pipeline::named("parts")
        .read(Objects::at(url(folder, "in/*")).block_bytes(8_000).csv::<Row>())
        .filter(|row| row.id % 7 != 0)
        .try_map(|row| if row.id % 101 == 0 { Err("a multiple of 101") } else { Ok(row) })
        .flat_map(|row| (0..row.id % 3).map(move |number| Part { id: row.id, number, text: row.text.clone() }));
    let sink = match kind {
        "csv" => ObjectParts::csv(url(folder, "out")),
        _ => ObjectParts::json_lines(url(folder, "out")),
    };
    flow.write(sink.part_bytes(30_000))
        .collector(|sink| sink.max_size(40))
        .dead_letters(folder.join("rejected.jsonl"))
        .chunk(50)
        .checkpoint_every(Duration::from_millis(25))
        .run()
        .await
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

/// Three objects, one of them compressed. Every 500th record is broken, and the texts hold line ends.
fn folder() -> TempDir {
    let folder = TempDir::new().unwrap();
    fs::create_dir(folder.path().join("in")).unwrap();
    for (name, ids) in [("a.csv", 0..ROWS / 3), ("b.csv.gz", ROWS / 3..ROWS / 2), ("c.csv", ROWS / 2..ROWS)] {
        let row = |id: u64| if id % 500 == 499 { format!("{id}\n") } else { format!("{id},\"line\n{id}\"\n") };
        let rows: Vec<_> = ids.map(row).collect();
        let text = format!("id,text\n{}", rows.concat());
        let file = fs::File::create(folder.path().join("in").join(name)).unwrap();
        if name.contains(".gz") {
            GzEncoder::new(file, Compression::fast()).write_all(text.as_bytes()).unwrap();
        } else {
            (&file).write_all(text.as_bytes()).unwrap();
        }
    }
    folder
}

/// What a folder holds after a run.
#[derive(Debug, Clone, PartialEq)]
struct Outcome {
    /// What is published, in its order.
    parts: Vec<(u64, u64, usize)>,
    /// The places of the dead letters.
    letters: Vec<(u32, u64)>,
}

fn outcome(kind: &str, folder: &Path) -> Outcome {
    let letters = read_dead_records(&folder.join("rejected.jsonl")).unwrap();
    let mut letters: Vec<_> = letters.iter().map(|letter| (letter.position.range, letter.position.record)).collect();
    letters.sort_unstable();
    Outcome { parts: published(kind, folder), letters }
}

/// Reads the objects that the manifest lists, and checks that nothing else is left.
fn published(kind: &str, folder: &Path) -> Vec<(u64, u64, usize)> {
    let out = folder.join("out");
    let manifest: Value = serde_json::from_slice(&fs::read(out.join("manifest.json")).unwrap()).unwrap();
    let names = manifest["parts"].as_array().unwrap().iter().map(|part| part["object"].as_str().unwrap().to_owned());
    let names: Vec<String> = names.collect();
    let found = |folder: &Path| -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        entries.filter(|name| name.starts_with("part-") || name.starts_with("piece-")).collect()
    };
    let mut there = found(&out);
    there.sort();
    assert_eq!(there, names, "published, and listed");
    assert_eq!(found(&out.join("_staging/parts")), [] as [String; 0], "nothing is left behind");
    let mut parts = Vec::new();
    for name in names {
        let text = fs::read_to_string(out.join(name)).unwrap();
        let read: Vec<Part> = if kind == "csv" {
            csv::Reader::from_reader(text.as_bytes()).deserialize().map(Result::unwrap).collect()
        } else {
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
        };
        parts.extend(read.into_iter().map(|part| (part.id, part.number, part.text.len())));
    }
    parts
}

/// Kills a pipeline, running it again each time, and calls `check` with what each finished folder holds. `between` happens after each kill.
fn kill(kind: &str, between: impl Fn(&Path), mut check: impl FnMut(Outcome)) {
    let mut kills = Kills::from_env(kind);
    let mut folder = folder();
    let began = Instant::now();
    drop(uninterrupted(kind));
    let longest = began.elapsed();
    while kills.are_left() {
        let run = start(kind, folder.path());
        thread::sleep(kills.moment(longest));
        if kills.kill(run) {
            between(folder.path());
        } else {
            check(outcome(kind, folder.path()));
            folder = self::folder();
        }
    }
    kills.assert_before_their_end(10);
    start(kind, folder.path()).finish();
    check(outcome(kind, folder.path()));
}

fn uninterrupted(kind: &str) -> Outcome {
    let folder = folder();
    start(kind, folder.path()).finish();
    outcome(kind, folder.path())
}

#[test]
fn after_kills_json_lines_are_those_of_an_uninterrupted_run_in_its_order() {
    let expected = uninterrupted("json");
    kill("json", |_| (), |outcome| assert!(outcome == expected, "{} parts", outcome.parts.len()));
}

#[test]
fn after_kills_csv_is_that_of_an_uninterrupted_run_in_its_order() {
    let expected = uninterrupted("csv");
    kill("csv", |_| (), |outcome| assert!(outcome == expected, "{} parts", outcome.parts.len()));
}

/// The control: a checkpoint that is behind the parts it lists.
#[test]
fn after_kills_progress_behind_the_parts_would_write_records_twice() {
    let (expected, mut most) = (uninterrupted("json"), 0);
    let forget = |folder: &Path| {
        let path = folder.join("out/_staging/parts/checkpoint.json");
        let Ok(text) = fs::read(&path) else { return };
        let mut stored: Value = serde_json::from_slice(&text).unwrap();
        if let Some(range) = stored["checkpoint"]["ranges"].get_mut(0) {
            (range["record"], range["cursor"], range["beyond"]) = (0.into(), Value::Null, Value::Array(Vec::new()));
            fs::write(path, stored.to_string()).unwrap();
        }
    };
    kill("json", forget, |outcome| most = most.max(outcome.parts.len()));
    assert!(most > expected.parts.len(), "the control must fail: {most} parts");
}
