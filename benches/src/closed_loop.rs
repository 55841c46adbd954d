//! Every contender under the same closed loops, in one process, in interleaved rounds.

use std::time::Duration;

use crate::{
    best_host::OnBestHost,
    contenders::{self, JobBytes},
    report::Row,
    spread::{Spread, rounded},
    table::Table,
    trial::{Sample, Threads, Trial},
};

/// Which loops, how often, and for how long.
pub(crate) struct Plan {
    pub(crate) callers: &'static [usize],
    pub(crate) batches: &'static [usize],
    pub(crate) bytes: &'static [JobBytes],
    pub(crate) threads: &'static [Threads],
    pub(crate) rounds: usize,
    pub(crate) warm_up: Duration,
    pub(crate) window: Duration,
}

impl Plan {
    pub(crate) const DEFAULT: Self = Self {
        callers: &[100, 1_000, 10_000],
        batches: &[100],
        bytes: &[JobBytes::Eight],
        threads: &Threads::BOTH,
        rounds: 11,
        warm_up: Duration::from_millis(60),
        window: Duration::from_millis(200),
    };

    /// The whole grid.
    pub(crate) const FULL: Self = Self {
        callers: &[1, 100, 1_000, 10_000],
        batches: &[1, 16, 100, 1_000],
        bytes: &[JobBytes::Eight, JobBytes::Kibi],
        rounds: 3,
        ..Self::DEFAULT
    };

    /// Shows that everything runs; its figures say little.
    pub(crate) const SMOKE: Self = Self {
        callers: &[100],
        rounds: 1,
        warm_up: Duration::from_millis(5),
        window: Duration::from_millis(20),
        ..Self::DEFAULT
    };

    fn cases(&self) -> Vec<Case> {
        let mut cases = Vec::new();
        for &bytes in self.bytes {
            for &threads in self.threads {
                for &batch in self.batches {
                    cases.extend(self.callers.iter().map(|&callers| Case { callers, batch, bytes, threads }));
                }
            }
        }
        cases
    }

    fn trial(&self, case: &Case, settled: &OnBestHost) -> Trial {
        let host = settled.host(case.threads);
        let Case { callers, batch, threads, .. } = *case;
        Trial { host, threads, callers, batch, warm_up: self.warm_up, window: self.window }
    }
}

/// One closed loop, whoever runs it.
#[derive(Debug, Clone, Copy)]
struct Case {
    callers: usize,
    batch: usize,
    bytes: JobBytes,
    threads: Threads,
}

/// Runs the plan and prints the table.
pub(crate) fn run(plan: &Plan) -> Vec<Row> {
    println!("the better runtime for each, tried with 1,000 callers and batches of 100:");
    let all: Vec<OnBestHost> =
        contenders::all().into_iter().map(|entry| OnBestHost::settle(entry, plan.threads, plan.window)).collect();
    let cases = plan.cases();
    let mut samples = vec![vec![Vec::new(); all.len()]; cases.len()];
    for round in 0..plan.rounds {
        eprintln!("round {} of {}", round + 1, plan.rounds);
        for (case, samples) in cases.iter().zip(&mut samples) {
            // Nobody always comes after the same neighbour, on a machine that may be slower in its second minute.
            for at in (0..all.len()).map(|at| (at + round) % all.len()) {
                samples[at].push(all[at].entry.run(case.bytes, &plan.trial(case, &all[at])));
            }
        }
    }
    let rows = cases.iter().zip(&samples).map(|(case, samples)| rows(case, &all, samples)).collect();
    print(&rows);
    rows.concat()
}

fn rows(case: &Case, all: &[OnBestHost], samples: &[Vec<Sample>]) -> Vec<Row> {
    all.iter().zip(samples).map(|(settled, samples)| row(case, settled.entry.name, samples)).collect()
}

fn row(case: &Case, contender: &str, samples: &[Sample]) -> Row {
    let ns = Spread::of(samples.iter().map(|sample| sample.ns_per_job));
    Row {
        contender: contender.to_owned(),
        callers: case.callers,
        batch: case.batch,
        job_bytes: case.bytes.bytes(),
        threads: case.threads,
        ns_per_job: rounded(ns.median, 1),
        low: rounded(ns.low, 1),
        high: rounded(ns.high, 1),
        allocations_per_job: rounded(Spread::of(samples.iter().map(|sample| sample.allocations_per_job)).median, 4),
        mean_batch: rounded(Spread::of(samples.iter().map(|sample| sample.mean_batch)).median, 2),
    }
}

fn print(cases: &Vec<Vec<Row>>) {
    let mut table = Table::new([
        "contender",
        "callers",
        "batch",
        "bytes",
        "threads",
        "ns/job",
        "low",
        "high",
        "x echo",
        "x loop",
        "alloc/job",
        "mean batch",
    ]);
    for case in cases {
        table.gap();
        for row in case {
            table.row(cells(row, case));
        }
    }
    println!("\n{table}");
}

fn cells(row: &Row, case: &[Row]) -> [String; 12] {
    [
        row.contender.clone(),
        row.callers.to_string(),
        row.batch.to_string(),
        row.job_bytes.to_string(),
        row.threads.name().to_owned(),
        format!("{:.1}", row.ns_per_job),
        format!("{:.1}", row.low),
        format!("{:.1}", row.high),
        times(row, case, "bare-echo"),
        times(row, case, "hand-written"),
        format!("{:.3}", row.allocations_per_job),
        format!("{:.1}", row.mean_batch),
    ]
}

/// How many times what `yardstick` costs in the same case.
fn times(row: &Row, case: &[Row], yardstick: &str) -> String {
    let yardstick = case.iter().find(|row| row.contender == yardstick);
    yardstick.map_or_else(|| "-".to_owned(), |other| format!("{:.2}", row.ns_per_job / other.ns_per_job))
}
