//! The command line.

use std::{path::PathBuf, time::Duration};

use clap::{Parser, builder::RangedU64ValueParser};

/// Replays a recorded trace through every policy over a grid of settings, and recommends one.
#[derive(Debug, Parser)]
#[command(name = "tune")]
pub(crate) struct Options {
    /// What `.record(..)` has written; without it, a trace of the web example
    pub(crate) trace: Option<PathBuf>,

    /// The goal: the fewest calls with which 99 of 100 jobs are answered within this time: 20ms, 1s. Without a goal, no slower
    /// than as recorded
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) p99: Option<Duration>,

    /// The goal: the fewest calls, however long jobs take; with --p99, within that
    #[arg(long)]
    pub(crate) fewest_calls: bool,

    /// With so many workers, instead of as many as were recorded
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<usize>::new().range(1..=1024))]
    pub(crate) workers: Option<usize>,

    /// How late a batch leaves that leaves by time: tokio's timer ticks in milliseconds
    #[arg(long, value_name = "TIME", default_value = "1ms", value_parser = time)]
    pub(crate) late: Duration,
}

fn time(text: &str) -> Result<Duration, String> {
    let number = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic() || letter == 'µ');
    let unit = match &text[number.len()..] {
        "us" | "µs" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        _ => return Err("write a number and its unit, us, ms or s: 20ms, 1s".to_owned()),
    };
    let seconds = number.parse().ok().map(|number: f64| number * unit);
    seconds
        .filter(|seconds| (0.0..=86_400.0).contains(seconds))
        .map(Duration::from_secs_f64)
        .ok_or_else(|| format!("`{number}` is no number from 0 to a day"))
}
