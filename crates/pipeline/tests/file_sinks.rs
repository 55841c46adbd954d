//! Files as sinks: whole or not there, each record once, and resumable to the byte.

use std::{fs, path::Path, time::Duration};

use actix_batch_pipeline::{
    prelude::*,
    sink::{CsvFile, JsonLinesFile},
};
use serde::Serialize;
use tempfile::TempDir;

use support::paused;

mod support;

#[derive(Debug, Clone, Serialize)]
struct Row {
    id: u64,
    name: Option<String>,
}

fn row(id: u64) -> Row {
    Row { id, name: id.is_multiple_of(2).then(|| format!("row, {id}")) }
}

fn run(count: u64, limit: Option<u64>, path: &Path) -> impl Future<Output = Result<Report, RunError>> + use<> {
    let flow = Pipeline::named("rows").read(from_iter("rows", move || 0..count)).map(row);
    let mut pipeline = flow.write(JsonLinesFile::create(path)).chunk(10).checkpoint_every(Duration::from_millis(1));
    if let Some(limit) = limit {
        pipeline = pipeline.max_records(limit);
    }
    pipeline.run()
}

fn lines(path: &Path) -> usize {
    fs::read_to_string(path).unwrap().lines().count()
}

#[test]
fn a_file_appears_when_it_is_complete_and_not_before() {
    paused(async || {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("rows.jsonl");
        assert_eq!(run(100, Some(30), &path).await.unwrap().ended, Ended::Stopped);
        assert!(!path.exists());
        assert_eq!(run(100, None, &path).await.unwrap().ended, Ended::Complete);
        assert_eq!(lines(&path), 100);
        assert!(!folder.path().join("rows.jsonl.partial").exists());
    });
}

#[test]
fn a_torn_end_is_cut_back_to_the_last_checkpoint() {
    paused(async || {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("rows.jsonl");
        run(100, Some(30), &path).await.unwrap();
        let partial = folder.path().join("rows.jsonl.partial");
        let mut text = fs::read(&partial).unwrap();
        text.extend_from_slice(b"{\"id\":30,\"name\":\"ro");
        fs::write(&partial, text).unwrap();
        run(100, None, &path).await.unwrap();
        let ids: Vec<u64> = fs::read_to_string(&path)
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["id"].as_u64().unwrap())
            .collect();
        assert_eq!(ids, (0..100).collect::<Vec<_>>());
    });
}

#[test]
fn a_complete_run_that_is_started_again_leaves_the_published_file_as_it_is() {
    paused(async || {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("rows.jsonl");
        run(100, None, &path).await.unwrap();
        let report = run(100, None, &path).await.unwrap();
        assert_eq!((report.read, report.ended, lines(&path)), (0, Ended::Complete, 100));
    });
}

#[test]
fn records_that_come_after_a_file_was_published_are_added_to_it() {
    paused(async || {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("rows.jsonl");
        run(100, None, &path).await.unwrap();
        let report = run(150, None, &path).await.unwrap();
        assert_eq!((report.read, lines(&path)), (50, 150));
    });
}

#[test]
fn a_published_file_stays_when_the_records_that_came_after_it_are_all_filtered_and_are_not_all() {
    paused(async || {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("rows.jsonl");
        let run = |count, limit| {
            let flow = Pipeline::named("rows").read(from_iter("rows", move || 0..count)).filter(|id| *id < 100);
            flow.map(row).write(JsonLinesFile::create(&path)).chunk(10).max_records(limit).run()
        };
        run(100, 1_000).await.unwrap();
        // The run is cut: what it has read is filtered, and the file has its final name all the time.
        assert_eq!(run(200, 50).await.unwrap().filtered, 50);
        let report = run(200, 1_000).await.unwrap();
        assert_eq!((report.resumed_after, report.filtered, lines(&path)), (150, 50, 100));
    });
}

