//! Parts as a sink: published whole or not at all, each record once, and nothing left behind.

use std::{sync::Arc, time::Duration};

use actix_batch_object_store::{ObjectParts, Objects};
use actix_batch_pipeline::{prelude::*, read_dead_records, sink::IntoSink, source::Source, test_util::check_sink};
use futures_util::TryStreamExt;
use object_store::{ObjectStore, ObjectStoreExt, local::LocalFileSystem, memory::InMemory};
use serde::Serialize;
use serde_json::Value;

use support::{Asked, At, Row, paused};

mod support;

fn row(id: u64) -> Row {
    Row { id }
}

fn memory() -> Arc<dyn ObjectStore> {
    Arc::new(InMemory::new())
}

fn parts(store: &Arc<dyn ObjectStore>) -> ObjectParts {
    ObjectParts::json_lines("memory:///out").store(Arc::clone(store)).part_bytes(300)
}

/// A run of the numbers below `count`, or of so many of them.
async fn run(count: u64, limit: Option<u64>, sink: ObjectParts) -> Result<Report, RunError> {
    run_as("rows", count, limit, sink, false).await
}

async fn run_as(
    name: &str,
    count: u64,
    limit: Option<u64>,
    sink: ObjectParts,
    fresh: bool,
) -> Result<Report, RunError> {
    let flow = Pipeline::named(name).read(from_iter("rows", move || 0..count)).map(row);
    let pipeline = flow.write(sink).chunk(10).collector(|sink| sink.max_size(10)).fresh(fresh);
    let pipeline = pipeline.checkpoint_every(Duration::from_millis(1));
    match limit {
        Some(limit) => pipeline.max_records(limit).run().await,
        None => pipeline.run().await,
    }
}

/// All keys.
async fn keys(store: &dyn ObjectStore) -> Vec<String> {
    let found: Vec<_> = store.list(None).try_collect().await.unwrap();
    let mut keys: Vec<_> = found.into_iter().map(|found| found.location.to_string()).collect();
    keys.sort();
    keys
}

async fn text(store: &dyn ObjectStore, key: &str) -> String {
    let bytes = store.get(&key.into()).await.unwrap().bytes().await.unwrap();
    String::from_utf8(bytes.to_vec()).unwrap()
}

async fn manifest(store: &dyn ObjectStore) -> Value {
    serde_json::from_str(&text(store, "out/manifest.json").await).unwrap()
}

/// The ids of what is published, in their order.
async fn published(store: &Arc<dyn ObjectStore>) -> Vec<u64> {
    let source = Objects::published("memory:///out").store(Arc::clone(store)).json_lines::<Row>();
    support::ids(&source).await.unwrap()
}

#[actix_rt::test]
async fn a_data_set_is_published_when_it_is_complete_and_not_before() {
    let store = memory();
    let report = run(100, Some(55), parts(&store)).await.unwrap();
    assert_eq!((report.ended, report.written, report.guarantee), (Ended::Stopped, 55, Guarantee::Once));
    assert!(keys(&*store).await.iter().all(|key| key.starts_with("out/_staging/rows/")));
    assert_eq!(run(100, None, parts(&store)).await.unwrap().ended, Ended::Complete);
    assert_eq!(published(&store).await, (0..100).collect::<Vec<_>>());
}

#[actix_rt::test]
async fn after_publishing_there_are_the_parts_the_manifest_and_the_checkpoint_and_nothing_else() {
    let store = memory();
    for limit in [Some(25), Some(40), None] {
        run(100, limit, parts(&store)).await.unwrap();
    }
    let manifest = manifest(&*store).await;
    assert_eq!((&manifest["pipeline"], &manifest["records"]), (&"rows".into(), &100.into()));
    let listed = manifest["parts"].as_array().unwrap();
    assert!(listed.len() > 2, "{listed:?}");
    let mut expected: Vec<_> = listed.iter().map(|part| format!("out/{}", part["object"].as_str().unwrap())).collect();
    expected.extend(["out/_staging/rows/checkpoint.json".to_owned(), "out/manifest.json".to_owned()]);
    expected.sort();
    assert_eq!(keys(&*store).await, expected);
    for part in listed {
        let text = text(&*store, &format!("out/{}", part["object"].as_str().unwrap())).await;
        assert_eq!((text.len(), text.lines().count()), (number(&part["bytes"]), number(&part["records"])));
    }
}

fn number(value: &Value) -> usize {
    usize::try_from(value.as_u64().unwrap()).unwrap()
}

