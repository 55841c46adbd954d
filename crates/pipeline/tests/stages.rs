//! Stages: what each makes of its records, and that a panic is that record's own.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use actix_batch::{Batch, BatchProcessor, Collector, Job, Outcomes};
use actix_batch_pipeline::{Output, Stage, checkpoint::MemoryStore, prelude::*, sink::SinkError, source::from_stream};
use futures_util::stream;
use support::{Panicking, Shelf, numbers, paused};

mod support;

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
            .validate(|all| match all[0] {
                15 => panic!("in the middle"),
                17 => Err("an error"),
                valid => Ok(valid),
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
        assert_eq!((report.rejected, report.filtered), (10, 4));
        assert!(report.adds_up());
    });
}

/// Panics when it is shown, and when it is dropped, too.
struct Unspeakable;

impl fmt::Display for Unspeakable {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        panic!("unspeakable")
    }
}

impl Drop for Unspeakable {
    fn drop(&mut self) {
        assert!(thread::panicking(), "undroppable");
    }
}

#[test]
fn an_error_that_panics_when_it_is_shown_rejects_its_record_alone() {
    paused(async || {
        let shelf = Shelf::new();
        let report = Pipeline::named("unspeakable")
            .read(numbers(20))
            .try_map(|number| if number == 3 { Err(Unspeakable) } else { Ok([number; 32]) })
            .try_map(|all| if all[0] == 5 { Err(Unspeakable) } else { Ok(all) })
            .validate(|all| if all[0] == 7 { Err(Unspeakable) } else { Ok(()) })
            .map(|all| all[31])
            .try_map(|number| if number == 9 { Err(Unspeakable) } else { Ok(number) })
            .write(shelf.clone())
            .run()
            .await
            .unwrap();
        assert_eq!((report.written, report.rejected), (16, 4));
        assert!(report.adds_up());
        let expected: Vec<_> = (0..20).filter(|number| ![3, 5, 7, 9].contains(number)).collect();
        assert_eq!(shelf.stored(), expected);
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
