//! The settings that are tried.

use std::{collections::BTreeSet, time::Duration};

use actix_batch::{CollectorConfig, Strategy};

const SIZES: [usize; 8] = [1, 10, 20, 50, 100, 200, 500, 1_000];
const MILLIS: [u64; 7] = [1, 2, 5, 10, 20, 50, 100];

/// Every policy over sizes and intervals, those of the recorded settings among them. `sliding-window` is `session` by another
/// name, and `weight` needs weights, which a trace has not.
pub(crate) fn settings(recorded: &CollectorConfig, target: Option<Duration>) -> Vec<CollectorConfig> {
    let sizes: BTreeSet<_> = SIZES.into_iter().chain([recorded.max_size]).collect();
    let intervals: BTreeSet<_> = MILLIS.map(Duration::from_millis).into_iter().chain([recorded.interval]).collect();
    let mut grid = Vec::new();
    for strategy in Strategy::ALL.iter().copied() {
        let intervals = match strategy {
            Strategy::SlidingWindow | Strategy::Weight => continue,
            Strategy::Capacity | Strategy::Idle => BTreeSet::from([recorded.interval]),
            _ => intervals.clone(),
        };
        for interval in intervals {
            for max_size in sizes.iter().copied() {
                grid.push(CollectorConfig {
                    strategy,
                    max_size,
                    interval,
                    max_pending: recorded.max_pending.max(max_size),
                    max_wait: recorded
                        .max_wait
                        .filter(|_| recorded.strategy == strategy && recorded.interval == interval),
                    target_latency: target.or(recorded.target_latency).filter(|_| strategy == Strategy::Adaptive),
                    ..recorded.clone()
                });
            }
        }
    }
    grid
}

/// Whether a batch leaves by itself, however few jobs come.
pub(crate) fn is_bounded(config: &CollectorConfig) -> bool {
    config.strategy != Strategy::Capacity || config.max_size == 1
}