#[actix_rt::test]
async fn parts_have_the_size_that_was_asked_for_also_if_checkpoints_came_between() {
    let store = memory();
    for limit in [Some(7), Some(8), Some(9), Some(30), None] {
        run(100, limit, parts(&store)).await.unwrap();
    }
    let sizes: Vec<_> =
        manifest(&*store).await["parts"].as_array().unwrap().iter().map(|part| number(&part["bytes"])).collect();
    let (last, whole) = sizes.split_last().unwrap();
    assert!(whole.iter().all(|bytes| (300..420).contains(bytes)) && *last < 420, "{sizes:?}");
}

#[actix_rt::test]
async fn a_complete_run_that_is_started_again_changes_nothing() {
    let store = memory();
    run(100, None, parts(&store)).await.unwrap();
    let before = (keys(&*store).await, manifest(&*store).await);
    let report = run(100, None, parts(&store)).await.unwrap();
    assert_eq!((report.read, report.ended), (0, Ended::Complete));
    assert_eq!((keys(&*store).await, manifest(&*store).await), before);
}

#[actix_rt::test]
async fn records_that_come_after_publishing_are_added() {
    let store = memory();
    run(100, None, parts(&store)).await.unwrap();
    let report = run(150, None, parts(&store)).await.unwrap();
    assert_eq!(report.read, 50);
    assert_eq!(published(&store).await, (0..150).collect::<Vec<_>>());
}

#[actix_rt::test]
async fn a_fresh_run_takes_the_place_of_the_data_set_before_and_removes_its_parts() {
    let store = memory();
    run(100, None, parts(&store)).await.unwrap();
    let old = keys(&*store).await;
    run_as("rows", 50, Some(20), parts(&store), true).await.unwrap();
    assert_eq!(published(&store).await.len(), 100, "the old data set is there until the new one is complete");
    run(50, None, parts(&store)).await.unwrap();
    assert_eq!(published(&store).await, (0..50).collect::<Vec<_>>());
    let new = keys(&*store).await;
    assert!(old.iter().filter(|key| key.contains("part-")).all(|key| !new.contains(key)), "{new:?}");
}

#[actix_rt::test]
async fn an_empty_data_set_is_published_as_such() {
    let store = memory();
    run(0, None, parts(&store)).await.unwrap();
    assert_eq!(manifest(&*store).await["records"], 0);
    assert!(manifest(&*store).await["parts"].as_array().unwrap().is_empty());
}

#[actix_rt::test]
async fn each_part_of_csv_has_a_header_of_its_own() {
    let store = memory();
    for limit in [Some(33), None] {
        let sink = ObjectParts::csv("memory:///out").store(Arc::clone(&store)).part_bytes(50);
        run(100, limit, sink).await.unwrap();
    }
    let source = Objects::published("memory:///out").store(Arc::clone(&store)).csv::<Row>();
    assert_eq!(support::ids(&source).await.unwrap(), (0..100).collect::<Vec<_>>());
    assert!(manifest(&*store).await["parts"].as_array().unwrap().len() > 3);
}

#[actix_rt::test]
async fn a_record_that_cannot_be_a_row_is_rejected_alone() {
    #[derive(Serialize)]
    struct Nested {
        id: u64,
        more: Option<std::collections::BTreeMap<String, u64>>,
    }
    let (store, folder) = (memory(), tempfile::tempdir().unwrap());
    let letters = folder.path().join("rejected.jsonl");
    let nested = |id| Nested { id, more: (id == 1).then(|| [("a".to_owned(), 1)].into()) };
    let flow = Pipeline::named("rows").read(from_iter("rows", || 0..3)).map(nested);
    let sink = ObjectParts::csv("memory:///out").store(Arc::clone(&store));
    let report = flow.write(sink).dead_letters(&letters).run().await.unwrap();
    assert_eq!((report.written, report.rejected), (2, 1));
    assert_eq!(read_dead_records(&letters).unwrap()[0].position.record, 1);
    assert_eq!(manifest(&*store).await["records"], 2);
}

#[actix_rt::test]
async fn parts_of_a_dead_run_are_removed_by_the_next_one() {
    let store = memory();
    run(100, Some(55), parts(&store)).await.unwrap();
    for name in ["part-00009-dead.jsonl", "piece-00003-dead.jsonl"] {
        store.put(&format!("out/_staging/rows/{name}").into(), "{\"id\":7}\n".into()).await.unwrap();
    }
    run(100, Some(1), parts(&store)).await.unwrap();
    assert!(keys(&*store).await.iter().all(|key| !key.contains("dead")));
    run(100, None, parts(&store)).await.unwrap();
    assert_eq!(published(&store).await, (0..100).collect::<Vec<_>>());
}

