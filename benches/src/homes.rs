//! Which runtime suits whom: tried once, before anything is counted.

use std::time::Duration;

use crate::{
    contenders::{Entry, JobBytes},
    home::Home,
    trial::{Threads, Trial},
};

/// Tries per runtime, taken in turns; the best one speaks for it.
const TRIES: usize = 3;

/// A contender and where it lives.
pub(crate) struct Settled {
    pub(crate) entry: Entry,
    homes: Vec<(Threads, Home)>,
}

impl Settled {
    /// Finds the better runtime for callers at home and for callers on other threads, with 1,000 callers and batches of 100.
    pub(crate) fn settle(entry: Entry, threads: &[Threads], window: Duration) -> Self {
        let homes = threads.iter().map(|&threads| (threads, better(&entry, threads, window))).collect();
        Self { entry, homes }
    }

    pub(crate) fn home(&self, threads: Threads) -> Home {
        let found = self.homes.iter().find(|(at, _)| *at == threads);
        found.map_or(self.entry.homes[0], |(_, home)| *home)
    }
}

fn better(entry: &Entry, threads: Threads, window: Duration) -> Home {
    let [only] = entry.homes else { return compare(entry, threads, window) };
    *only
}

fn compare(entry: &Entry, threads: Threads, window: Duration) -> Home {
    let mut tried: Vec<(Home, f64)> = entry.homes.iter().map(|home| (*home, f64::INFINITY)).collect();
    for _ in 0..TRIES {
        for (home, best) in &mut tried {
            *best = best.min(cost(entry, *home, threads, window));
        }
    }
    tried.sort_by(|a, b| a.1.total_cmp(&b.1));
    let costs: Vec<String> = tried.iter().map(|(home, cost)| format!("{} {cost:.0} ns", home.name())).collect();
    println!("  {:<26}{:<8}{}", entry.name, threads.name(), costs.join(" < "));
    tried[0].0
}

fn cost(entry: &Entry, home: Home, threads: Threads, window: Duration) -> f64 {
    let trial = Trial { home, threads, callers: 1_000, batch: 100, warm_up: window / 4, window };
    entry.run(JobBytes::Eight, &trial).ns_per_job
}
