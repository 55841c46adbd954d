//! Runs that are killed at random moments and run again: what is published is what an uninterrupted run publishes.
//!
//! Each run is a process of its own, this test's own program, killed with SIGKILL. `KILLS=500` kills so often; the usual number is 20.
//! The seed is printed, and `KILL_SEED` sets it.

use std::{
    env, fs,
    io::Write,
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use actix_batch_object_store::{ObjectParts, Objects};
use actix_batch_pipeline::{prelude::*, read_dead_records};
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

fn start(kind: &str, folder: &Path) -> Child {
    Command::new(env::current_exe().unwrap())
        .args(["--exact", "child"])
        .env("KILL_KIND", kind)
        .env("KILL_FOLDER", folder)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Whether a run came to its end before it was killed. One that fails by itself fails the test.
fn has_finished(run: Child) -> bool {
    let ended = run.wait_with_output().unwrap();
    let was_killed = ended.status.signal().is_some();
    assert!(ended.status.success() || was_killed, "the run itself fails: {}", String::from_utf8_lossy(&ended.stderr));
    !was_killed
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

fn finish(kind: &str, folder: &Path) {
    assert!(has_finished(start(kind, folder)), "a run that was left alone was killed");
}

/// Kills a pipeline until it was killed so often, running it again each time, and calls `check` with what each finished folder holds.
/// `between` happens after each kill.
fn kill(kind: &str, between: impl Fn(&Path), usual: u32, mut check: impl FnMut(Outcome)) {
    let seed = env::var("KILL_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    println!("KILL_SEED={seed} ({kind})");
    let kills: u32 = env::var("KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(usual);
    let mut random = fastrand::Rng::with_seed(seed);
    let mut folder = folder();
    let began = Instant::now();
    drop(uninterrupted(kind));
    let longest = began.elapsed();
    let mut interrupted = 0;
    for _ in 0..kills {
        let mut child = start(kind, folder.path());
        thread::sleep(longest.mul_f64(random.f64()));
        child.kill().unwrap();
        if has_finished(child) {
            check(outcome(kind, folder.path()));
            folder = self::folder();
        } else {
            interrupted += 1;
            between(folder.path());
        }
    }
    println!("{interrupted} of {kills} runs were killed before their end");
    assert!(interrupted > kills / 10, "only {interrupted} of {kills} runs were killed before their end");
    finish(kind, folder.path());
    check(outcome(kind, folder.path()));
}

fn uninterrupted(kind: &str) -> Outcome {
    let folder = folder();
    finish(kind, folder.path());
    outcome(kind, folder.path())
}

#[test]
fn after_kills_json_lines_are_those_of_an_uninterrupted_run_in_its_order() {
    let expected = uninterrupted("json");
    kill("json", |_| (), 20, |outcome| assert!(outcome == expected, "{} parts", outcome.parts.len()));
}

#[test]
fn after_kills_csv_is_that_of_an_uninterrupted_run_in_its_order() {
    let expected = uninterrupted("csv");
    kill("csv", |_| (), 20, |outcome| assert!(outcome == expected, "{} parts", outcome.parts.len()));
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
    kill("json", forget, 5, |outcome| most = most.max(outcome.parts.len()));
    assert!(most > expected.parts.len(), "the control must fail: {most} parts");
}