#[actix_rt::test]
async fn a_listed_object_that_is_gone_or_shorter_is_refused_by_name() {
    for gone in [true, false] {
        let store = memory();
        run(100, Some(55), parts(&store)).await.unwrap();
        let key = keys(&*store).await.into_iter().find(|key| key.contains("part-")).unwrap();
        if gone {
            store.delete(&key.as_str().into()).await.unwrap();
        } else {
            store.put(&key.as_str().into(), "{\"id\":7}\n".into()).await.unwrap();
        }
        let error = run(100, None, parts(&store)).await.unwrap_err().to_string();
        assert!(error.contains(&key) && error.contains("`fresh`"), "{error}");
        run_as("rows", 100, None, parts(&store), true).await.unwrap();
        assert_eq!(published(&store).await, (0..100).collect::<Vec<_>>());
    }
}

#[actix_rt::test]
async fn a_damaged_checkpoint_or_parts_without_one_are_never_a_first_run() {
    let checkpoint = "out/_staging/rows/checkpoint.json";
    let store = memory();
    run(100, Some(55), parts(&store)).await.unwrap();
    store.put(&checkpoint.into(), "{\"format\":1,".into()).await.unwrap();
    let error = run(100, None, parts(&store)).await.unwrap_err().to_string();
    assert!(error.contains(checkpoint) && error.contains("is no checkpoint"), "{error}");
    store.put(&checkpoint.into(), "{\"format\":2,\"holder\":\"x\",\"checkpoint\":null}".into()).await.unwrap();
    let error = run(100, None, parts(&store)).await.unwrap_err().to_string();
    assert!(error.contains("a newer version"), "{error}");
    store.delete(&checkpoint.into()).await.unwrap();
    let error = run(100, None, parts(&store)).await.unwrap_err().to_string();
    assert!(error.contains("without their checkpoint"), "{error}");
}

#[actix_rt::test]
async fn the_data_set_of_another_pipeline_is_refused_by_name_and_stays() {
    let store = memory();
    run(100, None, parts(&store)).await.unwrap();
    let error = run_as("others", 5, None, parts(&store), false).await.unwrap_err().to_string();
    assert!(error.contains("belongs to the pipeline `rows`"), "{error}");
    let error = run_as("others", 5, None, parts(&store), true).await.unwrap_err().to_string();
    assert!(error.contains("belongs to the pipeline `rows`"), "{error}");
    assert_eq!(published(&store).await.len(), 100);
}

#[actix_rt::test]
async fn a_run_that_was_overtaken_stores_and_publishes_nothing_more() {
    let store = memory();
    let flow = Pipeline::named("rows").read(from_iter("rows", || 0..100)).map(row);
    let old = flow.write(parts(&store)).chunk(10).checkpoint_every(Duration::from_millis(1)).start().unwrap();
    old.pause().await.unwrap();
    run(100, None, parts(&store)).await.unwrap();
    let before = keys(&*store).await;
    // If it has not noticed yet, it goes on.
    let _ = old.resume().await;
    let error = old.report().await.unwrap_err().to_string();
    assert!(error.contains("another run of this pipeline has taken over"), "{error}");
    assert_eq!(published(&store).await, (0..100).collect::<Vec<_>>());
    assert_eq!(keys(&*store).await, before);
}

#[actix_rt::test]
async fn a_store_that_can_only_overwrite_is_asked_who_wrote_last() {
    let store = Asked::plain().given();
    for limit in [Some(30), Some(30), None] {
        run(100, limit, parts(&store)).await.unwrap();
    }
    assert_eq!(published(&store).await, (0..100).collect::<Vec<_>>());
    let flow = Pipeline::named("rows").read(from_iter("rows", || 0..200)).map(row);
    let old = flow.write(parts(&store)).checkpoint_every(Duration::from_millis(1)).start().unwrap();
    old.pause().await.unwrap();
    run(150, None, parts(&store)).await.unwrap();
    let _ = old.resume().await;
    let error = old.report().await.unwrap_err().to_string();
    assert!(error.contains("another run of this pipeline has taken over"), "{error}");
    assert_eq!(published(&store).await, (0..150).collect::<Vec<_>>());
}

