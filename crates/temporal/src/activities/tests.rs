use std::{
    fs,
    path::PathBuf,
    sync::atomic::{AtomicUsize, Ordering},
};

use actix_batch_pipeline::{SourceRange, prelude::*};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tempfile::TempDir;
use temporalio_sdk::testing::ActivityEnvironment;

use super::{Activities, Arc, CopyInput, Definitions, PlanInput, Planned};
use crate::state::Totals;

#[derive(Serialize, Deserialize)]
struct Row {
    id: u64,
}

/// Copies rows into a table without a key.
#[derive(Serialize, Deserialize)]
struct Copy {
    folder: PathBuf,
    /// Slower than it could.
    #[serde(default)]
    per_second: Option<f64>,
}

impl Definition for Copy {
    const NAME: &'static str = "copy";

    fn build(&self) -> Result<Pipeline, RunError> {
        let table = "CREATE TABLE IF NOT EXISTS rows (id INTEGER)";
        let sink = Sqlite::append(self.folder.join("rows.sqlite"), "rows").create_table(table);
        let rows = Csv::<Row>::file(self.folder.join("rows.csv"));
        let flow = Pipeline::named("copy").read(rows).throttle(self.per_second.unwrap_or(1e9));
        Ok(flow.filter(|row| row.id % 2 == 0).write(sink).build())
    }
}

/// A folder with 1,000 rows.
fn folder() -> TempDir {
    let folder = TempDir::new().unwrap();
    let rows: Vec<_> = (0..1_000).map(|id| format!("{id}\n")).collect();
    fs::write(folder.path().join("rows.csv"), format!("id\n{}", rows.concat())).unwrap();
    folder
}

fn plan(folder: &std::path::Path) -> PlanInput {
    PlanInput {
        definition: "copy".into(),
        configuration: json!({ "folder": folder }),
        after: None,
        rows_per_range: Some(100),
        at_most: 50,
    }
}

#[actix_rt::test]
async fn ranges_that_are_planned_are_copied_once() {
    let folder = folder();
    let activities = Activities::new(Definitions::new().register::<Copy>(), 2);
    let environment = ActivityEnvironment::builder().register_activities(activities).build();
    let input = plan(folder.path());
    let Planned { identity, ranges } = environment.run(Activities::plan, input.clone()).await.unwrap();
    assert!((8..=12).contains(&ranges.len()), "{} ranges", ranges.len());
    // The second attempt of each finds that the sink holds everything.
    for attempt in 0..2 {
        let mut all = Totals::default();
        for range in ranges.clone() {
            let range = SourceRange { identity: identity.clone(), ..range };
            let input = CopyInput { definition: "copy".into(), configuration: input.configuration.clone(), range };
            let copied = environment.run(Activities::copy, input).await.unwrap();
            all.records += copied.totals().records;
            all.written += copied.totals().written;
            assert_eq!(copied.millis.is_some(), attempt == 0, "only a range that was copied in one go is measured");
        }
        assert_eq!((all.records, all.written), (1_000, if attempt == 0 { 500 } else { 0 }));
    }
}

#[actix_rt::test]
async fn a_range_that_takes_a_while_is_heard_of_and_its_heartbeats_carry_nothing() {
    let folder = folder();
    let beats = Arc::new(AtomicUsize::new(0));
    let heard = Arc::clone(&beats);
    let environment = ActivityEnvironment::builder()
        .register_activities(Activities::new(Definitions::new().register::<Copy>(), 2))
        .on_heartbeat(move |details| {
            assert!(details.is::<()>(), "a heartbeat says nothing but that the worker lives");
            heard.fetch_add(1, Ordering::Relaxed);
        })
        .build();
    let configuration = json!({ "folder": folder.path(), "per_second": 500.0 });
    let input = PlanInput { configuration, rows_per_range: Some(1_000), ..plan(folder.path()) };
    let Planned { identity, ranges } = environment.run(Activities::plan, input.clone()).await.unwrap();
    let range = SourceRange { identity, ..ranges[0].clone() };
    let input = CopyInput { definition: "copy".into(), configuration: input.configuration, range };
    environment.run(Activities::copy, input).await.unwrap();
    assert!(beats.load(Ordering::Relaxed) > 0);
}

