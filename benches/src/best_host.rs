//! Finds the fastest runtime for each contender, before anything is counted.

use std::time::Duration;

use crate::{
    contenders::{Entry, JobBytes},
    host::Host,
    trial::{Threads, Trial},
};

/// Tries for each runtime, taken in turns; the best one counts.
const TRIES: usize = 3;

/// A contender, and its fastest runtime for each place of the callers.
pub(crate) struct OnBestHost {
    pub(crate) entry: Entry,
    hosts: Vec<(Threads, Host)>,
}

impl OnBestHost {
    /// Finds the fastest runtime for callers on the contender's own runtime and for callers on other threads, with 1,000 callers and batches of 100.
    pub(crate) fn settle(entry: Entry, threads: &[Threads], window: Duration) -> Self {
        let hosts = threads.iter().map(|&threads| (threads, better(&entry, threads, window))).collect();
        Self { entry, hosts }
    }

    pub(crate) fn host(&self, threads: Threads) -> Host {
        let found = self.hosts.iter().find(|(at, _)| *at == threads);
        found.map_or(self.entry.hosts[0], |(_, host)| *host)
    }
}

fn better(entry: &Entry, threads: Threads, window: Duration) -> Host {
    let [only] = entry.hosts else { return compare(entry, threads, window) };
    *only
}

fn compare(entry: &Entry, threads: Threads, window: Duration) -> Host {
    let mut tried: Vec<(Host, f64)> = entry.hosts.iter().map(|host| (*host, f64::INFINITY)).collect();
    for _ in 0..TRIES {
        for (host, best) in &mut tried {
            *best = best.min(cost(entry, *host, threads, window));
        }
    }
    tried.sort_by(|a, b| a.1.total_cmp(&b.1));
    let costs: Vec<String> = tried.iter().map(|(host, cost)| format!("{} {cost:.0} ns", host.name())).collect();
    println!("  {:<26}{:<8}{}", entry.name, threads.name(), costs.join(" < "));
    tried[0].0
}

fn cost(entry: &Entry, host: Host, threads: Threads, window: Duration) -> f64 {
    let trial = Trial { host, threads, callers: 1_000, batch: 100, warm_up: window / 4, window };
    entry.run(JobBytes::Eight, &trial).ns_per_job
}
