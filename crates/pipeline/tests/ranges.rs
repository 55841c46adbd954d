//! Ranges of a source: copied anywhere and in any order they make the whole, each of them once.
#![cfg(all(feature = "csv", feature = "sqlite"))]

use std::{fs, path::Path};

use actix_batch_pipeline::{
    Definitions, SourceRange,
    checkpoint::CheckpointErrorKind,
    prelude::*,
    sink::JsonLinesFile,
    source::{Csv, SourceErrorKind, concat},
};
use rusqlite::Connection;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tempfile::TempDir;

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Row {
    id: u64,
    text: String,
}

/// Copies rows into a table without a key.
#[derive(Serialize, Deserialize)]
struct Copy {
    rows: String,
    database: String,
}

impl Definition for Copy {
    const NAME: &'static str = "copy";

    fn build(&self) -> Result<Pipeline, RunError> {
        let sink = Sqlite::append(&self.database, "rows")
            .create_table("CREATE TABLE IF NOT EXISTS rows (id INTEGER, text TEXT)")
            .dead_letters_table("rejected");
        let odd = |row: Row| if row.id % 100 == 7 { Err("seven") } else { Ok(row) };
        Ok(Pipeline::named("copy").read(Csv::<Row>::file(&self.rows)).try_map(odd).write(sink).chunk(50).build())
    }
}

fn rows(path: &Path, count: u64) {
    let rows: Vec<_> = (0..count).map(|id| format!("{id},\"line\n{id}\"\n")).collect();
    fs::write(path, format!("id,text\n{}", rows.concat())).unwrap();
}

struct Place {
    folder: TempDir,
}

impl Place {
    fn new(count: u64) -> Self {
        let place = Self { folder: TempDir::new().unwrap() };
        rows(&place.folder.path().join("rows.csv"), count);
        place
    }

    fn copy(&self) -> Copy {
        let path = |name: &str| self.folder.path().join(name).display().to_string();
        Copy { rows: path("rows.csv"), database: path("rows.sqlite") }
    }

    fn one(&self, sql: &str) -> i64 {
        let database = Connection::open(self.folder.path().join("rows.sqlite")).unwrap();
        database.query_row(sql, [], |row| row.get(0)).unwrap()
    }
}

/// All ranges, asked for a few at a time.
async fn all(pipeline: &Pipeline, records: u64, at_most: usize) -> Vec<SourceRange> {
    let mut ranges: Vec<SourceRange> = Vec::new();
    loop {
        let next = pipeline.ranges(ranges.last(), records, at_most).await.unwrap();
        assert!(next.len() <= at_most);
        if next.is_empty() {
            return ranges;
        }
        ranges.extend(next);
    }
}

#[actix_rt::test]
async fn ranges_that_are_copied_in_any_order_make_the_whole() {
    let place = Place::new(5_000);
    let pipeline = place.copy().build().unwrap();
    let ranges = all(&pipeline, 400, 3).await;
    assert!((10..=16).contains(&ranges.len()), "{} ranges", ranges.len());
    assert!(ranges.iter().enumerate().all(|(at, range)| range.number == at as u64));
    let mut read = 0;
    for range in ranges.iter().rev() {
        // What another machine gets is JSON.
        let range: SourceRange = serde_json::from_value(serde_json::to_value(range).unwrap()).unwrap();
        let report = pipeline.of_range("run", &range).run().await.unwrap();
        assert_eq!(report.pipeline, format!("copy/run/{}", range.number));
        read += report.read;
    }
    assert_eq!(read, 5_000);
    assert_eq!(
        (place.one("SELECT count(*) FROM rows"), place.one("SELECT count(DISTINCT id) FROM rows")),
        (4_950, 4_950)
    );
    assert_eq!(place.one("SELECT count(*) FROM rejected"), 50);
}

#[actix_rt::test]
async fn a_range_that_was_copied_is_not_copied_again_and_one_that_was_stopped_goes_on() {
    let place = Place::new(50_000);
    let pipeline = place.copy().build().unwrap();
    // Larger than what may be on its way when the stop comes.
    let ranges = all(&pipeline, 40_000, 10).await;
    let handle = pipeline.of_range("run", &ranges[0]).start().unwrap();
    while handle.progress().written == 0 {
        tokio::task::yield_now().await;
    }
    handle.stop().await.unwrap();
    let stopped = handle.report().await.unwrap();
    let first = pipeline.of_range("run", &ranges[0]).run().await.unwrap();
    assert_eq!((stopped.ended, first.ended, first.resumed_after), (Ended::Stopped, Ended::Complete, stopped.read));
    let again = pipeline.of_range("run", &ranges[0]).run().await.unwrap();
    assert_eq!((again.read, again.resumed_after), (0, first.resumed_after + first.read));
    for range in &ranges[1..] {
        pipeline.of_range("run", range).run().await.unwrap();
    }
    assert_eq!(place.one("SELECT count(*) FROM rows"), 49_500);
}

