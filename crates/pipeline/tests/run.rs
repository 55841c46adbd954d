//! Runs: every record ends by one name, failures are a record's own or the run's, and a run goes on where it stopped.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use actix_batch::{Batch, Retry};
use actix_batch_pipeline::{
    checkpoint::{CheckpointErrorKind, Interval, MemoryStore, RunId, Settled, Store},
    outlet::One,
    prelude::*,
    sink::{IntoSink, Promises, Sink, SinkError, Written},
    source::JsonLines,
};
use support::{Shelf, numbers, paused};

mod support;

#[test]
fn every_record_ends_by_one_name_and_the_sums_hold() {
    paused(async || {
        let shelf = Shelf::new();
        let report = Pipeline::named("sums")
            .read(numbers(1_000))
            .filter(|number| number % 2 == 0)
            .try_map(|number| if number % 10 == 0 { Err("ends with 0") } else { Ok(number) })
            .flat_map(|number| vec![number; usize::try_from(number % 3).unwrap()])
            .write(shelf.clone())
            .run()
            .await
            .unwrap();
        assert!(report.adds_up(), "{report:?}");
        assert_eq!((report.read, report.rejected, report.skipped), (1_000, 100, 0));
        let stored = shelf.stored().len() as u64;
        assert_eq!((report.written, report.produced, report.ended), (stored, 134, Ended::Complete));
    });
}

#[test]
fn one_worker_writes_records_in_the_order_of_the_source() {
    paused(async || {
        let shelf = Shelf::new();
        Pipeline::named("order").read(numbers(5_000)).write(shelf.clone()).run().await.unwrap();
        assert_eq!(shelf.stored(), (0..5_000).collect::<Vec<_>>());
    });
}

#[test]
fn a_record_that_the_sink_refuses_is_rejected_and_the_others_are_written() {
    paused(async || {
        let refuse = |number: &u64| (number % 100 == 7).then(|| SinkError::record("a seven"));
        let shelf = Shelf::failing(refuse);
        let report = Pipeline::named("refused").read(numbers(1_000)).write(shelf.clone()).run().await.unwrap();
        assert_eq!((report.written, report.rejected, shelf.stored().len()), (990, 10, 990));
    });
}

#[test]
fn a_batch_that_fails_for_one_of_its_records_is_split_until_it_stands_alone() {
    paused(async || {
        let shelf = Shelf::failing(|number| (*number == 77).then(|| SinkError::batch("one of them is bad")));
        let report = Pipeline::named("split").read(numbers(1_000)).write(shelf.clone()).run().await.unwrap();
        assert_eq!((report.written, report.rejected), (999, 1));
    });
}

#[test]
fn a_problem_that_passes_is_tried_again_and_rejects_nothing() {
    paused(async || {
        let calls = Arc::new(AtomicU32::new(0));
        let seen = Arc::clone(&calls);
        let flaky = move |number: &u64| {
            (*number == 0 && seen.fetch_add(1, Ordering::Relaxed) < 3).then(|| SinkError::temporary("busy"))
        };
        let report = Pipeline::named("flaky").read(numbers(100)).write(Shelf::failing(flaky)).run().await.unwrap();
        assert_eq!((report.written, report.rejected, calls.load(Ordering::Relaxed)), (100, 0, 4));
    });
}

#[test]
fn a_downstream_that_stays_down_fails_the_run_and_rejects_nothing() {
    paused(async || {
        let store = MemoryStore::default();
        let down = Shelf::failing(|number| (*number == 2_600).then(|| SinkError::temporary("connection refused")));
        let run = |shelf: Shelf<u64>| {
            let store = store.clone();
            Pipeline::named("down")
                .read(numbers(5_000))
                .write(shelf)
                .collector(|sink| sink.retry(Retry::fixed(Duration::from_millis(10)).attempts(2)))
                .checkpoint_store(move || Box::new(store.clone()))
                .run()
        };
        let error = run(down.clone()).await.unwrap_err();
        assert!(error.to_string().contains("connection refused"), "{error}");
        let settled = store.checkpoint().unwrap().ranges[0].record;
        assert!(settled <= 2_600, "{settled}");

        let shelf = Shelf::new();
        let report = run(shelf.clone()).await.unwrap();
        assert_eq!((report.resumed_after, report.read), (settled, 5_000 - settled));
        let mut all = down.stored();
        all.extend(shelf.stored());
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 5_000);
    });
}