/// All keys that a data set which is complete has, and no other.
async fn keys_of_the_manifest(store: &dyn ObjectStore) -> Vec<String> {
    let manifest = manifest(store).await;
    let parts = manifest["parts"].as_array().unwrap().iter();
    let mut keys: Vec<_> = parts.map(|part| format!("out/{}", part["object"].as_str().unwrap())).collect();
    keys.extend(["out/_staging/rows/checkpoint.json".to_owned(), "out/manifest.json".to_owned()]);
    keys.sort();
    keys
}

#[actix_rt::test]
async fn a_run_that_is_overtaken_while_it_publishes_does_not_replace_the_manifest() {
    // A store that can only overwrite leaves a moment between asking and storing.
    for (asked, at) in [(Asked::default(), At::Copied), (Asked::plain(), At::Copied), (Asked::default(), At::Manifest)]
    {
        for has_published in [false, true] {
            let store = asked.given();
            if has_published {
                run_as("rows", 5, None, parts(&store), true).await.unwrap();
            }
            let (gated, gate) = asked.gated(at);
            let flow = Pipeline::named("rows").read(from_iter("rows", || 0..10)).map(row);
            let old = flow.write(parts(&gated)).start().unwrap();
            gate.reached.notified().await;
            run_as("rows", 7, None, parts(&store), true).await.unwrap();
            gate.go_on.notify_one();
            let error = old.report().await.unwrap_err().to_string();
            assert!(error.contains("another run of this pipeline has taken over"), "{at:?}: {error}");
            assert_eq!(published(&store).await, (0..7).collect::<Vec<_>>(), "{at:?}");
            assert_eq!(keys(&*store).await, keys_of_the_manifest(&*store).await, "{at:?}");
        }
    }
}

#[actix_rt::test]
async fn a_fresh_run_removes_what_was_copied_and_never_published() {
    let asked = Asked::default();
    let store = asked.given();
    run(20, None, parts(&store)).await.unwrap();
    let error = run(90, None, parts(&asked.refusing("manifest.json"))).await.unwrap_err().to_string();
    assert!(error.contains("out/manifest.json"), "{error}");
    assert_eq!(published(&store).await, (0..20).collect::<Vec<_>>());
    run_as("rows", 50, Some(20), parts(&store), true).await.unwrap();
    assert_eq!(published(&store).await, (0..20).collect::<Vec<_>>(), "what was published stays until then");
    run(50, None, parts(&store)).await.unwrap();
    assert_eq!(published(&store).await, (0..50).collect::<Vec<_>>());
    assert_eq!(keys(&*store).await, keys_of_the_manifest(&*store).await);
}

#[actix_rt::test]
async fn parts_that_a_run_has_replaced_and_not_removed_are_removed_by_the_next_one() {
    for fresh in [false, true] {
        let asked = Asked::default();
        let store = asked.given();
        run(20, None, parts(&store)).await.unwrap();
        // As if it were killed after its manifest.
        run_as("rows", 50, None, parts(&asked.keeping()), true).await.unwrap();
        run_as("rows", 50, None, parts(&store), fresh).await.unwrap();
        assert_eq!(published(&store).await, (0..50).collect::<Vec<_>>());
        assert_eq!(keys(&*store).await, keys_of_the_manifest(&*store).await, "fresh: {fresh}");
    }
}

#[actix_rt::test]
async fn a_data_set_is_refused_to_runs_that_copy_ranges_of_it() {
    let flow = Pipeline::named("rows").read(from_iter("rows", || 0..100)).map(row);
    let error = flow.write(parts(&memory())).build().ranges(None, 10, 10).await.unwrap_err().to_string();
    assert!(error.contains("json-lines:memory:///out/") && error.contains("many processes"), "{error}");
}

#[actix_rt::test]
async fn a_password_is_never_shown_and_never_stored() {
    // Whether it is refused: the others are not asked for.
    for (url, is_wrong) in [
        ("https://me:s3cret@host/a", false),
        ("https://me:s3c@h4lf@host/a", false),
        ("https://me:s3c/h4lf@host/a", true),
        ("https://me:s3c@h4lf/s3cret@host/a", true),
        ("HTTPS://host/a?signature=s3cret", true),
        ("s3://me:s3c/h4lf@bucket/a", true),
        ("s3://me:s3cret@bucket/a", true),
        ("me:s3c/h4lf@host/a", true),
        ("me:s3cret@host/a", true),
        ("me:s3c://h4lf@host/a", true),
        ("https://me:s3cret@host:h4lf/a", true),
        ("s3://me:s3cret/a", true),
    ] {
        let (source, sink) = (Objects::at(url), ObjectParts::csv(url));
        let failed = run(5, None, sink.clone()).await.unwrap_err();
        let mut said = vec![
            format!("{failed} {failed:?} {source:?} {sink:?}"),
            serde_json::to_string(&source).unwrap(),
            serde_json::to_string(&sink).unwrap(),
            source.clone().json_lines::<Row>().describe(),
            IntoSink::<Row>::describe(&sink),
        ];
        if is_wrong {
            said.push(support::ids(&source.json_lines::<Row>()).await.unwrap_err().to_string());
        }
        let said = said.join(" ");
        assert!(!said.contains("s3c") && !said.contains("h4lf"), "{url}: {said}");
    }
}

