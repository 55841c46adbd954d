//! The metrics, as a recorder gets them.
#![cfg(feature = "metrics")]
#![allow(clippy::float_cmp, reason = "these are written as they are read")]

mod support;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use actix_batch::{Stats, prelude::*};
use futures_util::future::join_all;
use metrics::{
    Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit,
    set_default_local_recorder,
};
use support::{Broken, Desk, Tenfold, ms, paused, quiet};

/// Keeps everything, under `name{label="value",..}`.
#[derive(Default)]
struct Kept {
    numbers: Mutex<BTreeMap<String, Arc<AtomicU64>>>,
    measured: Mutex<BTreeMap<String, Arc<Values>>>,
    units: Mutex<BTreeMap<String, Option<Unit>>>,
}

#[derive(Default)]
struct Values(Mutex<Vec<f64>>);

impl HistogramFn for Values {
    fn record(&self, value: f64) {
        self.0.lock().unwrap().push(value);
    }
}

fn shown(key: &Key) -> String {
    let labels: Vec<_> = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
    format!("{}{{{}}}", key.name().strip_prefix("actix_batch_").expect("the prefix"), labels.join(","))
}

impl Kept {
    fn described(&self, key: &KeyName, unit: Option<Unit>) {
        self.units.lock().unwrap().insert(key.as_str().to_owned(), unit);
    }

    fn number(&self, key: &Key) -> Arc<AtomicU64> {
        Arc::clone(self.numbers.lock().unwrap().entry(shown(key)).or_default())
    }

    /// A counter's value.
    fn count(&self, name: &str) -> u64 {
        self.numbers.lock().unwrap().get(name).unwrap_or_else(|| panic!("no {name}")).load(Ordering::Relaxed)
    }

    /// A gauge's value.
    fn level(&self, name: &str) -> f64 {
        f64::from_bits(self.count(name))
    }

    fn values(&self, name: &str) -> Vec<f64> {
        self.measured.lock().unwrap()[name].0.lock().unwrap().clone()
    }
}

impl Recorder for Kept {
    fn describe_counter(&self, key: KeyName, unit: Option<Unit>, _: SharedString) {
        self.described(&key, unit);
    }
    fn describe_gauge(&self, key: KeyName, unit: Option<Unit>, _: SharedString) {
        self.described(&key, unit);
    }
    fn describe_histogram(&self, key: KeyName, unit: Option<Unit>, _: SharedString) {
        self.described(&key, unit);
    }
    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.number(key))
    }
    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.number(key))
    }
    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(Arc::clone(self.measured.lock().unwrap().entry(shown(key)).or_default()))
    }
}

/// What the metrics count is what the statistics count.
fn assert_agree(kept: &Kept, stats: &Stats) {
    assert_eq!(kept.count("jobs_submitted_total{collector=tens}"), stats.intake.accepted);
    assert_eq!(kept.count("jobs_completed_total{collector=tens}"), stats.succeeded);
    for (cause, count) in stats.failed.iter() {
        assert_eq!(kept.count(&format!("jobs_failed_total{{collector=tens,cause={cause}}}")), count, "{cause}");
    }
    for (reason, count) in stats.intake.rejected.iter() {
        assert_eq!(kept.count(&format!("jobs_rejected_total{{collector=tens,reason={}}}", reason.as_str())), count);
    }
    assert_eq!(stats.intake.rejected.total(), stats.intake.rejected.total());
    for (trigger, count) in &stats.batches {
        assert_eq!(kept.count(&format!("batches_total{{collector=tens,trigger={trigger}}}")), *count, "{trigger}");
    }
    assert_eq!(kept.values("batch_size{collector=tens}").len() as u64, stats.batches.values().sum::<u64>());
    assert_eq!(kept.count("worker_restarts_total{collector=tens}"), stats.restarts);
}