#[test]
fn more_rejected_records_than_allowed_fail_the_run() {
    paused(async || {
        let flow = Pipeline::named("strict").read(numbers(100)).try_map(|number| Err::<u64, _>(format!("no {number}")));
        let error = flow.write(Shelf::new()).max_rejected(5).run().await.unwrap_err();
        assert!(matches!(error, RunError::TooManyRejected { limit: 5, .. }), "{error}");
    });
}

#[test]
fn a_sink_that_can_write_twice_has_to_be_accepted() {
    paused(async || {
        let pipeline = || Pipeline::named("twice").read(numbers(1)).write(for_each(|_: &u64| {}));
        assert!(matches!(pipeline().check(), Err(RunError::Duplicates { .. })));
        assert_eq!(pipeline().accept_duplicates(true).check().unwrap(), Guarantee::AtLeastOnce);
    });
}

#[test]
fn a_checkpoint_of_another_plan_is_refused_by_name_and_fresh_starts_again() {
    paused(async || {
        let store = MemoryStore::default();
        let place = |store: &MemoryStore| {
            let store = store.clone();
            move || Box::new(store.clone()) as Box<dyn Store>
        };
        let first = Pipeline::named("plan").read(numbers(10)).write(Shelf::new());
        first.checkpoint_store(place(&store)).run().await.unwrap();
        let changed = || Pipeline::named("plan").read(numbers(10)).map(|number| number).write(Shelf::new());
        match changed().checkpoint_store(place(&store)).run().await {
            Err(RunError::Checkpoint(error)) => assert_eq!(error.kind(), CheckpointErrorKind::OtherPlan),
            other => panic!("{other:?}"),
        }
        let report = changed().checkpoint_store(place(&store)).fresh(true).run().await.unwrap();
        assert_eq!((report.resumed_after, report.written), (0, 10));
    });
}