#[actix_rt::test]
async fn a_part_or_a_piece_that_could_not_be_stored_is_stored_again_or_by_the_next_run() {
    for each in [3, 5, 11] {
        let store = Asked::losing(each);
        let mut failures = 0;
        while let Err(error) = run(200, None, parts(&store)).await {
            failures += 1;
            assert!(failures < 200 && error.to_string().contains("cannot"), "{error}");
        }
        assert!(failures > 0, "the store loses objects");
        // A batch that is tried again may come after others.
        let mut published = published(&store).await;
        published.sort_unstable();
        assert_eq!(published, (0..200).collect::<Vec<_>>());
    }
}

#[actix_rt::test]
async fn two_runs_on_the_files_of_one_machine_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("file://{}/out", folder.path().display());
    let flow = Pipeline::named("rows").read(from_iter("rows", || 0..100)).map(row);
    let first = flow.write(ObjectParts::json_lines(&url)).start().unwrap();
    first.pause().await.unwrap();
    let error = run(100, None, ObjectParts::json_lines(&url)).await.unwrap_err().to_string();
    assert!(error.contains("another run of this pipeline is going on"), "{error}");
    first.resume().await.unwrap();
    first.report().await.unwrap();
}

#[actix_rt::test]
async fn a_url_that_can_only_be_read_or_is_a_pattern_is_refused() {
    let error = run(5, None, ObjectParts::json_lines("file:///tmp/out*")).await.unwrap_err().to_string();
    assert!(error.contains("file:///tmp/out*/ is a pattern"), "{error}");
    let error = run(5, None, ObjectParts::json_lines("https://host/out")).await.unwrap_err().to_string();
    assert!(error.contains("https://host/out"), "{error}");
}

#[test]
fn the_kit_finds_each_number_once_whatever_fails() {
    paused(async || {
        let stores: Vec<_> = (0..40).map(|_| memory()).collect();
        let of = |seed: u64| &stores[usize::try_from(seed).unwrap()];
        check_sink(0..40, row, |seed| parts(of(seed)), async |seed| published(of(seed)).await).await;
        for store in &stores {
            assert!(
                keys(&**store).await.iter().all(|key| !key.contains("piece-") && !key.contains("staging/check/part"))
            );
        }
    });
}

#[test]
fn the_kit_finds_each_number_once_in_files() {
    paused(async || {
        let folder = tempfile::tempdir().unwrap();
        let url = |seed: u64| format!("file://{}/{seed}", folder.path().display());
        let make = |seed: u64| ObjectParts::csv(url(seed)).part_bytes(200);
        let read = async |seed: u64| support::ids(&Objects::published(url(seed)).csv::<Row>()).await.unwrap();
        check_sink(0..6, row, make, read).await;
    });
}

#[actix_rt::test]
async fn a_sink_is_serde_data_without_its_secrets() {
    let sink = ObjectParts::csv("s3://bucket/out").option("aws_secret_access_key", "verysecret");
    let text = serde_json::to_string(&sink).unwrap();
    assert!(!text.contains("verysecret") && !format!("{sink:?}").contains("verysecret"));
    let again: ObjectParts = serde_json::from_str(&text).unwrap();
    assert_eq!(serde_json::to_string(&again).unwrap(), text);
}

#[actix_rt::test]
async fn files_of_this_machine_are_published_like_objects() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("file://{}/out", folder.path().display());
    for limit in [Some(30), None] {
        run(100, limit, ObjectParts::json_lines(&url).part_bytes(300)).await.unwrap();
    }
    let store = LocalFileSystem::new_with_prefix(folder.path()).unwrap();
    assert_eq!(manifest(&store).await["records"], 100);
    let source = Objects::published(&url).json_lines::<Row>();
    assert_eq!(support::ids(&source).await.unwrap(), (0..100).collect::<Vec<_>>());
}
