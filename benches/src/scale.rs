//! Cost per job as callers grow, so that anything that grows with them shows.

use std::{io, time::Duration};

use crate::{
    closed_loop::{self, Plan},
    report::{self, Scale},
    trial::Threads,
};

const PLAN: Plan =
    Plan { callers: &[1, 10, 100, 1_000, 10_000, 100_000], threads: &[Threads::Same], rounds: 5, ..Plan::DEFAULT };

const SMOKE: Plan = Plan {
    callers: &[1, 1_000],
    rounds: 1,
    warm_up: Duration::from_millis(5),
    window: Duration::from_millis(20),
    ..PLAN
};

/// Runs it, prints the table and writes `scale.json`.
///
/// Fewer callers than a batch holds never fill one: whoever waits for an interval shows it here.
pub(crate) fn run(smoke: bool) -> io::Result<()> {
    let rows = closed_loop::run(if smoke { &SMOKE } else { &PLAN });
    report::write(if smoke { "scale-smoke" } else { "scale" }, &Scale { rows })
}
