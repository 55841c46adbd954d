//! What a pipeline costs, beside loops that are written by hand: the same rows, the same checks, the same table.
//!
//! Every trial runs in a process of its own. The contenders take turns, so that all of them have the same bad moments of the machine, and
//! what is printed is the median of the ratios within a round, with the least and the most of them.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Parser;

use crate::{
    chart::Bar,
    contest::{Figures, Outcome, median},
    trial::Trial,
};

mod by_hand;
mod chart;
mod contest;
#[path = "../../../../examples/web/flight.rs"]
#[allow(dead_code, reason = "the web example needs its key")]
mod flight;
mod piped;
mod rows;
mod trial;

/// The texts of a flight: short, and kept inline, so that no thread frees what another one has allocated.
type Text = compact_str::CompactString;

const SLICE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../examples/data/flights.csv");
const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../docs/img/pipelines.svg");

/// Measures pipelines beside loops that are written by hand.
#[derive(Debug, Parser)]
struct Args {
    /// Flights as CSV. Default: the slice in the repository, repeated with other years until there are 200,000 rows.
    #[arg(long)]
    data: Option<PathBuf>,
    /// How often each contender has its turn.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// A few seconds in all: shows that everything runs. Its figures say little.
    #[arg(long)]
    smoke: bool,
    /// The program of `peers/`, which is built apart: `cargo build --release --manifest-path crates/pipeline/bench/peers/Cargo.toml`.
    #[arg(long)]
    faucet: Option<PathBuf>,
    /// The program of `peers/spate/`, built in the same way, before Rust 1.96 with `--ignore-rust-version`.
    #[arg(long)]
    spate: Option<PathBuf>,
    /// Draws the picture of the guide.
    #[arg(long)]
    plot: bool,
}

fn main() -> io::Result<()> {
    if let Some((trial, data)) = contest::trial::<(Trial, PathBuf)>() {
        contest::tell(trial.run_here(&data));
        return Ok(());
    }
    let args = Args::parse();
    let folder = tempfile::tempdir()?;
    let data = match &args.data {
        Some(data) => data.clone(),
        None => repeated(folder.path(), if args.smoke { 1 } else { 40 })?,
    };
    let rounds = if args.smoke { 1 } else { args.rounds };
    let mut bars = into_sqlite(&data, rounds, if args.smoke { &[500] } else { &[100, 500, 2_000] });
    beside_peers(&args, &data, rounds);
    bars.extend(elsewhere(&data, rounds));
    costs(if args.smoke { 100_000 } else { 3_000_000 }, &data, rounds);
    if !args.smoke {
        memory(folder.path(), &data)?;
    }
    if args.plot {
        let subtitle =
            "times the serial loop of the same batch size; cargo run --release -p actix-batch-pipeline-bench -- --plot";
        fs::write(CHART, chart::svg("Flights from CSV, by pipelines and by hand", subtitle, &bars))?;
        println!("\n{CHART} is drawn");
    }
    Ok(())
}

/// The main job, beside loops by hand and cut into ranges.
fn into_sqlite(data: &Path, rounds: usize, batches: &[usize]) -> Vec<Bar> {
    let mut bars = Vec::new();
    println!("CSV → SQLite, upserts, WAL, synchronous = FULL; ratios to the serial loop, medians of {rounds} rounds");
    for &batch in batches {
        let trials = [Trial::Serial(batch), Trial::Threads(batch), Trial::Pipeline(batch), Trial::Python(batch)];
        let names = ["serial loop", "two threads by hand", "pipeline", "Python, executemany"];
        bars.extend(group(&format!("batch {batch}"), &names, &turns(&trials, data, rounds)));
    }
    println!("\nthe same in ranges, one after the other, each with its own checkpoint and lease");
    let trials = [Trial::Pipeline(2_000), Trial::Ranges(20_000), Trial::Ranges(5_000)];
    group("batch 2000", &["one range", "ranges of 20,000 rows", "ranges of 5,000 rows"], &turns(&trials, data, rounds));
    bars
}

/// The main job, beside the programs of `peers/` that are given.
fn beside_peers(args: &Args, data: &Path, rounds: usize) {
    let peers = [
        ("faucet-stream", &args.faucet, "checks no row and inserts its texts"),
        ("spate", &args.spate, "has the same checks, and a source and a sink that are written for this bench"),
    ];
    if args.faucet.is_none() && args.spate.is_none() {
        return;
    }
    println!("\nbeside published pipelines, whose rows are those that they write");
    let (mut names, mut trials) = (vec!["pipeline"], vec![Trial::Pipeline(1_000)]);
    for (name, program, note) in peers {
        if let Some(program) = program {
            println!("  {name} {note}");
            names.push(name);
            trials.push(Trial::Peer { program: program.clone(), batch: 1_000 });
        }
    }
    group("batch 1000", &names, &turns(&trials, data, rounds));
}

