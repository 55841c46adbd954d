//! Which settings suit your load: replays a recorded trace through every policy over a grid of settings, and recommends one.
//!
//! A collector records with `.record("trace.jsonl")`; then
//!
//! `cargo run --release --example tune -- trace.jsonl --p99 20ms`
//!
//! Without a trace it replays `examples/data/trace.jsonl`, which the web example recorded. `docs/tuning.md` says how to read it.

#![allow(clippy::cast_precision_loss, reason = "these numbers are only printed")]
#![allow(clippy::doc_markdown, reason = "clap prints the documentation of an option as it stands")]

mod goal;
mod grid;
mod options;
mod replays;
mod summary;
mod table;

use std::{process::ExitCode, time::Instant};

use actix_batch::{
    flush::replay::{Cost, Setting},
    observe::{Trace, TraceError},
};
use clap::Parser;
use thiserror::Error;

use crate::{goal::Goal, options::Options, replays::Replays, summary::Summary};

#[derive(Debug, Error)]
enum TuneError {
    #[error("cannot read the trace {path}: {error}")]
    Trace { path: String, error: TraceError },
    #[error("the trace has {0}: record for longer")]
    TooShort(&'static str),
}

fn main() -> ExitCode {
    match tune(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn tune(options: &Options) -> Result<(), TuneError> {
    let trace = read(options)?;
    let cost = Cost::fit_with_strays(&trace.timings()).ok_or(TuneError::TooShort("no batch that was answered"))?;
    if trace.jobs.is_empty() {
        return Err(TuneError::TooShort("no job"));
    }
    let setting = Setting {
        workers: options.workers.unwrap_or(trace.config.workers.max()),
        cost,
        late: options.late,
        ..Setting::default()
    };
    table::head(&trace, &setting);

    let begin = Instant::now();
    let grid = grid::settings(&trace.config, options.p99);
    let replays = Replays::run(&grid, &setting, &trace.jobs);
    let took = begin.elapsed();
    let recorded = Summary::recorded(&trace);
    let replayed = replays.of(&trace.config).filter(|_| !trace.own_policy);
    table::recorded(&trace.config, &recorded, replayed);
    table::settings(&replays);
    table::took(&replays, trace.jobs.len(), took);
    // The same replay as its rivals, where there is one.
    Goal::of(options, replayed.map_or(&recorded, |replayed| &replayed.summary)).recommend(&replays);
    Ok(())
}

fn read(options: &Options) -> Result<Trace, TuneError> {
    let (path, read) = match &options.trace {
        Some(path) => (path.display().to_string(), Trace::read(path)),
        None => {
            ("examples/data/trace.jsonl".to_owned(), Trace::parse(include_bytes!("../data/trace.jsonl").as_slice()))
        }
    };
    println!("{path}");
    read.map_err(|error| TuneError::Trace { path, error })
}