#[actix_rt::test]
async fn a_range_that_was_cut_elsewhere_under_the_same_run_and_number_is_refused_by_name() {
    let place = Place::new(2_000);
    let pipeline = place.copy().build().unwrap();
    for range in &all(&pipeline, 1_000, 10).await {
        pipeline.of_range("run", range).run().await.unwrap();
    }
    // The checkpoint of this number says that it is done, and knows other records.
    let other = all(&pipeline, 300, 10).await.swap_remove(1);
    match pipeline.of_range("run", &other).run().await.unwrap_err() {
        RunError::Checkpoint(error) => {
            assert_eq!(error.kind(), CheckpointErrorKind::OtherPlan);
            assert!(error.to_string().contains("give the run another name"), "{error}");
        }
        other => panic!("{other}"),
    }
    assert_eq!(pipeline.of_range("again", &other).run().await.unwrap().resumed_after, 0);
}

#[actix_rt::test]
async fn a_range_of_a_source_that_has_changed_is_refused_by_name() {
    let place = Place::new(1_000);
    let pipeline = place.copy().build().unwrap();
    let ranges = all(&pipeline, 300, 10).await;
    rows(Path::new(&place.copy().rows), 10);
    fs::write(&place.copy().rows, "id,text\n1,other\n2,rows\n").unwrap();
    for result in
        [pipeline.of_range("run", &ranges[1]).run().await.err(), pipeline.ranges(Some(&ranges[0]), 300, 9).await.err()]
    {
        match result.unwrap() {
            RunError::Source(error) => assert_eq!(error.kind(), SourceErrorKind::Changed),
            other => panic!("{other}"),
        }
    }
}

#[actix_rt::test]
async fn a_sink_that_writes_one_file_as_a_whole_has_no_ranges() {
    let place = Place::new(10);
    let file = JsonLinesFile::create(place.folder.path().join("rows.jsonl"));
    let pipeline = Pipeline::named("file").read(Csv::<Row>::file(place.copy().rows)).write(file).build();
    let error = pipeline.ranges(None, 5, 5).await.unwrap_err();
    assert!(error.to_string().contains("one that many processes can write to"), "{error}");
}

#[test]
fn ranges_of_sources_one_after_the_other_join_and_make_the_whole_wherever_a_plan_ends() {
    let place = Place::new(0);
    let files = [0, 1, 2].map(|file| {
        let (path, ids) = (place.folder.path().join(format!("{file}.csv")), file * 200..(file + 1) * 200);
        let rows: Vec<_> = ids.map(|id: u64| format!("{id},a\n")).collect();
        fs::write(&path, format!("id,text\n{}", rows.concat())).unwrap();
        Csv::<Row>::file(path)
    });
    let database = place.folder.path().join("rows.sqlite");
    let sink =
        Sqlite::append(&database, "rows").create_table("CREATE TABLE IF NOT EXISTS rows (id INTEGER, text TEXT)");
    let pipeline = Pipeline::named("joined").read(concat(files)).write(sink).build();
    actix_rt::System::new().block_on(async {
        // Some of the plans end with a source, others within one.
        for at_most in [1, 4, 5, usize::MAX] {
            let ranges = all(&pipeline, 50, at_most).await;
            assert!(ranges.len() >= 12 && ranges.windows(2).all(|two| two[0].to == two[1].from), "{ranges:?}");
            for range in ranges {
                pipeline.of_range(&format!("run {at_most}"), &range).run().await.unwrap();
            }
        }
    });
    assert_eq!(place.one("SELECT count(*) FROM (SELECT id FROM rows GROUP BY id HAVING count(*) = 4)"), 600);
}

#[test]
fn a_definition_that_is_unknown_or_gets_a_wrong_configuration_is_refused_by_name() {
    let definitions = Definitions::new().register::<Copy>();
    let error = definitions.build("move", json!({})).unwrap_err().to_string();
    assert_eq!(error, "the definition `move` cannot be used: it is not registered here; registered are: copy");
    let error = definitions.build("copy", json!({ "rows": "rows.csv" })).unwrap_err().to_string();
    assert!(error.starts_with("the definition `copy` cannot be used: missing field `database`"), "{error}");
}
