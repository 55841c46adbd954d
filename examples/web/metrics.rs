//! `/metrics`: the collectors' statistics in Prometheus' text format, under the names of `docs/observability.md`.
//!
//! A service with an exporter of its own sets `.metrics()` instead, and needs none of this.

use std::fmt::{Display, Write};

use actix_batch::{BreakerState, Distribution, Stats, Trigger};

/// The upper bounds of the buckets.
const SIZES: [f64; 10] = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0];
const SECONDS: [f64; 12] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5];

/// All collectors, metric by metric.
pub(crate) fn render(collectors: &[Stats]) -> String {
    let mut page = Page { collectors, text: String::new() };
    page.counter("jobs_submitted_total", |stats| stats.intake.accepted);
    page.counter("jobs_completed_total", |stats| stats.succeeded);
    page.counters("jobs_failed_total", "cause", |stats| stats.failed.iter().collect());
    page.counters("jobs_rejected_total", "reason", |stats| {
        stats.intake.rejected.iter().map(|(reason, count)| (reason.as_str(), count)).collect()
    });
    page.counters("batches_total", "trigger", |stats| {
        stats.batches.iter().map(|(trigger, count)| (trigger.as_str(), *count)).collect()
    });
    page.histogram("batch_size", &SIZES, 1.0, |stats| stats.batch_size.values().collect());
    page.histogram("queue_wait_seconds", &SECONDS, 1e-6, |stats| vec![&stats.wait]);
    page.histogram("process_seconds", &SECONDS, 1e-6, |stats| vec![&stats.processing]);
    page.gauge("pending_jobs", |stats| stats.intake.pending);
    page.gauge("in_flight_batches", |stats| stats.in_flight);
    page.counter("retries_total", |stats| stats.batch_size.get(&Trigger::Retry).map_or(0, |sizes| total(sizes) as u64));
    page.gauge("breaker_state", |stats| match stats.breaker {
        None | Some(BreakerState::Closed) => 0,
        Some(BreakerState::HalfOpen) => 1,
        Some(_) => 2,
    });
    page.gauge("workers_able", |stats| stats.workers.able);
    page.counter("worker_restarts_total", |stats| stats.restarts);
    page.text
}

struct Page<'a> {
    collectors: &'a [Stats],
    text: String,
}

impl Page<'_> {
    fn counter(&mut self, name: &str, value: impl Fn(&Stats) -> u64) {
        self.head(name, "counter");
        for stats in self.collectors {
            self.sample(name, stats, "", value(stats));
        }
    }

    fn counters(&mut self, name: &str, label: &str, values: impl Fn(&Stats) -> Vec<(&'static str, u64)>) {
        self.head(name, "counter");
        for stats in self.collectors {
            for (by, value) in values(stats) {
                self.sample(name, stats, &format!(",{label}=\"{by}\""), value);
            }
        }
    }

    fn gauge(&mut self, name: &str, value: impl Fn(&Stats) -> usize) {
        self.head(name, "gauge");
        for stats in self.collectors {
            self.sample(name, stats, "", value(stats));
        }
    }

    /// Of all these distributions together; `unit` is what their numbers count.
    fn histogram(&mut self, name: &str, bounds: &[f64], unit: f64, of: impl Fn(&Stats) -> Vec<&Distribution>) {
        self.head(name, "histogram");
        for stats in self.collectors {
            let all = of(stats);
            for bound in bounds {
                let upto = all.iter().map(|values| count_upto(values, bound / unit)).sum::<u64>();
                self.sample(&format!("{name}_bucket"), stats, &format!(",le=\"{bound}\""), upto);
            }
            let count = all.iter().map(|values| values.count()).sum::<u64>();
            self.sample(&format!("{name}_bucket"), stats, ",le=\"+Inf\"", count);
            let sum = all.iter().map(|values| total(values)).sum::<f64>().round() * unit;
            self.sample(&format!("{name}_sum"), stats, "", sum);
            self.sample(&format!("{name}_count"), stats, "", count);
        }
    }

    fn head(&mut self, name: &str, kind: &str) {
        // Writing to a `String` cannot fail.
        let _ = writeln!(self.text, "# TYPE actix_batch_{name} {kind}");
    }

    fn sample(&mut self, name: &str, stats: &Stats, more: &str, value: impl Display) {
        let _ = writeln!(self.text, "actix_batch_{name}{{collector=\"{}\"{more}}} {value}", stats.collector);
    }
}

/// How many values are not above the bound.
fn count_upto(distribution: &Distribution, bound: f64) -> u64 {
    distribution.iter().take_while(|(value, _)| *value as f64 <= bound).map(|(_, count)| count).sum()
}

/// The sum of all values, but for the histogram's own rounding.
fn total(distribution: &Distribution) -> f64 {
    distribution.mean() * distribution.count() as f64
}
