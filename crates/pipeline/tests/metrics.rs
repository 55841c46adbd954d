//! The metrics of runs, as a recorder gets them.
#![cfg(feature = "metrics")]

use actix_batch_pipeline::prelude::*;
use metrics_util::debugging::{DebugValue, DebuggingRecorder};

use support::{Shelf, paused};

mod support;

#[test]
fn records_are_counted_by_what_became_of_them_over_all_runs() {
    let recorder = DebuggingRecorder::new();
    let snapshots = recorder.snapshotter();
    let _recorder = metrics::set_default_local_recorder(&recorder);
    paused(async || {
        for _ in 0..2 {
            let flow = Pipeline::named("halves").read(from_iter("numbers", || 0..100_u64)).filter(|n| n % 2 == 0);
            let flow = flow.try_map(|n| if n == 4 { Err("four") } else { Ok(n) });
            flow.write(Shelf::new()).metrics(true).run().await.unwrap();
        }
    });
    let mut seen: Vec<_> = snapshots
        .snapshot()
        .into_vec()
        .into_iter()
        .map(|(key, _, _, value)| {
            let labels: Vec<_> = key.key().labels().map(|label| label.value().to_owned()).collect();
            (format!("{}:{}", key.key().name(), labels.join(",")), value)
        })
        .filter(|(name, _)| !name.contains("age"))
        .collect();
    seen.sort_by(|one, other| one.0.cmp(&other.0));
    let counter = |name: &str, value| (format!("actix_batch_pipeline_{name}"), DebugValue::Counter(value));
    assert_eq!(
        seen,
        [
            ("actix_batch_pipeline_open_records:halves".to_owned(), DebugValue::Gauge(0.0.into())),
            counter("records_total:halves,filtered", 100),
            counter("records_total:halves,produced", 0),
            counter("records_total:halves,read", 200),
            counter("records_total:halves,rejected", 2),
            counter("records_total:halves,skipped", 0),
            counter("records_total:halves,written", 98),
            counter("runs_total:halves", 2),
        ]
    );
}
