//! What the source and the sink cost, beside loops that are written by hand with the same client: `cargo bench -p actix-batch-nats`.
//!
//! It starts a `nats-server` of its own. The contenders take turns, and what is printed is the median of the ratios within a round.

use std::{env, fs, path::PathBuf, process::Command, time::Instant};

use async_nats::jetstream::{self, Context, stream};
use serde::{Deserialize, Serialize};

mod by_hand;
mod piped;
#[path = "../../tests/support/mod.rs"]
mod support;

/// As many as the flights of nycflights13.
const MESSAGES: i64 = 336_776;
const ROUNDS: usize = 5;
/// Rows in a transaction, for all contenders.
const BATCH: usize = 2_000;
const TABLE: &str =
    "CREATE TABLE IF NOT EXISTS orders (id INTEGER NOT NULL, item TEXT NOT NULL, cents INTEGER NOT NULL)";

#[derive(Debug, Serialize, Deserialize)]
struct Order {
    id: i64,
    item: String,
    cents: i64,
}

fn order(id: i64) -> Order {
    Order { id, item: format!("item number {}", id % 1_000), cents: id % 10_000 }
}

/// A trial has a process of its own, so that its memory is its own.
#[derive(Debug, Serialize, Deserialize)]
struct Trial {
    what: What,
    by_hand: bool,
    url: String,
    /// The name of the consumer.
    name: String,
    database: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
enum What {
    Publish,
    Read,
    Store,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Outcome {
    per_second: f64,
    /// The most memory that the process had, as Linux counts it; 0 elsewhere.
    peak_kib: u64,
}

impl Trial {
    fn start(&self) -> Outcome {
        let this = env::current_exe().unwrap();
        let output = Command::new(this).env("TRIAL", serde_json::to_string(self).unwrap()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    async fn run(&self) -> Outcome {
        let Self { url, name, database, .. } = self;
        let begin = Instant::now();
        let messages = match (self.what, self.by_hand) {
            (What::Publish, true) => by_hand::publish(&connect(url).await).await,
            (What::Publish, false) => piped::publish(url).await,
            (What::Read, true) => by_hand::read(&connect(url).await, name).await,
            (What::Read, false) => piped::read(url, name).await,
            (What::Store, true) => by_hand::store(&connect(url).await, name, database).await,
            (What::Store, false) => piped::store(url, name, database).await,
        };
        assert_eq!(messages, MESSAGES.unsigned_abs());
        let per_second = f64::from(u32::try_from(MESSAGES).unwrap()) / begin.elapsed().as_secs_f64();
        Outcome { per_second, peak_kib: peak_kib() }
    }
}

async fn connect(url: &str) -> Context {
    jetstream::new(async_nats::connect(url).await.unwrap())
}

/// An empty stream `OUT` of the subject `out`.
async fn empty_stream(context: &Context) {
    let _ = context.delete_stream("OUT").await;
    let config = stream::Config { name: "OUT".to_owned(), subjects: vec!["out".to_owned()], ..Default::default() };
    context.create_stream(config).await.unwrap();
}

async fn check_stream(context: &Context) {
    let stored = context.get_stream("OUT").await.unwrap().cached_info().state.messages;
    assert_eq!(stored, MESSAGES.unsigned_abs());
}

#[actix_rt::main]
async fn main() {
    if let Ok(trial) = env::var("TRIAL") {
        let trial: Trial = serde_json::from_str(&trial).unwrap();
        return println!("{}", serde_json::to_string(&trial.run().await).unwrap());
    }
    let Some(server) = support::NatsServer::start() else { return };
    let (context, folder) = (server.context().await, tempfile::tempdir().unwrap());
    let bytes = serde_json::to_vec(&order(MESSAGES - 1)).unwrap().len();
    println!("{MESSAGES} messages of up to {bytes} bytes, {BATCH} rows in a transaction, medians of {ROUNDS} rounds");
    let mut trials = 0;
    for what in [What::Publish, What::Read, What::Store] {
        let mut rounds = Vec::new();
        for _ in 0..ROUNDS {
            let mut outcomes = [true, false].map(|by_hand| {
                trials += 1;
                let (name, database) = (format!("reader-{trials}"), folder.path().join(format!("{trials}.sqlite")));
                Trial { what, by_hand, url: server.url(), name, database }
            });
            let mut round = Vec::new();
            for trial in &mut outcomes {
                if what == What::Publish {
                    empty_stream(&context).await;
                }
                round.push(trial.start());
                check_stream(&context).await;
            }
            rounds.push((round[0], round[1]));
        }
        print(what, &rounds);
    }
}

fn print(what: What, rounds: &[(Outcome, Outcome)]) {
    let name = match what {
        What::Publish => "publish with message ids",
        What::Read => "read into a closure",
        What::Store => "read into SQLite",
    };
    let ratios: Vec<_> = rounds.iter().map(|(by_hand, piped)| piped.per_second / by_hand.per_second).collect();
    let (least, most) =
        (ratios.iter().copied().fold(f64::INFINITY, f64::min), ratios.iter().copied().fold(0.0, f64::max));
    let peak = |of: fn(&(Outcome, Outcome)) -> Outcome| {
        rounds.iter().map(|round| of(round).peak_kib).max().unwrap_or_default() / 1024
    };
    println!(
        "  {name:<26} by hand {:>7.0}/s, {} MiB  pipeline {:>7.0}/s, {} MiB  {:.2} × ({least:.2}–{most:.2})",
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
