//! Objects as a source: which, in which order, by which requests, and whether they are still those of the checkpoint.

use std::{io::Write, sync::Arc};

use actix_batch_object_store::Objects;
use actix_batch_pipeline::{
    Range,
    checkpoint::MemoryStore,
    prelude::*,
    sink::JsonLinesFile,
    source::{Csv, Source, SourceErrorKind, TextFiles},
    test_util::{check_source, read_range},
};
use flate2::{Compression, write::GzEncoder};
use object_store::{ObjectStore, ObjectStoreExt, memory::InMemory, path::Path};

use support::{Asked, Row, csv, ids, json_lines};

mod support;

/// A store in memory with these objects.
async fn memory(objects: &[(&str, &[u8])]) -> Arc<dyn ObjectStore> {
    let store = Arc::new(InMemory::new());
    for (key, bytes) in objects {
        store.put(&Path::from(*key), bytes.to_vec().into()).await.unwrap();
    }
    store
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

fn numbers(all: std::ops::Range<u64>) -> Vec<Result<Row, String>> {
    all.map(|id| Ok(Row { id })).collect()
}

#[actix_rt::test]
async fn objects_are_read_in_the_order_of_their_names_whatever_the_blocks() {
    let (a, b, c) = (csv(0..20), csv(20..35), csv(35..41));
    let store = memory(&[
        ("flights/b.csv", b.as_bytes()),
        ("flights/a.csv", a.as_bytes()),
        ("flights/c/d.csv", c.as_bytes()),
        ("flights/_staging/x.csv", b"nothing"),
        ("flights/manifest.json", b"{}"),
        ("other.csv", b"nothing"),
    ])
    .await;
    for block in [1, 7, 1 << 20] {
        let at = |url: &str| Objects::at(url).store(Arc::clone(&store)).block_bytes(block).csv::<Row>();
        assert_eq!(check_source(&at("memory:///flights/a.csv")).await, numbers(0..20));
        assert_eq!(check_source(&at("memory:///flights/*.csv")).await, numbers(0..35));
        assert_eq!(check_source(&at("memory:///flights/")).await, numbers(0..41));
    }
}

#[actix_rt::test]
async fn files_of_this_machine_are_objects_too() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("b.jsonl"), json_lines(10..20)).unwrap();
    std::fs::write(folder.path().join("a b.jsonl"), json_lines(0..10)).unwrap();
    let url = format!("file://{}/*.jsonl", folder.path().display());
    assert_eq!(check_source(&Objects::at(url).json_lines::<Row>()).await, numbers(0..20));
}

#[actix_rt::test]
async fn empty_objects_have_no_records_and_are_never_asked_for_a_byte() {
    let store = Asked::with(&[("a.csv", ""), ("b.csv", "id\n1\n"), ("c.csv", "")]).await;
    let source = Objects::at("memory:///").store(store.given()).csv::<Row>();
    assert_eq!(ids(&source).await.unwrap(), [1]);
    assert!(store.ranges().iter().all(|(key, _)| key == "b.csv"));
}

#[actix_rt::test]
async fn compressed_objects_are_recognized_and_resumed_by_reading_them_again() {
    let text = csv(0..30);
    let mut members = gzip(&text[..40]);
    members.extend(gzip(&text[40..]));
    let zstd = zstd::encode_all(text.as_bytes(), 1).unwrap();
    let store = memory(&[("a.csv.gz", &members), ("b.csv.zst", &zstd)]).await;
    for key in ["a.csv.gz", "b.csv.zst"] {
        for block in [3, 1 << 20] {
            let source = Objects::at(format!("memory:///{key}")).store(Arc::clone(&store)).block_bytes(block);
            assert_eq!(check_source(&source.csv::<Row>()).await, numbers(0..30));
        }
    }
}

#[actix_rt::test]
async fn a_compressed_object_that_was_cut_off_is_an_error_and_not_an_end() {
    let bytes = gzip(&csv(0..5_000));
    let store = memory(&[("a.csv.gz", &bytes[..bytes.len() / 2])]).await;
    let error = ids(&Objects::at("memory:///a.csv.gz").store(store).csv::<Row>()).await.unwrap_err();
    assert_eq!(error.kind(), SourceErrorKind::Corrupt, "{error}");
}