#[actix_rt::test]
async fn what_cannot_get_better_is_not_tried_again() {
    let folder = TempDir::new().unwrap();
    let activities = Activities::new(Definitions::new().register::<Copy>(), 1);
    let environment = ActivityEnvironment::builder().register_activities(activities).build();
    for (input, what) in [
        (plan(folder.path()), "rows.csv does not exist"),
        (PlanInput { definition: "move".into(), ..plan(folder.path()) }, "registered are: copy"),
        (PlanInput { configuration: json!(7), ..plan(folder.path()) }, "the definition `copy` cannot be used"),
    ] {
        let error = environment.run(Activities::plan, input).await.unwrap_err();
        let text = format!("{error:?}");
        assert!(text.contains(what) && text.contains("non_retryable: true"), "{text}");
    }
}

#[cfg(feature = "metrics")]
mod metrics {
    use futures_util::poll;
    use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
    use temporalio_sdk::testing::TestActivityInfoOptions;

    use super::*;
    use crate::metrics::Metrics;

    /// Each metric as `name:label value`, without those that are 0; of a histogram how many values it has.
    fn seen(snapshots: &Snapshotter) -> Vec<String> {
        let metrics = snapshots.snapshot().into_vec().into_iter().filter_map(|(key, _, _, value)| {
            let value = match value {
                DebugValue::Counter(count) => count.to_string(),
                DebugValue::Gauge(value) => value.to_string(),
                DebugValue::Histogram(values) => format!("of {}", values.len()),
            };
            let name = key.key().name().strip_prefix("actix_batch_temporal_").unwrap();
            let label = key.key().labels().next().unwrap().value();
            (value != "0").then(|| format!("{name}:{label} {value}"))
        });
        let mut all: Vec<_> = metrics.collect();
        all.sort();
        all
    }

    fn second_attempt(activities: &Activities) -> ActivityEnvironment {
        let info = TestActivityInfoOptions::builder().attempt(2).build();
        ActivityEnvironment::builder().register_activities(activities.clone()).info(info).build()
    }

    #[test]
    fn a_slot_is_in_use_until_it_is_dropped_and_gone_with_its_worker() {
        let recorder = DebuggingRecorder::new();
        let snapshots = recorder.snapshotter();
        let _recorder = ::metrics::set_default_local_recorder(&recorder);
        let metrics = Metrics::new("here", 3);
        let slot = metrics.slot();
        // A snapshot begins the gauges anew.
        assert_eq!(seen(&snapshots), ["slots_free:here 2", "slots_in_use:here 1"]);
        drop(slot);
        assert_eq!(seen(&snapshots), ["slots_free:here 1", "slots_in_use:here -1"]);
        drop(metrics);
        assert_eq!(seen(&snapshots), ["slots_free:here -3"]);
    }

    #[actix_rt::test]
    async fn every_attempt_is_counted_by_how_it_ended_and_every_slot_is_free_again() {
        let recorder = DebuggingRecorder::new();
        let snapshots = recorder.snapshotter();
        let _recorder = ::metrics::set_default_local_recorder(&recorder);
        let folder = folder();
        let activities = Activities::new(Definitions::new().register::<Copy>(), 4);
        let activities = activities.metrics(Some(Metrics::new("here", 2)));
        let environment = ActivityEnvironment::builder().register_activities(activities.clone()).build();
        let input = PlanInput { rows_per_range: Some(500), ..plan(folder.path()) };
        let Planned { identity, ranges } = environment.run(Activities::plan, input.clone()).await.unwrap();
        let mut inputs = ranges.into_iter().map(|range| CopyInput {
            definition: "copy".into(),
            configuration: input.configuration.clone(),
            range: SourceRange { identity: identity.clone(), ..range },
        });
        let (first, second) = (inputs.next().unwrap(), inputs.next().unwrap());
        let copied = environment.run(Activities::copy, first.clone()).await.unwrap();
        {
            let mut copying = std::pin::pin!(environment.run(Activities::copy, second.clone()));
            assert!(poll!(&mut copying).is_pending());
        }
        let unusable = CopyInput { configuration: json!(7), ..second };
        environment.run(Activities::copy, unusable).await.unwrap_err();
        second_attempt(&activities).run(Activities::copy, first).await.unwrap();
        assert_eq!(
            seen(&snapshots),
            [
                "range_seconds:copy of 2",
                "ranges_completed_total:copy 2",
                "ranges_failed_total:copy 1",
                "ranges_retried_total:copy 1",
                "ranges_started_total:copy 4",
                "ranges_stopped_total:copy 1",
                &*format!("records_total:copy {}", 2 * copied.totals().records),
                "slots_free:here 2",
            ]
        );
    }
}
