//! Runs: every record ends by one name, failures are a record's own or the run's, and a run goes on where it stopped.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use actix_batch::{Batch, BatchProcessor, Collector, Job, Outcomes, Retry};
use actix_batch_pipeline::{
    Origin, Output, Range, Stage,
    checkpoint::{CheckpointErrorKind, Interval, MemoryStore, RunId, Settled, Store},
    messages::{GetProgress, ProgressChanged, Subscribe},
    outlet::One,
    prelude::*,
    sink::{IntoSink, Promises, Sink, SinkError, Written},
    source::{Chunk, Identity, JsonLines, More, Reader, Source, SourceError, from_stream},
};

use futures_util::{StreamExt, stream};
use support::{Panicking, Shelf, paused};

mod support;

fn numbers(
    count: u64,
) -> actix_batch_pipeline::source::FromIter<impl Fn() -> std::ops::Range<u64> + Send + Sync, std::ops::Range<u64>> {
    from_iter("numbers", move || 0..count)
}

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
fn every_record_that_a_stage_panics_on_is_rejected_whatever_its_size_and_its_place_in_the_chunk() {
    paused(async || {
        let shelf = Shelf::new();
        let report = Pipeline::named("large")
            .read(numbers(20))
            .map(|number| [number; 32])
            .try_map(|all| match all[0] {
                0 | 1 | 19 => panic!("at an end of the chunk"),
                4 => Err("an error"),
                _ => Ok(all),
            })
            .filter(|all| {
                assert!(![2, 3, 18].contains(&all[0]), "at an end of what is left");
                all[0] != 10
            })
            .dedupe(|all| if all[0] == 5 { panic!("without a key") } else { all[0] / 2 }, 100)
            .map(|all| all[31])
            .write(shelf.clone())
            .chunk(10)
            .run()
            .await
            .unwrap();
        assert_eq!(shelf.stored(), [6, 8, 11, 12, 14, 16]);
        assert_eq!((report.rejected, report.filtered), (8, 6));
        assert!(report.adds_up());
    });
}

#[test]
fn a_stage_that_panics_rejects_that_record_alone() {
    paused(async || {
        let shelf = Shelf::new();
        let report = Pipeline::named("panics")
            .read(numbers(10))
            .map(|number| if number == 3 { panic!("three") } else { number })
            .map_async(2, async |number| {
                assert!(number != 5, "five");
                Ok::<_, String>(number)
            })
            .inspect(|number| assert!(**number != 7, "seven"))
            .write(shelf.clone())
            .run()
            .await
            .unwrap();
        assert_eq!(shelf.stored(), [0, 1, 2, 4, 6, 8, 9]);
        assert_eq!(report.rejected, 3);
    });
}

/// Drops every tenth record without a word.
struct Careless;

impl Stage<u64> for Careless {
    type Out = u64;

    fn name(&self) -> String {
        "careless".to_owned()
    }

    async fn process(&self, records: Vec<Record<u64>>, out: &mut Output<u64>) {
        records.into_iter().filter(|number| **number % 10 != 0).for_each(|record| out.emit(record));
    }
}

