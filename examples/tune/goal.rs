//! What is wanted, and the setting that comes nearest.

use std::time::Duration;

use actix_batch::{CollectorConfig, Strategy};

use crate::{
    options::Options,
    replays::{Replayed, Replays},
    summary::Summary,
    table,
};

/// The fewest calls with which 99 of 100 jobs are answered within this time, if there is a limit.
#[derive(Debug)]
pub(crate) struct Goal {
    p99: Option<Duration>,
    said: String,
}

impl Goal {
    pub(crate) fn of(options: &Options, as_recorded: &Summary) -> Self {
        let (p99, said) = match (options.p99, options.fewest_calls) {
            (Some(p99), _) => (Some(p99), format!("the fewest calls with a p99 of {} at the most", table::time(p99))),
            (None, true) => (None, "the fewest calls, however long jobs take".to_owned()),
            (None, false) => {
                (Some(as_recorded.p99), "the fewest calls without a longer p99 than as recorded".to_owned())
            }
        };
        Self { p99, said }
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