#[test]
fn two_runs_of_one_pipeline_never_write_at_once() {
    paused(async || {
        let store = MemoryStore::default();
        let mut other = store.clone();
        other.lease().await.unwrap();
        let place = store.clone();
        let pipeline = Pipeline::named("leased").read(numbers(10)).write(Shelf::new());
        match pipeline.checkpoint_store(move || Box::new(place.clone())).run().await {
            Err(RunError::Checkpoint(error)) => assert_eq!(error.kind(), CheckpointErrorKind::Leased),
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn a_run_with_a_limit_stops_cleanly_and_the_next_one_goes_on() {
    paused(async || {
        let (store, shelf) = (MemoryStore::default(), Shelf::new());
        let mut ends = Vec::new();
        for _ in 0..4 {
            let place = store.clone();
            let pipeline = Pipeline::named("limit").read(numbers(1_000)).write(shelf.clone()).max_records(300);
            let report = pipeline.checkpoint_store(move || Box::new(place.clone())).run().await.unwrap();
            ends.push((report.read, report.ended));
        }
        let stopped = (300, Ended::Stopped);
        assert_eq!(ends, [stopped, stopped, stopped, (100, Ended::Complete)]);
        assert_eq!(shelf.stored(), (0..1_000).collect::<Vec<_>>());
    });
}

#[test]
fn dry_runs_and_previews_write_and_save_nothing() {
    paused(async || {
        let (store, shelf) = (MemoryStore::default(), Shelf::new());
        let pipeline = || {
            let place = store.clone();
            Pipeline::named("dry")
                .read(numbers(1_000))
                .filter(|number| number % 2 == 1)
                .write(shelf.clone())
                .checkpoint_store(move || Box::new(place.clone()))
        };
        let report = pipeline().dry_run(100).await.unwrap();
        assert_eq!((report.read, report.written, report.ended), (100, 50, Ended::DryRun));
        let seen = pipeline().preview(3).await.unwrap();
        assert_eq!(seen.into_iter().map(Record::into_value).collect::<Vec<_>>(), [1, 3, 5]);
        assert_eq!((shelf.stored().len(), store.checkpoint()), (0, None));
    });
}

#[test]
fn a_tee_writes_every_record_to_both_sinks_and_settles_it_when_both_have() {
    paused(async || {
        let refuse = |number: &u64| (*number == 5).then(|| SinkError::record("five"));
        let (left, right) = (Shelf::new(), Shelf::failing(refuse));
        let flow = Pipeline::named("tee").read(numbers(100));
        let report = flow.tee(One::new(left.clone()), One::new(right.clone())).run().await.unwrap();
        assert_eq!((left.stored().len(), right.stored().len()), (100, 99));
        assert_eq!((report.written, report.rejected), (99, 1));
    });
}

#[test]
fn a_branch_and_a_route_send_each_record_to_one_sink() {
    paused(async || {
        let (even, odd) = (Shelf::new(), Shelf::new());
        let flow = Pipeline::named("branch").read(numbers(100));
        let branch = flow.branch(|number| number % 2 == 0, One::new(even.clone()), One::new(odd.clone()));
        assert_eq!(branch.run().await.unwrap().written, 100);
        assert!(even.stored().iter().all(|number| number % 2 == 0) && odd.stored().len() == 50);

        let shelves = [Shelf::new(), Shelf::new()];
        let sinks = shelves.iter().enumerate().map(|(key, shelf)| (key as u64, One::new(shelf.clone())));
        let route = Pipeline::named("route").read(numbers(99)).route(|number| number % 3, sinks);
        let report = route.run().await.unwrap();
        assert_eq!((report.written, report.filtered), (66, 33), "a key without a sink is filtered");
        assert!(shelves[1].stored().iter().all(|number| number % 3 == 1));
    });
}

#[test]
fn a_setting_that_cannot_be_is_refused_by_name() {
    paused(async || {
        let pipeline = || Pipeline::named("settings").read(numbers(1)).write(Shelf::<u64>::new());
        let message = |error: RunError| error.to_string();
        assert_eq!(
            message(pipeline().chunk(0).check().unwrap_err()),
            "`chunk` must be from 1 to 1,000,000 records (got 0)"
        );
        assert_eq!(message(pipeline().readers(0).check().unwrap_err()), "`readers` must be from 1 to 1024 (got 0)");
        let error = pipeline().collector(|sink| sink.max_size(0)).run().await.unwrap_err();
        assert!(error.to_string().contains("`max_size` must be at least 1 (got 0)"), "{error}");
    });
}

/// Keeps the intervals of its batches.
#[derive(Clone, Default)]
struct Spans(Arc<Mutex<Vec<Interval>>>);

impl IntoSink<u64> for Spans {
    type Sink = Self;

    fn describe(&self) -> String {
        "spans".to_owned()
    }

    fn promises(&self) -> Promises {
        Promises::Transactional
    }

    fn sink(&self, _worker: usize, _run: &RunId, _settled: &Arc<Settled>) -> Self {
        self.clone()
    }
}

impl Sink<u64> for Spans {
    async fn write(&mut self, batch: &Batch<Record<u64>>) -> Result<Written, SinkError> {
        self.0.lock().unwrap().extend(Interval::of_batch(batch).into_iter().map(|(_, interval)| interval));
        Ok(Written::all())
    }
}

#[test]
fn no_interval_of_written_records_holds_one_that_was_rejected_whoever_rejected_it() {
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("numbers.jsonl");
    let lines: String = (0..20).map(|id| if id == 15 { "torn\n".to_owned() } else { format!("{id}\n") }).collect();
    std::fs::write(&file, lines).unwrap();
    paused(async || {
        let spans = Spans::default();
        let flow = Pipeline::named("spans").read(JsonLines::<u64>::file(&file));
        // The second part of 10 is rejected first, then 3, and 15 could not even be read.
        let parts = flow.flat_map(|id| (0..3).map(move |part| id * 10 + part));
        let parts = parts.try_map(|part| if part == 101 { Err("a part") } else { Ok(part) });
        let parts = parts.try_map(|part| if part / 10 == 3 { Err("a record") } else { Ok(part) });
        let report = parts.write(spans.clone()).run().await.unwrap();
        assert_eq!(report.rejected, 5);
        let span = |first, last| Interval { first, last };
        let expected = [span((0, 0), (2, 2)), span((4, 0), (10, 0)), span((10, 2), (14, 2)), span((16, 0), (19, 2))];
        assert_eq!(*spans.0.lock().unwrap(), expected);
    });
}

#[test]
fn a_batch_that_could_never_be_full_is_refused_by_name() {
    paused(async || {
        let shelf = Shelf::new();
        let pipeline = Pipeline::named("full").read(numbers(10)).write(shelf.clone()).chunk(10).look_ahead(50);
        let error = pipeline.collector(|collector| collector.max_size(500)).run().await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "`look_ahead` must be at least 460, so that a batch of the sink's `max_size`, 500, can be full (got 50)"
        );
    });
}