#[test]
fn a_stage_that_loses_records_fails_the_run_by_its_name() {
    paused(async || {
        let flow = Pipeline::named("lossy").read(numbers(100)).map(|number| number).stage(Careless);
        match flow.write(Shelf::new()).run().await {
            Err(RunError::BrokenSum { stage, came_in, accounted_for }) => {
                assert_eq!((stage.as_str(), came_in, accounted_for), ("careless", 100, 90));
            }
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn a_stage_that_panics_on_a_whole_chunk_fails_the_run_by_its_name() {
    paused(async || {
        let flow = Pipeline::named("panics").read(numbers(100)).stage(Panicking);
        let error = flow.write(Shelf::new()).run().await.unwrap_err();
        assert_eq!(error.to_string(), "the stage `panicking` panicked: on a whole chunk");
        assert!(!error.is_retryable());
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

struct Square(u64);
impl Job for Square {
    type Output = u64;
    type Error = String;
}

struct Squares(Arc<AtomicU64>);
impl BatchProcessor for Squares {
    type Job = Square;
    async fn process(&mut self, batch: &Batch<Square>) -> Result<Outcomes<Square>, String> {
        self.0.fetch_add(1, Ordering::Relaxed);
        let square = |job: &Square| if job.0 == 13 { Err("unlucky".to_owned()) } else { Ok(job.0 * job.0) };
        Ok(Outcomes::each(batch.iter().map(square)))
    }
}

#[test]
fn a_lookup_enriches_records_in_batches_and_rejects_those_without_an_answer() {
    paused(async || {
        let batches = Arc::new(AtomicU64::new(0));
        let seen = Arc::clone(&batches);
        let squares = Collector::builder(move || Squares(Arc::clone(&batches))).max_size(500).start().unwrap();
        let shelf = Shelf::new();
        let report = Pipeline::named("lookup")
            .read(numbers(2_000))
            .map(|number| (number, 0, 0))
            .through(squares.clone(), |row: &(u64, u64, u64)| Square(row.0), |row, square| row.1 = square)
            .through_within(
                Duration::from_secs(5),
                (squares.clone(), squares),
                |row| (Square(row.0), Square(row.0 + 1)),
                |row, (one, other)| row.2 = one + other,
            )
            .write(shelf.clone())
            .run()
            .await
            .unwrap();
        assert_eq!((report.written, report.rejected), (1_998, 2));
        assert!(shelf.stored().iter().all(|row| row.1 == row.0 * row.0 && row.2 == row.1 + (row.0 + 1) * (row.0 + 1)));
        // One batch for each chunk, and a few more for the pairs.
        assert!(seen.load(Ordering::Relaxed) <= 16, "{} batches", seen.load(Ordering::Relaxed));
    });
}

#[test]
fn a_key_passes_once_within_its_window() {
    paused(async || {
        let shelf = Shelf::new();
        let flow = Pipeline::named("dedupe").read(numbers(100)).dedupe(|number| number % 10, 10);
        let report = flow.write(shelf.clone()).run().await.unwrap();
        assert_eq!((shelf.stored(), report.filtered), ((0..10).collect(), 90));
    });
}

#[test]
fn a_stage_remembers_nothing_of_a_run_that_failed_or_wrote_nothing() {
    paused(async || {
        let (store, is_down) = (MemoryStore::default(), Arc::new(AtomicU32::new(1)));
        let down = Arc::clone(&is_down);
        let shelf = Shelf::failing(move |_| (down.load(Ordering::Relaxed) == 1).then(|| SinkError::fatal("down")));
        let pipeline = Pipeline::named("again").read(numbers(100)).dedupe(|number| *number, 1_000).write(shelf.clone());
        let pipeline = pipeline.checkpoint_store(move || Box::new(store.clone())).build();
        assert!(pipeline.run().await.is_err());
        assert_eq!(pipeline.dry_run(50).await.unwrap().written, 50);
        is_down.store(0, Ordering::Relaxed);
        let report = pipeline.run().await.unwrap();
        assert_eq!((report.written, report.filtered), (100, 0));
        assert_eq!(shelf.stored(), (0..100).collect::<Vec<_>>());
    });
}

#[test]
fn a_debounced_key_passes_its_last_record_once_it_has_been_quiet() {
    paused(async || {
        let shelf = Shelf::new();
        // A burst of 20 for key 0, then a second for key 1 and one more for key 0, each after the quiet time.
        let ticks = || {
            stream::unfold(0_u64, |number| async move {
                if number >= 20 {
                    tokio::time::sleep(Duration::from_millis(300)).await;
                }
                (number < 23).then_some((number, number + 1))
            })
        };
        let debounced = Pipeline::named("debounce")
            .read(from_stream("ticks", ticks))
            .debounce(|number| u64::from(*number == 21), Duration::from_millis(100))
            .write(shelf.clone())
            .run()
            .await
            .unwrap();
        assert_eq!(shelf.stored(), [19, 20, 21, 22]);
        assert_eq!(debounced.filtered, 19);
    });
}

#[test]
fn a_throttle_lets_so_many_records_pass_in_a_second() {
    paused(async || {
        let began = tokio::time::Instant::now();
        let flow = Pipeline::named("throttle").read(numbers(1_000)).throttle(100.0);
        flow.write(Shelf::new()).chunk(10).run().await.unwrap();
        let took = began.elapsed().as_secs_f64();
        assert!((9.8..10.5).contains(&took), "{took} s");
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
fn a_paused_run_reads_and_writes_nothing_and_goes_on_where_it_was() {
    paused(async || {
        let shelf = Shelf::new();
        let flow = Pipeline::named("pause").read(numbers(1_000)).throttle(100.0);
        let handle = flow.write(shelf.clone()).chunk(10).start().unwrap();
        tokio::time::sleep(Duration::from_millis(1_050)).await;
        handle.pause().await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        let before = shelf.stored().len();
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(shelf.stored().len(), before);
        assert!(handle.addr().send(GetProgress).await.unwrap().paused);
        handle.resume().await.unwrap();
        assert_eq!(handle.report().await.unwrap().written, 1_000);
        assert_eq!(shelf.stored(), (0..1_000).collect::<Vec<_>>());
    });
}

#[test]
fn zero_batches_in_flight_hold_the_sink_and_more_let_it_go() {
    paused(async || {
        let shelf = Shelf::new();
        let handle = Pipeline::named("held").read(numbers(10_000)).throttle(1e6).write(shelf.clone()).start().unwrap();
        handle.set_in_flight(0).await.unwrap();
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert!(shelf.stored().len() < 10_000);
        handle.set_in_flight(2).await.unwrap();
        assert_eq!(handle.report().await.unwrap().written, 10_000);
    });
}

#[test]
fn a_run_that_holds_can_be_stopped() {
    paused(async || {
        for hold in ["paused", "no batch in flight"] {
            let shelf = Shelf::new();
            let flow = Pipeline::named("held").read(numbers(1_000)).throttle(100.0);
            let handle = flow.write(shelf.clone()).chunk(10).start().unwrap();
            tokio::time::sleep(Duration::from_millis(1_050)).await;
            match hold {
                "paused" => handle.pause().await.unwrap(),
                _ => handle.set_in_flight(0).await.unwrap(),
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
            handle.stop().await.unwrap();
            let report = tokio::time::timeout(Duration::from_secs(60), handle.report()).await.expect(hold).unwrap();
            assert_eq!((report.ended, report.written), (Ended::Stopped, report.read), "{hold}");
            assert_eq!(shelf.stored().len() as u64, report.written);
        }
    });
}

#[test]
fn a_run_that_waits_for_a_quiet_stream_can_be_stopped() {
    paused(async || {
        let quiet = || stream::iter(0..10_u64).chain(stream::pending());
        let handle = Pipeline::named("quiet").read(from_stream("quiet", quiet)).write(Shelf::new()).start().unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        handle.stop().await.unwrap();
        let report = tokio::time::timeout(Duration::from_secs(60), handle.report()).await.unwrap().unwrap();
        assert_eq!((report.written, report.ended), (10, Ended::Stopped));
    });
}

/// A sink that has begun to write, and waits.
#[derive(Clone)]
struct Slow(Shelf<u64>);

impl IntoSink<u64> for Slow {
    type Sink = Self;

    fn describe(&self) -> String {
        "slow".to_owned()
    }

    fn promises(&self) -> Promises {
        Promises::Keyed
    }

    fn sink(&self, _worker: usize, _run: &RunId, _settled: &Arc<Settled>) -> Self {
        self.clone()
    }
}

impl Sink<u64> for Slow {
    async fn write(&mut self, batch: &Batch<Record<u64>>) -> Result<Written, SinkError> {
        tokio::time::sleep(Duration::from_secs(20)).await;
        self.0.write(batch).await
    }
}

#[test]
fn a_run_that_is_dropped_keeps_its_lease_until_it_writes_no_more() {
    paused(async || {
        let (store, shelf) = (MemoryStore::default(), Shelf::new());
        let place = store.clone();
        let pipeline = Pipeline::named("dropped").read(numbers(u64::MAX)).write(Slow(shelf.clone()));
        let pipeline = pipeline.checkpoint_store(move || Box::new(place.clone())).chunk(10).look_ahead(10).build();
        assert!(tokio::time::timeout(Duration::from_secs(30), pipeline.run()).await.is_err());
        match pipeline.run().await {
            Err(RunError::Checkpoint(error)) => assert_eq!(error.kind(), CheckpointErrorKind::Leased),
            other => panic!("the first run is still writing: {other:?}"),
        }
        tokio::time::sleep(Duration::from_secs(60)).await;
        let written = shelf.stored().len() as u64;
        assert_eq!(store.checkpoint().unwrap().ranges[0].record, written, "it has ended in order");
        store.clone().lease().await.unwrap();
    });
}

#[test]
fn a_stopped_run_finishes_what_is_in_flight_and_the_next_one_goes_on() {
    paused(async || {
        let (store, shelf) = (MemoryStore::default(), Shelf::new());
        let pipeline = |per_second: f64| {
            let place = store.clone();
            let flow = Pipeline::named("stop").read(numbers(1_000)).throttle(per_second);
            flow.write(shelf.clone()).chunk(10).checkpoint_store(move || Box::new(place.clone()))
        };
        let handle = pipeline(100.0).start().unwrap();
        tokio::time::sleep(Duration::from_millis(2_500)).await;
        handle.stop().await.unwrap();
        let report = handle.report().await.unwrap();
        assert_eq!(report.ended, Ended::Stopped);
        assert_eq!(store.checkpoint().unwrap().ranges[0].record, report.read);
        assert_eq!(shelf.stored().len() as u64, report.read);
        pipeline(1e6).run().await.unwrap();
        assert_eq!(shelf.stored(), (0..1_000).collect::<Vec<_>>());
    });
}

struct Watcher(Arc<Mutex<Vec<u64>>>);
impl actix::Actor for Watcher {
    type Context = actix::Context<Self>;
}
impl actix::Handler<ProgressChanged> for Watcher {
    type Result = ();
    fn handle(&mut self, ProgressChanged(progress): ProgressChanged, _: &mut Self::Context) {
        self.0.lock().unwrap().push(progress.written);
    }
}

#[test]
fn a_subscriber_hears_of_the_progress_every_second_and_at_the_end() {
    paused(async || {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let watcher = actix::Actor::start(Watcher(Arc::clone(&heard)));
        let flow = Pipeline::named("watched").read(numbers(500)).throttle(100.0);
        let handle = flow.write(Shelf::new()).chunk(10).start().unwrap();
        handle.addr().send(Subscribe(watcher.recipient())).await.unwrap();
        handle.report().await.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
        let heard = heard.lock().unwrap().clone();
        assert!(heard.len() >= 5 && heard.last() == Some(&500), "{heard:?}");
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

/// Numbers from a broker: it is told what has settled, and must not be told more than the checkpoint holds.
struct Broker {
    store: MemoryStore,
    acknowledged: Arc<AtomicU64>,
}

struct BrokerReader {
    next: u64,
    store: MemoryStore,
    acknowledged: Arc<AtomicU64>,
}

impl Source for Broker {
    type Record = u64;
    type Cursor = u64;
    type Reader = BrokerReader;

    fn describe(&self) -> String {
        "broker".to_owned()
    }

    async fn identity(&self) -> Result<Identity, SourceError> {
        Ok(Identity::Null)
    }

    async fn open(&self, range: &Range<u64>) -> Result<BrokerReader, SourceError> {
        let (store, acknowledged) = (self.store.clone(), Arc::clone(&self.acknowledged));
        Ok(BrokerReader { next: range.from.unwrap_or(0), store, acknowledged })
    }
}

impl Reader for BrokerReader {
    type Record = u64;
    type Cursor = u64;
    const ACKNOWLEDGES: bool = true;

    async fn read(&mut self, chunk: &mut Chunk<u64, u64>, limit: usize) -> Result<More, SourceError> {
        tokio::time::sleep(Duration::from_millis(10)).await;
        for number in self.next..(self.next + limit as u64).min(1_000) {
            chunk.push(number, Origin::Unknown);
        }
        self.next = (self.next + limit as u64).min(1_000);
        chunk.set_after(self.next);
        Ok(if self.next < 1_000 { More::Yes } else { More::No })
    }

    async fn settled(&mut self, up_to: &u64) -> Result<(), SourceError> {
        let stored = self.store.checkpoint().unwrap().ranges[0].record;
        assert!(stored >= *up_to, "{up_to} is acknowledged, and the checkpoint has {stored}");
        self.acknowledged.store(*up_to, Ordering::Relaxed);
        Ok(())
    }
}

#[test]
fn a_broker_is_told_only_what_the_checkpoint_holds_and_in_the_end_all_of_it() {
    paused(async || {
        let (store, acknowledged) = (MemoryStore::default(), Arc::new(AtomicU64::new(0)));
        let (broker, place) = (Broker { store: store.clone(), acknowledged: Arc::clone(&acknowledged) }, store.clone());
        let pipeline = Pipeline::named("broker").read(broker).write(Shelf::new()).chunk(100);
        pipeline.checkpoint_store(move || Box::new(place.clone())).run().await.unwrap();
        assert_eq!(acknowledged.load(Ordering::Relaxed), 1_000);
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

/// A broker that gives no more than 100 numbers before it has been answered.
struct Answered {
    handed_over: u64,
    acknowledged: u64,
    reads: Arc<AtomicU64>,
}

/// Reads [`Answered`].
struct AnsweredSource(Arc<AtomicU64>);

impl Source for AnsweredSource {
    type Record = u64;
    type Cursor = u64;
    type Reader = Answered;

    fn describe(&self) -> String {
        "answered".to_owned()
    }

    async fn identity(&self) -> Result<Identity, SourceError> {
        Ok(Identity::Null)
    }

    async fn open(&self, range: &Range<u64>) -> Result<Answered, SourceError> {
        let from = range.from.unwrap_or(0);
        Ok(Answered { handed_over: from, acknowledged: from, reads: Arc::clone(&self.0) })
    }
}

impl Reader for Answered {
    type Record = u64;
    type Cursor = u64;
    const ACKNOWLEDGES: bool = true;

    async fn read(&mut self, chunk: &mut Chunk<u64, u64>, limit: usize) -> Result<More, SourceError> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        let end = (self.handed_over + limit as u64).min(self.acknowledged + 100);
        (self.handed_over..end).for_each(|number| chunk.push(number, Origin::Unknown));
        self.handed_over = end;
        chunk.set_after(end);
        Ok(match (end, self.acknowledged) {
            (1_000, _) => More::No,
            (end, acknowledged) if end == acknowledged + 100 => More::OnceSettled,
            _ => More::Yes,
        })
    }

    async fn settled(&mut self, up_to: &u64) -> Result<(), SourceError> {
        self.acknowledged = *up_to;
        Ok(())
    }
}

#[test]
fn a_reader_that_waits_for_answers_is_asked_again_when_there_are_some_and_no_batch_waits_for_more_records() {
    paused(async || {
        let (reads, began) = (Arc::new(AtomicU64::new(0)), tokio::time::Instant::now());
        let shelf = Shelf::new();
        // Every third number is rejected: letters hold the checkpoint back until they are durable.
        let folder = tempfile::TempDir::new().unwrap();
        let flow = Pipeline::named("answered").read(AnsweredSource(Arc::clone(&reads)));
        let flow = flow.try_map(|number| if number % 3 == 0 { Err("a third") } else { Ok(number) });
        let pipeline = flow.write(shelf.clone()).collector(|sink| sink.interval(Duration::from_secs(60))).chunk(30);
        let report = pipeline.dead_letters(folder.path().join("letters")).run().await.unwrap();
        assert_eq!((report.read, report.rejected), (1_000, 334));
        assert_eq!(shelf.stored(), (0..1_000).filter(|number| number % 3 > 0).collect::<Vec<_>>());
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
        let reads = reads.load(Ordering::Relaxed);
        assert!(reads <= 60, "read {reads} times: it was asked although it had nothing");
    });
}

#[test]
fn a_broker_is_told_of_the_last_batch_of_a_run_that_stops_after_some() {
    paused(async || {
        let (store, acknowledged) = (MemoryStore::default(), Arc::new(AtomicU64::new(0)));
        let (broker, place) = (Broker { store: store.clone(), acknowledged: Arc::clone(&acknowledged) }, store.clone());
        let pipeline = Pipeline::named("broker").read(broker).write(Shelf::new()).chunk(100).max_batches(3);
        let report = pipeline.checkpoint_store(move || Box::new(place.clone())).run().await.unwrap();
        assert_eq!((report.ended, acknowledged.load(Ordering::Relaxed)), (Ended::Stopped, report.written));
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