#[actix_rt::test]
async fn no_range_reaches_beyond_the_end_and_no_byte_is_asked_for_twice() {
    let text = csv(0..5_000);
    let store = Asked::with(&[("a.csv", &text)]).await;
    let source = Objects::at("memory:///a.csv").store(store.given()).block_bytes(1_000).csv::<Row>();
    let chunks = read_range(&source, &Range::all(), 100).await.unwrap();
    assert_eq!(chunks.iter().map(|(rows, _)| rows.len()).sum::<usize>(), 5_000);
    let mut next = 0;
    for (_, range) in store.ranges() {
        let range = range.unwrap();
        assert_eq!(range.start, next);
        assert!(range.end <= text.len() as u64 && range.end - range.start <= 1_000, "{range:?}");
        next = range.end;
    }
    assert_eq!(next, text.len() as u64);
}

#[actix_rt::test]
async fn blocks_are_not_asked_for_long_before_they_are_read() {
    let text = csv(0..5_000);
    let store = Asked::with(&[("a.csv", &text)]).await;
    let source = Objects::at("memory:///a.csv").store(store.given()).block_bytes(1_000);
    let files = source.list().await.unwrap();
    let mut blocks = source.open(&files[0], 0).await.unwrap();
    let mut bytes = Vec::new();
    actix_batch_pipeline::source::Blocks::read(&mut blocks, &mut bytes).await.unwrap();
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(store.ranges().len() <= 3, "one that is read, and two ahead");
}

#[actix_rt::test]
async fn a_run_that_goes_on_asks_for_the_beginning_and_for_what_follows_the_cursor() {
    let text = csv(0..200_000);
    let store = Asked::with(&[("a.csv", &text)]).await;
    let source = Objects::at("memory:///a.csv").store(store.given()).csv::<Row>();
    let chunks = read_range(&source, &Range::all(), 150_000).await.unwrap();
    store.ranges();
    let from: actix_batch_pipeline::source::TextCursor = serde_json::from_value(chunks[0].1.clone()).unwrap();
    let rest = read_range(&source, &Range { from: Some(from.clone()), to: None }, 100_000).await.unwrap();
    assert_eq!(rest[0].0, numbers(150_000..200_000));
    let ranges: Vec<_> = store.ranges().into_iter().map(|(_, range)| range.unwrap()).collect();
    assert_eq!(ranges.iter().find(|range| range.start > 512 * 1024).unwrap().start, from.byte - 256);
}

#[actix_rt::test]
async fn objects_that_are_not_there_are_refused_by_name() {
    let store = memory(&[("a.csv", b"id\n1\n")]).await;
    for (url, message) in [
        ("memory:///b.csv", "memory:///b.csv does not exist"),
        ("memory:///b/", "no object matches memory:///b/"),
        ("memory:///*.jsonl", "no object matches memory:///*.jsonl"),
    ] {
        let error = ids(&Objects::at(url).store(Arc::clone(&store)).csv::<Row>()).await.unwrap_err();
        assert_eq!((error.kind(), error.to_string().as_str()), (SourceErrorKind::Config, message));
    }
}

#[actix_rt::test]
async fn a_missing_column_is_refused_before_anything_is_read_and_later_ones_by_the_object_s_name() {
    let store = memory(&[("a.csv", b"id\n1\n"), ("b.csv", b"name\n2\n")]).await;
    let at = |url: &str| Objects::at(url).store(Arc::clone(&store)).csv::<Row>();
    let error = at("memory:///b.csv").identity().await.unwrap_err();
    assert!(error.to_string().contains("memory:///b.csv") && error.to_string().contains("id"), "{error}");
    let error = ids(&at("memory:///")).await.unwrap_err();
    assert!(error.to_string().contains("memory:///b.csv"), "{error}");
}

/// Reads 100 rows of `a.csv` and `b.csv`, changes something, and goes on.
async fn resumed(change: impl AsyncFnOnce(&dyn ObjectStore)) -> Result<u64, RunError> {
    let (a, b) = (csv(0..80), csv(80..200));
    let store = memory(&[("a.csv", a.as_bytes()), ("b.csv", b.as_bytes())]).await;
    let (folder, place) = (tempfile::tempdir().unwrap(), MemoryStore::default());
    let pipeline = || {
        let place = place.clone();
        let source = Objects::at("memory:///*.csv").store(Arc::clone(&store)).csv::<Row>();
        let flow = Pipeline::named("resumed").read(source).write(for_each(|_: &Row| ()));
        flow.accept_duplicates(true).chunk(50).checkpoint_store(move || Box::new(place.clone()))
    };
    assert_eq!(pipeline().max_records(100).run().await?.read, 100);
    change(&*store).await;
    let report = pipeline().run().await?;
    drop(folder);
    Ok(report.read)
}

