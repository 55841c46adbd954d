//! The trace through each setting of the grid.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use actix_batch::{
    CollectorConfig,
    flush::replay::{Incoming, Setting},
};

use crate::{grid, summary::Summary};

/// A setting, and what comes of it.
#[derive(Debug, Clone)]
pub(crate) struct Replayed {
    pub(crate) config: CollectorConfig,
    pub(crate) summary: Summary,
    /// No setting has both a shorter p99 and fewer calls.
    pub(crate) best: bool,
}

#[derive(Debug)]
pub(crate) struct Replays {
    pub(crate) all: Vec<Replayed>,
}

impl Replays {
    /// On all cores: no setting waits for another.
    pub(crate) fn run(grid: &[CollectorConfig], setting: &Setting, jobs: &[Incoming]) -> Self {
        let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
        let work = || {
            while let (at, Some(config)) = take(grid, &next) {
                let setting = Setting { max_size: config.max_size, ..setting.clone() };
                let summary = Summary::predicted(config.policy(), &setting, jobs);
                let replayed = Replayed { config: config.clone(), summary, best: false };
                done.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((at, replayed));
            }
        };
        thread::scope(|threads| {
            for _ in 0..thread::available_parallelism().map_or(1, Into::into) {
                threads.spawn(work);
            }
        });
        let mut all = done.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        all.sort_unstable_by_key(|(at, _)| *at);
        let mut all = all.into_iter().map(|(_, replayed)| replayed).collect::<Vec<_>>();
        mark_the_best(&mut all);
        Self { all }
    }

    pub(crate) fn of(&self, config: &CollectorConfig) -> Option<&Replayed> {
        let same = |other: &CollectorConfig| {
            (other.strategy, other.max_size, other.interval) == (config.strategy, config.max_size, config.interval)
        };
        self.all.iter().find(|replayed| same(&replayed.config))
    }
}

fn take<'a>(grid: &'a [CollectorConfig], next: &AtomicUsize) -> (usize, Option<&'a CollectorConfig>) {
    let at = next.fetch_add(1, Ordering::Relaxed);
    (at, grid.get(at))
}

/// The Pareto front of p99 and calls, among the settings that bound how long a job waits.
fn mark_the_best(all: &mut [Replayed]) {
    let key = |replayed: &Replayed| (replayed.summary.p99, replayed.summary.calls);
    let mut order: Vec<_> = (0..all.len()).filter(|at| grid::is_bounded(&all[*at].config)).collect();
    order.sort_by_key(|at| key(&all[*at]));
    let mut fewest = usize::MAX;
    for at in order {
        if all[at].summary.calls < fewest {
            fewest = all[at].summary.calls;
            all[at].best = true;
        }
    }
}