#[test]
fn every_event_reaches_the_recorder_under_its_name_and_labels() {
    paused(|| async {
        let kept = Kept::default();
        let _installed = set_default_local_recorder(&kept);
        let (mut desk, factory) = Desk::new();
        let tens = Collector::builder(factory)
            .name("tens")
            .max_size(2)
            .max_pending(2)
            .workers(Workers::local(1))
            .retry(Retry::fixed(ms(10)).attempts(2))
            .split_poison(true)
            .breaker(Breaker::consecutive(2))
            .metrics()
            .start()
            .unwrap();
        quiet().await;
        assert_eq!(kept.level("workers_able{collector=tens}"), 1.0);

        let replies: Vec<_> = [1, 2].map(|n| tens.submit(Tenfold(n))).into();
        assert!(tens.try_submit(Tenfold(3)).is_err());
        let held = desk.next().await;
        assert_eq!(kept.level("pending_jobs{collector=tens}"), 2.0);
        assert_eq!(kept.level("in_flight_batches{collector=tens}"), 1.0);
        tokio::time::sleep(ms(250)).await;
        held.answer(|_| Err(Broken("once")));
        desk.next().await.answer(|_| Err(Broken("twice")));
        desk.next().await.panic();
        desk.next().await.answer(|_| Err(Broken("again")));
        assert!(join_all(replies).await.iter().all(Result::is_err));
        quiet().await;

        let stats = tens.stats().await.unwrap();
        assert_agree(&kept, &stats);
        assert_eq!(
            (stats.failed.failed, stats.failed.panicked, stats.restarts, stats.intake.rejected.total()),
            (1, 1, 1, 1)
        );
        assert_eq!(kept.count("retries_total{collector=tens}"), 2, "two jobs, once each");
        assert_eq!(
            kept.level("breaker_state{collector=tens}"),
            0.0,
            "a batch that is split is not yet the downstream's failure"
        );
        assert_eq!(kept.level("pending_jobs{collector=tens}"), 0.0);
        assert_eq!(kept.values("batch_size{collector=tens}"), [2.0, 2.0, 1.0, 1.0]);
        assert_eq!(kept.values("process_seconds{collector=tens}")[0], 0.25);
        assert_eq!(kept.values("queue_wait_seconds{collector=tens}")[..2], [0.0, 0.26]);

        let alone = tens.submit(Tenfold(4));
        tens.flush().await.unwrap();
        desk.next().await.answer(|_| Err(Broken("down")));
        desk.next().await.answer(|_| Err(Broken("still down")));
        assert!(alone.await.is_err());
        quiet().await;
        assert_eq!(kept.level("breaker_state{collector=tens}"), 2.0);

        tens.shutdown(Shutdown::drain()).await.unwrap();
        assert!(tens.try_submit(Tenfold(4)).is_err());
        assert_agree(&kept, &tens.stats().await.unwrap());
    });
}

#[test]
fn every_metric_is_documented_with_its_unit() {
    paused(|| async {
        let kept = Kept::default();
        let _installed = set_default_local_recorder(&kept);
        let (_desk, factory) = Desk::<Tenfold>::new();
        let _actor = Collector::builder(factory).metrics().build().unwrap();
        let docs = include_str!("../docs/observability.md");
        let units = kept.units.lock().unwrap();
        assert_eq!(units.len(), 14);
        let labels = kept.numbers.lock().unwrap();
        let labels =
            labels.keys().filter_map(|key| key.trim_end_matches('}').split_once("collector=")?.1.split_once(','));
        for (_, label) in labels {
            let (_, value) = label.split_once('=').unwrap();
            assert!(docs.contains(&format!("`{value}`")), "{label} is not in docs/observability.md");
        }
        for (name, unit) in &*units {
            let row = docs.lines().find(|line| line.contains(&format!("`{name}`")));
            let row = row.unwrap_or_else(|| panic!("{name} is not in docs/observability.md"));
            let seconds = *unit == Some(Unit::Seconds);
            assert_eq!(seconds, row.contains("seconds |"), "{row}");
        }
    });
}
