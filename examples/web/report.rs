//! What is printed: of a load, and at the end.

use std::time::Duration;

use actix_batch::Stats;

use crate::load::Run;
use crate::options::Options;
use crate::panel::{count, readable};
use crate::slice::Slice;

pub(crate) fn announce(flights: usize, slice: &Slice) {
    let rounds = flights.div_ceil(slice.len());
    let which = match rounds {
        1 => "from examples/data/flights.csv".to_owned(),
        _ => format!(
            "from the {} rows of examples/data/flights.csv, up to {rounds} times, each time a year later",
            count(slice.len() as u64)
        ),
    };
    println!("{} flights {which}", count(flights as u64));
}

/// Both runs in columns, and how many times better the first one is.
pub(crate) fn side_by_side(options: &Options, batched: &Run, single: &Run) {
    println!(
        "{} clients over HTTP, {} workers, SQLite synchronous={}\n",
        count(options.clients as u64),
        options.workers,
        batched.synchronous
    );
    let runs = [batched, single];
    line("", runs.map(|run| format!("max-size {}", run.max_size)), "");
    line("rows stored", runs.map(|run| count(run.tally.created as u64)), "");
    line("rows refused", runs.map(|run| count(run.tally.refused as u64)), "(no tailnum, as expected)");
    line("wrong answers", runs.map(|run| count(run.tally.wrong as u64)), "");
    line("batches", runs.map(|run| count(run.batches)), &times(single.batches as f64, batched.batches as f64, "fewer"));
    let [more, less] = runs.map(|run| run.tally.rows_per_second());
    line("rows per second", [more, less].map(|rate| count(rate as u64)), &times(more, less, "as many"));
    for (name, share) in [("latency p50", 0.5), ("latency p99", 0.99)] {
        let [short, long] = runs.map(|run| run.tally.quantile(share));
        line(name, [short, long].map(readable), &times(seconds(long), seconds(short), "shorter"));
    }
}

/// One line, when the service has ended.
pub(crate) fn ended(collectors: &[Stats]) {
    let totals = collectors.iter().map(|stats| {
        let answered = stats.succeeded + stats.failed.total();
        let batches = stats.batches.values().sum();
        format!(
            "{}: {} accepted, {} answered, in {} batches",
            stats.collector,
            count(stats.intake.accepted),
            count(answered),
            count(batches)
        )
    });
    println!("{}", totals.collect::<Vec<_>>().join("; "));
}

fn line(name: &str, [batched, single]: [String; 2], comment: &str) {
    println!("{}", format!("{name:<16}{batched:>14}{single:>14}   {comment}").trim_end());
}

fn times(large: f64, small: f64, better: &str) -> String {
    format!("{:.1} × {better}", large / small)
}

fn seconds(time: Duration) -> f64 {
    time.as_secs_f64()
}
