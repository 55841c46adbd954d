//! `/metrics`: the collectors' statistics in Prometheus' text format, under the names of `docs/observability.md`.
//!
//! A service with an exporter of its own sets `.metrics()` instead, and needs none of this.

use std::fmt::{Display, Write};

use actix_batch::{BreakerState, Distribution, Stats, Trigger};

/// All collectors, metric by metric.
pub(crate) fn render(collectors: &[Stats]) -> String {
    let mut page = Page { collectors, text: String::new() };
    page.counter("jobs_submitted_total", |stats| stats.accepted);
    page.counter("jobs_completed_total", |stats| stats.succeeded);
    page.counters("jobs_failed_total", "cause", |stats| stats.failed.iter().collect());
    page.counter("jobs_rejected_total", |stats| stats.rejected);
    page.counters("batches_total", "trigger", |stats| {
        stats.batches.iter().map(|(trigger, count)| (trigger.as_str(), *count)).collect()
    });
    page.sizes("batch_size");
    page.times("queue_wait_seconds", |stats| &stats.wait);
    page.times("process_seconds", |stats| &stats.processing);
    page.gauge("pending_jobs", |stats| stats.pending);
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

    /// Of all triggers together.
    fn sizes(&mut self, name: &str) {
        self.head(name, "summary");
        for stats in self.collectors {
            self.sample(&format!("{name}_sum"), stats, "", stats.batch_size.values().map(total).sum::<f64>().round());
            self.sample(&format!("{name}_count"), stats, "", stats.batches.values().sum::<u64>());
        }
    }

    /// Seconds, of what was measured in microseconds.
    fn times(&mut self, name: &str, times: impl Fn(&Stats) -> &Distribution) {
        self.head(name, "summary");
        for stats in self.collectors {
            let times = times(stats);
            for share in [0.5, 0.9, 0.99] {
                let quantile = format!(",quantile=\"{share}\"");
                self.sample(name, stats, &quantile, times.quantile(share) as f64 / 1e6);
            }
            self.sample(&format!("{name}_sum"), stats, "", total(times) / 1e6);
            self.sample(&format!("{name}_count"), stats, "", times.count());
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

/// The sum of all values, but for the histogram's own rounding.
fn total(distribution: &Distribution) -> f64 {
    distribution.mean() * distribution.count() as f64
}