#[actix_rt::test]
async fn objects_that_came_after_the_others_are_read_on() {
    let read = resumed(async |store| {
        store.put(&"c.csv".into(), csv(0..7).into()).await.unwrap();
    });
    assert_eq!(read.await.unwrap(), 107);
}

#[actix_rt::test]
async fn objects_that_changed_are_gone_or_came_between_are_refused_by_name() {
    let changed = resumed(async |store| {
        store.put(&"b.csv".into(), csv(80..200).into()).await.unwrap();
    });
    let gone = resumed(async |store| store.delete(&"b.csv".into()).await.unwrap());
    let between = resumed(async |store| {
        store.put(&"aa.csv".into(), csv(0..7).into()).await.unwrap();
    });
    let cases = [
        (changed.await, "memory:///b.csv has changed: it had the ETag"),
        (gone.await, "memory:///b.csv is gone"),
        (between.await, "the checkpoint knows memory:///b.csv where there is memory:///aa.csv now"),
    ];
    for (resumed, message) in cases {
        match resumed {
            Err(RunError::Source(error)) => {
                assert_eq!(error.kind(), SourceErrorKind::Changed);
                assert!(error.to_string().contains(message) && error.to_string().contains("`fresh`"), "{error}");
            }
            other => panic!("{message}: {other:?}"),
        }
    }
}

#[actix_rt::test]
async fn an_object_that_changes_while_it_is_read_is_refused_by_name() {
    let store = memory(&[("a.csv", csv(0..5_000).as_bytes())]).await;
    let source = Objects::at("memory:///a.csv").store(Arc::clone(&store)).block_bytes(1_000).csv::<Row>();
    let mut reader = source.open(&Range::all()).await.unwrap();
    let mut chunk = actix_batch_pipeline::source::Chunk::new(0, 0);
    actix_batch_pipeline::source::Reader::read(&mut reader, &mut chunk, 10).await.unwrap();
    store.put(&"a.csv".into(), csv(5_000..10_000).into()).await.unwrap();
    let error = loop {
        let mut chunk = actix_batch_pipeline::source::Chunk::new(0, 0);
        match actix_batch_pipeline::source::Reader::read(&mut reader, &mut chunk, 100).await {
            Ok(_) => assert!(chunk.records().iter().all(|row| row.id < 5_000), "no record of the other object"),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), SourceErrorKind::Changed);
    assert!(error.to_string().starts_with("memory:///a.csv has changed"), "{error}");
}

#[actix_rt::test]
async fn a_source_is_serde_data_without_its_secrets() {
    let source = Objects::at("https://me:secret@host/a.csv").option("aws_secret_access_key", "secret").csv::<Row>();
    let text = serde_json::to_string(&source).unwrap();
    assert!(!text.contains("secret") && text.contains("https://host/a.csv"), "{text}");
    assert!(!format!("{source:?}").contains("\"secret\""));
    assert_eq!(source.describe(), "csv:https://host/a.csv");
    let text = r#"{"paths": {"url": "s3://bucket/*.csv", "options": {"aws_region": "eu-central-1"}}, "delimiter": 59}"#;
    let source: Csv<Row, Objects> = serde_json::from_str(text).unwrap();
    assert_eq!(source.describe(), "csv:s3://bucket/*.csv");
    assert!(serde_json::from_str::<Objects>(r#"{"url": "s3://bucket/", "colour": 1}"#).is_err());
}

#[actix_rt::test]
async fn rejected_records_name_their_object_line_and_byte() {
    let store = memory(&[("a.csv", b"id\n1\ntwo\n3\n")]).await;
    let folder = tempfile::tempdir().unwrap();
    let letters = folder.path().join("rejected.jsonl");
    let flow = Pipeline::named("rows").read(Objects::at("memory:///a.csv").store(store).csv::<Row>());
    let target = JsonLinesFile::create(folder.path().join("rows.jsonl"));
    let report = flow.write(target).dead_letters(&letters).run().await.unwrap();
    assert_eq!((report.written, report.rejected), (2, 1));
    assert!(std::fs::read_to_string(letters).unwrap().contains("memory:///a.csv, line 3, byte 5"));
}
