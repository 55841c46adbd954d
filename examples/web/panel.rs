//! One collector on the page: its history of the last minute, and the texts and drawings made from it.

use std::collections::VecDeque;
use std::time::Duration;

use actix_batch::{Distribution, Stats};
use tokio::time::Instant;

use crate::chart;
use crate::live::Picture;

/// A minute of seconds, and the sample before it to count from.
const SAMPLES: usize = 61;

#[derive(Debug)]
pub(crate) struct Panel {
    name: &'static str,
    max_size: usize,
    /// What the collector had counted at the end of each second, oldest first.
    samples: VecDeque<(Instant, Stats)>,
}

impl Panel {
    pub(crate) fn new(name: &'static str, max_size: usize) -> Self {
        Self { name, max_size, samples: VecDeque::with_capacity(SAMPLES + 1) }
    }

    /// Takes in what the collector has counted up to now, and paints it.
    pub(crate) fn paint(&mut self, now: &Stats) -> Picture {
        self.samples.push_back((Instant::now(), now.clone()));
        if self.samples.len() > SAMPLES {
            self.samples.pop_front();
        }
        let mut pieces = since_start(now);
        pieces.extend(self.last_second());
        pieces.extend(self.last_minute(now));
        pieces.into_iter().map(|(id, piece)| (format!("{}-{id}", self.name), piece)).collect()
    }

    fn last_second(&self) -> Vec<(&'static str, String)> {
        let rates: Vec<f64> = self.rates(settled);
        let batches = self.rates(|stats| stats.batches.values().sum());
        let peak = rates.iter().copied().fold(0.0, f64::max);
        vec![
            ("rate", rate(rates.last().copied().unwrap_or(0.0))),
            ("batch-rate", rate(batches.last().copied().unwrap_or(0.0))),
            ("peak", rate(peak)),
            ("throughput", chart::sparkline(&rates, SAMPLES - 1)),
        ]
    }

    fn last_minute(&self, now: &Stats) -> Vec<(&'static str, String)> {
        let minute = self.samples.front().map_or_else(|| now.clone(), |(_, before)| now.since(before));
        vec![
            ("wait-p50", duration(&minute.wait, 0.5)),
            ("wait-p99", duration(&minute.wait, 0.99)),
            ("processing-p50", duration(&minute.processing, 0.5)),
            ("processing-p99", duration(&minute.processing, 0.99)),
            ("sizes", chart::sizes(&minute.batch_size, self.max_size as u64)),
            ("triggers", chart::triggers(&minute.batches)),
        ]
    }

    /// How fast a counter grew in each second, per second.
    fn rates(&self, counter: impl Fn(&Stats) -> u64) -> Vec<f64> {
        let pairs = self.samples.iter().zip(self.samples.iter().skip(1));
        pairs
            .map(|((start, before), (end, after))| {
                (counter(after) - counter(before)) as f64 / (*end - *start).as_secs_f64()
            })
            .collect()
    }
}

fn since_start(now: &Stats) -> Vec<(&'static str, String)> {
    vec![
        ("accepted", count(now.intake.accepted)),
        ("succeeded", count(now.succeeded)),
        ("failed", count(now.failed.total())),
        ("rejected", count(now.intake.rejected.total())),
        ("batches", count(now.batches.values().sum())),
        ("pending", count(now.intake.pending as u64)),
        ("able", now.workers.able.to_string()),
        ("workers", now.workers.total.to_string()),
        ("restarts", count(now.restarts)),
    ]
}

fn settled(stats: &Stats) -> u64 {
    stats.succeeded + stats.failed.total()
}

fn rate(per_second: f64) -> String {
    count(per_second.round() as u64)
}

/// 1234567 as `1,234,567`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|group| str::from_utf8(group).unwrap_or("")).collect();
    groups.join(",")
}

fn duration(microseconds: &Distribution, quantile: f64) -> String {
    if microseconds.count() == 0 {
        return "–".into();
    }
    readable(Duration::from_micros(microseconds.quantile(quantile)))
}

/// Three digits and their unit, at the most.
pub(crate) fn readable(time: Duration) -> String {
    match time.as_micros() {
        0..1_000 => format!("{} µs", time.as_micros()),
        1_000..10_000 => format!("{:.1} ms", time.as_secs_f64() * 1e3),
        10_000..1_000_000 => format!("{} ms", time.as_millis()),
        _ => format!("{:.1} s", time.as_secs_f64()),
    }
}
