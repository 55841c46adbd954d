//! What a policy would have done: its batches, from jobs that came at known times, on a virtual clock.
//!
//! Policies are pure, so they can be asked. [`replay`] is a collector with nothing in it but the open batch, the ready queue and
//! the workers, and with a [`Cost`] in place of the downstream. It runs as fast as the policy answers – millions of jobs in a
//! second – and says the same each time. What it leaves out: `max_pending`, retries and every other gate, batchers, and jobs
//! that are abandoned.
//!
//! Use it to choose settings (`examples/tune` does, with what a collector has recorded), and to test a policy of your own:
//!
//! ```
//! use std::time::Duration;
//!
//! use actix_batch::{
//!     Trigger,
//!     flush::{SizeOrInterval, replay::{Cost, Incoming, Setting, replay}},
//! };
//!
//! let ms = Duration::from_millis;
//! let jobs = [0, 1, 2, 9].map(|at| Incoming::at(ms(at)));
//! // One worker, who needs 3 ms for a batch and 1 ms more for each job.
//! let setting = Setting { workers: 1, cost: Cost::new(ms(3), ms(1)), ..Setting::default() };
//!
//! let cuts = replay(SizeOrInterval::new(3, Some(ms(5))), &setting, &jobs);
//! assert_eq!((cuts[0].jobs.clone(), cuts[0].trigger, cuts[0].left, cuts[0].done), (0..3, Trigger::Size, ms(2), ms(8)));
//! assert_eq!((cuts[1].jobs.clone(), cuts[1].trigger, cuts[1].left, cuts[1].done), (3..4, Trigger::Interval, ms(14), ms(18)));
//! ```

use std::{ops::Range, time::Duration};

use super::{FlushPolicy, OpenBatch};
use crate::batch::Trigger;

mod cost;
mod machine;

pub use cost::Cost;
use machine::Machine;

/// A job to come. Times count from the start of the replay.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Incoming {
    /// When it is accepted.
    pub at: Duration,
    /// What it weighs.
    pub weight: u64,
}

impl Incoming {
    /// A job without a weight.
    pub fn at(at: Duration) -> Self {
        Self { at, weight: 0 }
    }
}

/// What there is around the policy.
#[derive(Debug, Clone, PartialEq)]
pub struct Setting {
    /// Jobs per batch at the most; 0 counts as 1. Default: 100.
    pub max_size: usize,
    /// How many batches can be with workers at once; 0 counts as 1. Default: 2.
    pub workers: usize,
    /// What a worker needs. Default: no time at all.
    pub cost: Cost,
    /// How late each alarm is. Default: not at all. tokio's timer ticks in milliseconds.
    pub late: Duration,
}

impl Default for Setting {
    fn default() -> Self {
        Self { max_size: 100, workers: 2, cost: Cost::default(), late: Duration::ZERO }
    }
}

/// A batch that has left. Times count from the start of the replay.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cut {
    /// Which jobs it has: their places among the jobs that came.
    pub jobs: Range<usize>,
    /// Why it left.
    pub trigger: Trigger,
    /// When it left the open batch.
    pub left: Duration,
    /// When a worker began with it.
    pub started: Duration,
    /// When its jobs were answered.
    pub done: Duration,
    /// The worker's place in the pool, from 0.
    pub worker: usize,
}

/// The batches that the policy makes of these jobs, in the order in which they leave. What is open when nothing more happens is
/// drained.
///
/// The jobs come in the order of the slice: one whose time lies before that of its predecessor comes together with it. Jobs that
/// come at the same moment come before anything else can happen. A policy's panic is not caught.
pub fn replay<P: FlushPolicy>(policy: P, setting: &Setting, jobs: &[Incoming]) -> Vec<Cut> {
    replay_watched(policy, setting, jobs, |_| {})
}

/// As [`replay`], and hands over each batch as soon as it is known how it went, in the same order: for traces of hours, whose
/// batches need not all be kept.
///
/// ```
/// use std::time::Duration;
///
/// use actix_batch::flush::{Idle, replay::{Incoming, Setting, replay_each}};
///
/// let jobs: Vec<_> = (0..1_000).map(|n| Incoming::at(Duration::from_millis(n))).collect();
/// let mut calls = 0;
/// replay_each(Idle, &Setting::default(), &jobs, |_| calls += 1);
/// assert_eq!(calls, 1_000);
/// ```
pub fn replay_each<P: FlushPolicy>(policy: P, setting: &Setting, jobs: &[Incoming], each: impl FnMut(Cut)) {
    run(Machine::new(policy, setting, |_: Moment<'_, P>| {}, each), jobs);
}

/// As [`replay`], and shows what there is to see whenever all that can happen at a moment has happened: for tests of what a
/// policy keeps at all times.
///
/// ```
/// use std::time::Duration;
///
/// use actix_batch::flush::{Idle, replay::{Cost, Incoming, Setting, replay_watched}};
///
/// let jobs: Vec<_> = (0..100).map(|n| Incoming::at(Duration::from_millis(n * n % 89))).collect();
/// let setting = Setting { cost: Cost::new(Duration::from_millis(3), Duration::ZERO), ..Setting::default() };
/// replay_watched(Idle, &setting, &jobs, |moment| assert!(!moment.idle || moment.open.jobs == 0));
/// ```
pub fn replay_watched<P: FlushPolicy>(
    policy: P,
    setting: &Setting,
    jobs: &[Incoming],
    watch: impl FnMut(Moment<'_, P>),
) -> Vec<Cut> {
    let mut cuts = Vec::new();
    run(Machine::new(policy, setting, watch, |cut| cuts.push(cut)), jobs);
    cuts
}

fn run<P: FlushPolicy, W: FnMut(Moment<'_, P>), T: FnMut(Cut)>(mut machine: Machine<'_, P, W, T>, jobs: &[Incoming]) {
    for job in jobs {
        machine.run_to(job.at);
        machine.arrive(job.weight);
    }
    machine.end();
}

/// What can be seen when all that can happen at a moment has happened.
#[derive(Debug)]
#[non_exhaustive]
pub struct Moment<'a, P> {
    /// The policy.
    pub policy: &'a P,
    /// What it sees of the open batch.
    pub open: &'a OpenBatch,
    /// A worker is free, and no batch waits for it.
    pub idle: bool,
}

#[cfg(test)]
mod tests;
