//! The command line, and the environment behind it.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use clap::builder::RangedU64ValueParser;

/// Flights over HTTP into SQLite: each request is answered on its own, the database sees one statement per batch.
#[derive(Clone, Debug, Parser)]
#[command(name = "web")]
pub(crate) struct Options {
    /// The SQLite file; made if it is not there
    #[arg(long, env, value_name = "FILE", default_value = "flights.sqlite")]
    pub(crate) database: PathBuf,

    /// The port on 127.0.0.1; 0 takes a free one
    #[arg(long, env, value_name = "PORT", default_value_t = 8080)]
    pub(crate) port: u16,

    /// Threads that write batches, and as many that look up
    #[arg(long, env, value_name = "N", default_value_t = 2, value_parser = from_1_to(64))]
    pub(crate) workers: usize,

    /// The most flights in one batch
    #[arg(long, env, value_name = "N", default_value_t = 100, value_parser = from_1_to(100_000))]
    pub(crate) max_size: usize,

    /// The longest that a flight waits for company: 5ms, 1s
    #[arg(long, env, value_name = "TIME", default_value = "5ms", value_parser = interval)]
    pub(crate) interval: Duration,

    /// The longest that a batch may take; a thread that the database keeps longer is given up: 10s, 500ms
    #[arg(long, env, value_name = "TIME", default_value = "10s", value_parser = interval)]
    pub(crate) timeout: Duration,

    /// The most requests that are held at one time; the next one is answered 503
    #[arg(long, env, value_name = "N", default_value_t = 10_000, value_parser = from_1_to(10_000_000))]
    pub(crate) max_pending: usize,

    /// Post N real flights to a service of its own, print what batching buys, and end
    #[arg(long, env, value_name = "N", value_parser = from_1_to(100_000_000))]
    pub(crate) load: Option<usize>,

    /// Connections that post at the same time under --load
    #[arg(long, env, value_name = "N", default_value_t = 256, value_parser = from_1_to(10_000))]
    pub(crate) clients: usize,

    /// Flights per second under --load, at random times, answers or not; else each client posts when it has its answer
    #[arg(long, env, value_name = "N", value_parser = from_1_to(1_000_000))]
    pub(crate) rate: Option<usize>,

    /// Record when flights come and how batches go, for `--example tune`; under --load, of the batches
    #[arg(long, env, value_name = "FILE")]
    pub(crate) record: Option<PathBuf>,
}

fn from_1_to(limit: u64) -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..=limit)
}

fn interval(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|letter: char| !letter.is_ascii_digit());
    let unit = match &text[digits.len()..] {
        "ms" => Duration::from_millis(1),
        "s" => Duration::from_secs(1),
        _ => return Err("write a whole number and its unit, ms or s: 5ms, 1s".into()),
    };
    match digits.parse::<u32>() {
        Ok(times @ 1..=3_600_000) => Ok(unit * times),
        _ => Err(format!("`{digits}` is no number from 1 to 3600000")),
    }
}
