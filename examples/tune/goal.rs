//! What is wanted, and the setting that comes nearest.

use std::time::Duration;

use actix_batch::{CollectorConfig, Strategy};

use crate::{
    options::Options,
    replays::{Replayed, Replays},
    table,
};

/// The fewest calls with which 99 of 100 jobs are answered within this time, if there is a limit.
#[derive(Debug)]
pub(crate) struct Goal {
    p99: Option<Duration>,
    said: String,
}

impl Goal {
    pub(crate) fn of(options: &Options, replays: &Replays, recorded: &CollectorConfig) -> Self {
        let as_recorded = replays.of(recorded).map(|replayed| replayed.summary.p99);
        match (options.p99, options.fewest_calls, as_recorded) {
            (Some(p99), ..) => Self {
                p99: Some(p99),
                said: format!("the fewest calls with a p99 of {} at the most", table::time(p99)),
            },
            (None, false, Some(p99)) => Self {
                p99: Some(p99),
                said: "the fewest calls without a longer p99 than with the recorded settings".to_owned(),
            },
            _ => Self { p99: None, said: "the fewest calls, however long jobs take".to_owned() },
        }
    }

    /// What is on the front is the best for some goal, so only that is looked at.
    pub(crate) fn recommend(&self, replays: &Replays) {
        let front = || replays.all.iter().filter(|replayed| replayed.best);
        let within = |replayed: &&Replayed| self.p99.is_none_or(|p99| replayed.summary.p99 <= p99);
        let found = front().filter(within).min_by_key(|replayed| replayed.summary.calls);
        println!("\ngoal: {}", self.said);
        match (found, front().min_by_key(|replayed| replayed.summary.p99)) {
            (Some(found), _) => show("recommended", found),
            (None, Some(nearest)) => show("no setting reaches it with this downstream; the nearest", nearest),
            (None, None) => println!("nothing was replayed"),
        }
    }
}

fn show(word: &str, replayed: &Replayed) {
    let CollectorConfig { strategy, max_size, interval, target_latency, .. } = &replayed.config;
    println!("{word}: {}", table::row(replayed));
    println!("    STRATEGY={strategy} BATCH_CAPACITY={max_size} BATCH_TIME_WINDOW={}", interval.as_millis());
    if let (Strategy::Adaptive, Some(target)) = (strategy, target_latency) {
        println!("    and .target_latency({target:?})");
    }
}
