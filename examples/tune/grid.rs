//! The settings that are tried.

use std::{collections::BTreeSet, time::Duration};

use actix_batch::{CollectorConfig, Strategy};

const SIZES: [usize; 8] = [1, 10, 20, 50, 100, 200, 500, 1_000];
const MILLIS: [u64; 7] = [1, 2, 5, 10, 20, 50, 100];

/// Every policy over sizes and intervals, including those of the recorded settings. `weight` is left out: it needs weights, which
/// a trace does not have.
pub(crate) fn settings(recorded: &CollectorConfig, target: Option<Duration>) -> Vec<CollectorConfig> {
    let sizes: BTreeSet<_> = SIZES.into_iter().chain([recorded.max_size]).collect();
    let mut grid = Vec::new();
    for strategy in Strategy::ALL.iter().copied() {
        for interval in intervals(strategy, recorded.interval) {
            grid.extend(sizes.iter().map(|max_size| setting(recorded, strategy, *max_size, interval, target)));
        }
    }
    // Jobs that go alone go alone with every policy.
    grid.retain(|config| {
        config.max_size > 1 || (config.strategy, config.interval) == (Strategy::SizeOrInterval, recorded.interval)
    });
    grid
}

fn intervals(strategy: Strategy, recorded: Duration) -> BTreeSet<Duration> {
    match strategy {
        Strategy::Weight => BTreeSet::new(),
        Strategy::Capacity | Strategy::Idle => BTreeSet::from([recorded]),
        _ => MILLIS.map(Duration::from_millis).into_iter().chain([recorded]).collect(),
    }
}

fn setting(
    recorded: &CollectorConfig,
    strategy: Strategy,
    max_size: usize,
    interval: Duration,
    target: Option<Duration>,
) -> CollectorConfig {
    if (strategy, max_size, interval) == (recorded.strategy, recorded.max_size, recorded.interval) {
        return recorded.clone();
    }
    let target_latency = target.filter(|_| strategy == Strategy::Adaptive);
    let max_pending = recorded.max_pending.max(max_size);
    CollectorConfig { strategy, max_size, interval, max_pending, max_wait: None, target_latency, ..recorded.clone() }
}

/// Whether a batch leaves by itself, however few jobs come.
pub(crate) fn is_bounded(config: &CollectorConfig) -> bool {
    config.strategy != Strategy::Capacity || config.max_size == 1
}
