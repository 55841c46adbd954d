//! What the sink costs, beside loops that are written by hand with the driver: `cargo bench -p actix-batch-mongodb`.
//!
//! It starts the server of the tests, FerretDB over SQLite. That server looks at every document of the collection for an update by other
//! fields than a textual `_id`, so those collections are small. The contenders take turns, each with an empty database, and what is printed is the
//! median of the ratios within a round.

use std::{env, fs, process::Command, time::Instant};

use serde::{Deserialize, Serialize};

mod by_hand;
mod piped;
#[path = "../../tests/support/mod.rs"]
mod support;

const ROUNDS: usize = 5;

/// What is compared.
struct Case {
    name: &'static str,
    documents: u64,
    /// Documents in a command. The server hangs at more than 100 updates.
    batch: usize,
    mode: Mode,
}

#[derive(Debug, Clone, Copy)]
enum Mode {
    Insert,
    UpsertById,
    UpsertByKey,
}

const CASES: [Case; 3] = [
    // As many as the flights of nycflights13.
    Case { name: "insert", documents: 336_776, batch: 1_000, mode: Mode::Insert },
    Case { name: "upsert by _id", documents: 2_000, batch: 50, mode: Mode::UpsertById },
    Case { name: "upsert by another field", documents: 1_000, batch: 50, mode: Mode::UpsertByKey },
];

#[derive(Debug, Serialize, Deserialize)]
struct Order {
    #[serde(rename = "_id")]
    id: String,
    number: i64,
    item: String,
    cents: i64,
}

fn orders(documents: u64) -> impl Iterator<Item = Order> {
    (0..documents.cast_signed()).map(|number| Order {
        id: format!("order {number}"),
        number,
        item: format!("item number {}", number % 1_000),
        cents: number % 10_000,
    })
}

/// A trial has a process of its own, so that its memory is its own.
#[derive(Debug, Serialize, Deserialize)]
struct Trial {
    case: usize,
    by_hand: bool,
    uri: String,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Outcome {
    per_second: f64,
    /// The most memory that the process had, as Linux counts it; 0 elsewhere.
    peak_kib: u64,
}

impl Trial {
    async fn start(&self) -> Outcome {
        let this = env::current_exe().unwrap();
        let output = Command::new(this).env("TRIAL", serde_json::to_string(self).unwrap()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let database = support::connect(&self.uri).await;
        let stored = database.collection::<Order>("orders").estimated_document_count().await.unwrap();
        assert_eq!(stored, CASES[self.case].documents);
        database.drop().await.unwrap();
        serde_json::from_slice(&output.stdout).unwrap()
    }

    async fn run(&self) -> Outcome {
        let (case, begin) = (&CASES[self.case], Instant::now());
        if self.by_hand {
            by_hand::write(case, &self.uri).await;
        } else {
            piped::write(case, &self.uri).await;
        }
        let per_second = f64::from(u32::try_from(case.documents).unwrap()) / begin.elapsed().as_secs_f64();
        Outcome { per_second, peak_kib: peak_kib() }
    }
}

#[actix_rt::main]
async fn main() {
    if let Ok(trial) = env::var("TRIAL") {
        let trial: Trial = serde_json::from_str(&trial).unwrap();
        return println!("{}", serde_json::to_string(&trial.run().await).unwrap());
    }
    let Some(server) = support::Server::start() else { return };
    println!("documents per second, medians of {ROUNDS} rounds");
    for (at, case) in CASES.iter().enumerate() {
        let mut rounds = Vec::new();
        for _ in 0..ROUNDS {
            let trial = |by_hand| Trial { case: at, by_hand, uri: server.database() };
            rounds.push((trial(true).start().await, trial(false).start().await));
        }
        print(case, &rounds);
    }
}

fn print(case: &Case, rounds: &[(Outcome, Outcome)]) {
    let ratios: Vec<_> = rounds.iter().map(|(by_hand, piped)| piped.per_second / by_hand.per_second).collect();
    let (least, most) =
        (ratios.iter().copied().fold(f64::INFINITY, f64::min), ratios.iter().copied().fold(0.0, f64::max));
    let peak = |of: fn(&(Outcome, Outcome)) -> Outcome| {
        rounds.iter().map(|round| of(round).peak_kib).max().unwrap_or_default() / 1024
    };
    println!(
        "  {:<24} {:>7} documents, batches of {:>5}: by hand {:>6.0}/s, {} MiB  pipeline {:>6.0}/s, {} MiB  {:.2} × ({least:.2}–{most:.2})",
        case.name,
        case.documents,
        case.batch,
        median(rounds.iter().map(|(by_hand, _)| by_hand.per_second)),
        peak(|round| round.0),
        median(rounds.iter().map(|(_, piped)| piped.per_second)),
        peak(|round| round.1),
        median(ratios.iter().copied()),
    );
}

fn peak_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or_default()
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