/// Into JSON lines, and into nothing.
fn elsewhere(data: &Path, rounds: usize) -> Vec<Bar> {
    println!("\nCSV → JSON lines");
    let trials = [Trial::JsonLinesByHand, Trial::JsonLinesPipeline];
    let bars = group("JSON lines", &["serial loop", "pipeline"], &turns(&trials, data, rounds));
    println!("\nCSV → nothing: reading and checking, by readers alone and by a pipeline");
    group("alone", &["one reader", "two readers"], &turns(&[Trial::Readers(1), Trial::Readers(2)], data, rounds));
    let trials = [Trial::Nothing { readers: 1 }, Trial::Nothing { readers: 2 }];
    group("pipeline", &["one reader", "two readers"], &turns(&trials, data, rounds));
    let every = |millis| Trial::Checkpoints { every: Duration::from_millis(millis) };
    let trials = [Trial::Nothing { readers: 1 }, every(1_000), every(100), every(10)];
    group("checkpoint", &["none", "every second", "every 100 ms", "every 10 ms"], &turns(&trials, data, rounds));
    bars
}

/// The slice again and again, each time with years of its own, so that no key comes twice.
fn repeated(folder: &Path, times: usize) -> io::Result<PathBuf> {
    let (slice, path) = (fs::read_to_string(SLICE)?, folder.join("flights.csv"));
    let (header, rows) = slice.split_once('\n').unwrap_or_default();
    let mut file = io::BufWriter::new(File::create(&path)?);
    writeln!(file, "{header}")?;
    for time in 0..times {
        for row in rows.lines() {
            writeln!(file, "{}{}", 2_013 + time, row.strip_prefix("2013").unwrap_or(row))?;
        }
    }
    file.flush()?;
    Ok(path)
}

/// The outcomes of each trial. In each round all of them have their turn.
fn turns(trials: &[Trial], data: &Path, rounds: usize) -> Vec<Vec<Outcome>> {
    let mut outcomes = vec![Vec::new(); trials.len()];
    for at in contest::turns(trials.len(), rounds) {
        outcomes[at].extend(trials[at].run(data));
    }
    outcomes
}

/// Prints a group whose first contender is the measure, and returns its bars.
fn group(title: &str, names: &[&str], outcomes: &[Vec<Outcome>]) -> Vec<Bar> {
    let mut bars = Vec::new();
    for (at, (name, own)) in names.iter().zip(outcomes).enumerate() {
        if own.is_empty() {
            println!("  {title:<12} {name:<22} not here");
            continue;
        }
        let figures = Figures::of(own, &outcomes[0]);
        println!("  {title:<12} {name:<22} {figures}");
        let note = format!("{:.0}k rows/s", figures.per_second / 1_000.0);
        let colour = if *name == "pipeline" {
            2
        } else if at > 1 {
            3
        } else {
            at
        };
        bars.push(Bar { name: format!("{title}: {name}"), ratio: figures.ratio, note, colour, begins: at == 0 });
    }
    bars
}

/// What a small record costs on its way, and what each stage adds.
fn costs(records: u64, data: &Path, rounds: usize) {
    let trials = [
        Trial::Filtered { records, stages: 0 },
        Trial::Filtered { records, stages: 8 },
        Trial::Stages { records, stages: 0 },
    ];
    let outcomes = turns(&trials, data, rounds);
    let cost = |at: usize| median(outcomes[at].iter().map(nanoseconds));
    let both = outcomes[1].iter().zip(&outcomes[0]);
    let stage = median(both.map(|(with, without)| (nanoseconds(with) - nanoseconds(without)) / 8.0));
    println!(
        "\nA small record: {:.0} ns to be read and filtered, {:.1} ns more for each `map`, {:.0} ns more to go through the collector into a sink that does nothing",
        cost(0),
        stage,
        cost(2) - cost(0)
    );
}

/// The most memory at this size of the data and at ten times as much.
fn memory(folder: &Path, data: &Path) -> io::Result<()> {
    let ten = folder.join("ten.csv");
    let mut file = File::create(&ten)?;
    let text = fs::read_to_string(data)?;
    let (header, rows) = text.split_once('\n').unwrap_or_default();
    writeln!(file, "{header}")?;
    for _ in 0..10 {
        file.write_all(rows.as_bytes())?;
    }
    drop(file);
    let peak = |data: &Path| Trial::Pipeline(2_000).run(data).map_or(0, |outcome| outcome.peak_kib / 1024);
    println!(
        "\nPeak memory, batches of 2,000 into SQLite: {} MB, and {} MB for ten times the rows",
        peak(data),
        peak(&ten)
    );
    Ok(())
}

/// Of one record.
fn nanoseconds(outcome: &Outcome) -> f64 {
    1e9 / outcome.per_second()
}