#[test]
fn a_partial_file_without_its_checkpoint_is_refused_by_name() {
    paused(async || {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("rows.jsonl");
        let partial = folder.path().join("rows.jsonl.partial");
        fs::write(&partial, "{}\n").unwrap();
        let error = run(10, None, &path).await.unwrap_err();
        assert!(error.to_string().contains("rows.jsonl.partial is there without its checkpoint"), "{error}");
        assert_eq!(fs::read_to_string(&partial).unwrap(), "{}\n");
    });
}

#[test]
fn a_partial_file_that_is_gone_or_shorter_is_refused_by_name() {
    for cut in [None, Some(5)] {
        paused(async || {
            let folder = TempDir::new().unwrap();
            let path = folder.path().join("rows.jsonl");
            run(100, Some(30), &path).await.unwrap();
            let partial = folder.path().join("rows.jsonl.partial");
            match cut {
                Some(bytes) => fs::File::options().write(true).open(&partial).unwrap().set_len(bytes).unwrap(),
                None => fs::remove_file(&partial).unwrap(),
            }
            let error = run(100, None, &path).await.unwrap_err();
            assert!(error.to_string().contains("run with `fresh`"), "{error}");
        });
    }
}

#[test]
fn a_csv_file_has_one_header_also_if_it_was_written_in_several_runs() {
    paused(async || {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("rows.csv");
        let pipeline = || {
            let flow = Pipeline::named("rows").read(from_iter("rows", || 0..4)).map(row);
            flow.write(CsvFile::create(&path)).max_records(3)
        };
        pipeline().run().await.unwrap();
        pipeline().run().await.unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "id,name\n0,\"row, 0\"\n1,\n2,\"row, 2\"\n3,\n");
    });
}

#[test]
fn a_record_that_cannot_be_a_row_is_rejected_alone() {
    #[derive(Serialize)]
    struct Nested {
        id: u64,
        more: Option<std::collections::BTreeMap<String, u64>>,
    }
    paused(async || {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("rows.csv");
        let nested = |id| Nested { id, more: (id == 1).then(|| [("a".to_owned(), 1)].into()) };
        let flow = Pipeline::named("rows").read(from_iter("rows", || 0..3)).map(nested);
        let report = flow.write(CsvFile::create(&path)).run().await.unwrap();
        assert_eq!((report.written, report.rejected), (2, 1));
        assert_eq!(fs::read_to_string(&path).unwrap(), "id,more\n0,\n2,\n");
    });
}

#[test]
fn a_row_with_fewer_fields_than_the_others_is_rejected_in_any_batch_and_any_run() {
    #[derive(Serialize)]
    struct Ragged {
        id: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        name: Option<&'static str>,
        price: u64,
    }
    paused(async || {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("rows.csv");
        for records in [6, 100] {
            let ragged = |id: u64| Ragged { id, name: (!id.is_multiple_of(4) || id == 0).then_some("a"), price: 7 };
            let flow = Pipeline::named("rows").read(from_iter("rows", || 0..12)).map(ragged);
            let pipeline = flow.write(CsvFile::create(&path)).collector(|sink| sink.max_size(4)).max_records(records);
            let report = pipeline.chunk(4).run().await.unwrap();
            assert_eq!(report.rejected, 1);
        }
        let expected: Vec<_> = (0..12).filter(|id| ![4, 8].contains(id)).map(|id| format!("{id},a,7")).collect();
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("id,name,price\n{}\n", expected.join("\n")));
    });
}

#[test]
fn publishing_that_fails_fails_the_run_and_the_next_one_publishes() {
    paused(async || {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("rows.jsonl");
        // A folder of the file's name, with something in it, cannot be replaced.
        fs::create_dir_all(path.join("in the way")).unwrap();
        let error = run(10, None, &path).await.unwrap_err();
        assert!(error.to_string().contains("cannot be published"), "{error}");
        fs::remove_dir_all(&path).unwrap();
        let report = run(10, None, &path).await.unwrap();
        assert_eq!((report.read, lines(&path)), (0, 10));
    });
}
