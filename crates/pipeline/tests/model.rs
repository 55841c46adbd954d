//! Random pipelines against a model: whatever fails, pauses, stops and overtakes, the table holds what an iterator would have made of the
//! source, the sums hold, and what is on its way stays within its bound.
#![cfg(all(feature = "sqlite", feature = "test-util"))]

use std::time::Duration;

use actix_batch::{Retry, Workers};
use actix_batch_pipeline::{outlet::One, prelude::*, test_util::Unreliable};
use proptest::prelude::*;
use rusqlite::Connection;
use serde::Serialize;
use tempfile::TempDir;
use tokio::time::sleep;

use support::paused;

mod support;

#[derive(Debug, Clone)]
struct Plan {
    records: u64,
    /// Every n-th record is filtered.
    filtered: u64,
    /// Every n-th record is rejected.
    rejected: u64,
    /// So many records are made of each, at most.
    parts: u64,
    looks_up: bool,
    chunk: usize,
    look_ahead: usize,
    max_size: usize,
    workers: usize,
    failing: u64,
    seed: u64,
    /// A run stops after so many records.
    max_records: u64,
    /// Pauses of each run: after so many milliseconds, for so many.
    pauses: Vec<(u64, u64)>,
}

#[derive(Debug, Clone, Serialize)]
struct Row {
    number: u64,
    part: u64,
}

fn plan() -> impl Strategy<Value = Plan> {
    let source = (0_u64..400, 2_u64..7, 2_u64..9, 0_u64..4, any::<bool>());
    let sizes = (1_usize..40, 1_usize..150, 1_usize..25, 1_usize..4);
    let trouble = (0_u64..60, any::<u32>(), 20_u64..300, prop::collection::vec((0_u64..20, 0_u64..20), 0..3));
    (source, sizes, trouble).prop_map(|(source, sizes, trouble)| {
        let (records, filtered, rejected, parts, looks_up) = source;
        let (chunk, look_ahead, max_size, workers) = sizes;
        let (failing, seed, max_records, pauses) = trouble;
        let seed = u64::from(seed);
        Plan {
            records,
            filtered,
            rejected,
            parts,
            looks_up,
            chunk,
            look_ahead,
            max_size,
            workers,
            failing,
            seed,
            max_records,
            pauses,
        }
    })
}

impl Plan {
    /// What the table must hold in the end.
    fn model(&self) -> Vec<(u64, u64)> {
        let wanted = |number: &u64| !number.is_multiple_of(self.filtered) && !number.is_multiple_of(self.rejected);
        let rows = (0..self.records).filter(wanted);
        rows.flat_map(|number| (0..number % (self.parts + 1)).map(move |part| (number, part))).collect()
    }

    fn pipeline(&self, folder: &TempDir, run: u64) -> Result<PipelineHandle, RunError> {
        let Self { records, filtered, rejected, parts, looks_up, max_size, workers, .. } = *self;
        let sink = Sqlite::append(folder.path().join("data.sqlite"), "rows");
        let sink = Unreliable::new(sink, self.seed.wrapping_add(run << 32)).failing(self.failing);
        let retry = Retry::exponential(Duration::from_millis(1)).attempts(2).on_panic(true);
        let outlet = One::new(sink).collector(move |collector| {
            let collector = collector.max_size(max_size).interval(Duration::from_millis(1)).retry(retry.clone());
            collector.workers(Workers::local(workers))
        });
        let at_once = if looks_up { 3 } else { 1 };
        Pipeline::named("model")
            .read(from_iter("numbers", move || 0..records))
            .filter(move |number| !number.is_multiple_of(filtered))
            .try_map(move |number| if number.is_multiple_of(rejected) { Err("rejected") } else { Ok(number) })
            .map_async(at_once, async |number| Ok::<_, String>(number))
            .flat_map(move |number| (0..number % (parts + 1)).map(move |part| Row { number, part }))
            .write_to(outlet)
            .chunk(self.chunk)
            .look_ahead(self.look_ahead.max(max_size))
            .max_records(self.max_records)
            .start()
    }

    /// Records that may be on their way: what is sent, two chunks in the stages, one that is read, each times the parts.
    fn bound(&self) -> u64 {
        (self.look_ahead.max(self.max_size) as u64 + 3 * self.chunk as u64) * (self.parts + 1)
    }

    /// One run to its end, with its pauses. Returns whether the source has been read to its end.
    async fn run(&self, folder: &TempDir, run: u64) -> bool {
        let handle = self.pipeline(folder, run).unwrap();
        for (after, pause) in &self.pauses {
            sleep(Duration::from_millis(*after)).await;
            let open = handle.progress().open;
            assert!(open <= self.bound(), "{open} records are on their way, {} is the bound", self.bound());
            if handle.pause().await.is_err() {
                break;
            }
            sleep(Duration::from_millis(*pause)).await;
            let _ = handle.resume().await;
        }
        match handle.report().await {
            Ok(report) => {
                assert!(report.adds_up(), "{report:?}");
                report.ended == Ended::Complete
            }
            // The downstream was away for too long: the next run goes on.
            Err(RunError::Sink(_)) => false,
            Err(error) => panic!("{error}"),
        }
    }
}

fn rows(folder: &TempDir) -> Vec<(u64, u64)> {
    let connection = Connection::open(folder.path().join("data.sqlite")).unwrap();
    let mut select = connection.prepare("SELECT number, part FROM rows ORDER BY number, part").unwrap();
    let rows = select.query_map([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))).unwrap();
    rows.map(Result::unwrap).map(|(number, part)| (number.unsigned_abs(), part.unsigned_abs())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn the_table_holds_what_the_model_says_whatever_fails(plan in plan()) {
        let folder = TempDir::new().unwrap();
        let schema = "CREATE TABLE rows (number INTEGER, part INTEGER)";
        Connection::open(folder.path().join("data.sqlite")).unwrap().execute_batch(schema).unwrap();
        paused(async || {
            let mut run = 0;
            while !plan.run(&folder, run).await {
                run += 1;
                assert!(run < 500, "the runs do not come to an end");
            }
        });
        prop_assert_eq!(rows(&folder), plan.model());
    }
}
