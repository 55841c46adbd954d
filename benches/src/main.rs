//! What a batched job costs, beside a bare actor, a loop written by hand, and the crates that do something similar.
//!
//! Without flags: every contender in closed loops, then what actix-batch holds, wakes and delays; one table, and
//! `target/bench/results.json`. A flag of [`Args`] asks for another run instead.

#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "figures for reading: none of them needs more than 52 bits, and none is negative"
)]

use std::{io, panic, process};

use clap::Parser;

use crate::closed_loop::Plan;

mod accuracy;
mod allocations;
mod axis;
mod best_host;
mod closed_loop;
mod contender;
mod contenders;
mod downstream;
mod host;
mod idle;
mod machine;
mod open_loop;
mod payload;
mod pending;
mod plot;
mod plots;
mod report;
mod scale;
mod soak;
mod spread;
mod table;
mod tally;
mod trial;

/// Measures actix-batch beside its peers.
#[derive(Parser)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
struct Args {
    /// The whole grid: 1 to 10,000 callers, batches of 1 to 1,000, jobs of 8 bytes and of 1 KiB.
    #[arg(long, conflicts_with = "smoke")]
    full: bool,
    /// A few seconds in all: shows that everything runs. Its figures say little and go to `smoke.json`.
    #[arg(long)]
    smoke: bool,
    /// Latency against offered load, batched and not, in front of a downstream system that takes its time.
    #[arg(long)]
    open_loop: bool,
    /// How far after its due time an interval flush happens, idle and flooded.
    #[arg(long)]
    accuracy: bool,
    /// Wake-ups per second of a started, idle collector with 8 workers.
    #[arg(long)]
    idle: bool,
    /// Cost per job as callers grow from 1 to 100,000.
    #[arg(long)]
    scale: bool,
    /// Soaks a collector for so many seconds: random settings, four threads of callers, both doors, and a processor that fails.
    #[arg(long, value_name = "SECONDS")]
    soak: Option<u64>,
    /// Draws what earlier runs have written, into `docs/img`.
    #[arg(long)]
    plots: bool,
}

impl Args {
    fn plan(&self) -> Plan {
        match (self.full, self.smoke) {
            (true, _) => Plan::FULL,
            (_, true) => Plan::SMOKE,
            _ => Plan::DEFAULT,
        }
    }

    fn asks_for_another_run(&self) -> bool {
        self.open_loop || self.accuracy || self.idle || self.scale || self.plots || self.soak.is_some()
    }
}

fn main() -> io::Result<()> {
    end_with_the_first_panic();
    let args = Args::parse();
    println!("{}\n", machine::describe());
    if !args.asks_for_another_run() {
        everything(&args)?;
    }
    if args.accuracy {
        accuracy::run(args.smoke);
    }
    if args.idle {
        idle::run(args.smoke);
    }
    if args.scale {
        scale::run(args.smoke)?;
    }
    if args.open_loop {
        open_loop::run(args.smoke)?;
    }
    if let Some(seconds) = args.soak {
        soak::run(seconds);
    }
    if args.plots {
        plots::draw()?;
    }
    Ok(())
}

/// A closed loop with a dead caller would wait for ever.
fn end_with_the_first_panic() {
    panic::set_hook(Box::new(|info| {
        eprintln!("{info}");
        process::exit(101);
    }));
}

fn everything(args: &Args) -> io::Result<()> {
    let results = report::Results {
        closed_loop: closed_loop::run(&args.plan()),
        bytes_per_pending_job: pending::run(),
        idle_wakeups_per_second: idle::run(args.smoke),
        flush_lateness_ms: accuracy::run(args.smoke),
    };
    report::write(if args.smoke { "smoke" } else { "results" }, &results)
}
