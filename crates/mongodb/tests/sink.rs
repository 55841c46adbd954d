//! The sink on a real server: each document once, and a refused one fails alone.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use actix_batch::Workers;
use actix_batch_mongodb::MongoDb;
use actix_batch_pipeline::{outlet::One, prelude::*, read_dead_records, test_util::check_sink};
use futures_util::future::join_all;
use mongodb::{
    IndexModel,
    bson::{Document, doc},
    options::IndexOptions,
};
use serde::Serialize;
use serde_json::json;
use tempfile::TempDir;

use support::{Server, connect, documents, numbers, proxy::Proxy};

mod support;

#[derive(Debug, Clone, Serialize)]
struct Row {
    id: i64,
    name: String,
}

fn row(id: i64) -> Row {
    Row { id, name: format!("row {id}") }
}

/// A record with an `_id` of its own.
#[derive(Debug, Clone, Serialize)]
struct Own {
    _id: i64,
    name: String,
}

fn own(id: i64) -> Own {
    Own { _id: id, name: format!("row {id}") }
}

/// The test server hangs when updates of more than 100 documents are open at once: batches are small.
async fn run<T: Serialize + Send + Sync + 'static>(
    name: &str,
    rows: impl Fn() -> Vec<T> + Send + Sync + 'static,
    sink: MongoDb,
) -> Result<Report, RunError> {
    let flow = Pipeline::named(name).read(from_iter("rows", rows)).write(sink);
    flow.collector(|sink| sink.max_size(40)).run().await
}

fn unique() -> IndexOptions {
    IndexOptions::builder().unique(true).build()
}

async fn make_index(uri: &str, keys: Document) {
    let index = IndexModel::builder().keys(keys).options(unique()).build();
    connect(uri).await.collection::<Document>("rows").create_index(index).await.unwrap();
}

#[actix_rt::test]
async fn documents_are_inserted_or_upserted_by_id_or_by_other_fields() {
    let Some(server) = Server::start() else { return };
    let uri = server.database();
    let insert = MongoDb::insert("rows").connect(&uri);
    let first = run("first", || (0..100).map(row).collect(), insert.clone()).await.unwrap();
    assert_eq!((first.written, first.guarantee), (100, Guarantee::OnceByKey));
    assert_eq!(run("second", || (0..50).map(row).collect(), insert).await.unwrap().written, 50);
    let all = documents(&uri, "rows").await;
    assert_eq!(all.len(), 150, "another pipeline's documents are others");
    assert_eq!(all[0], doc! { "_id": "first/0/000000000000", "id": 0_i64, "name": "row 0" });

    let uri = server.database();
    let upsert = MongoDb::upsert("rows").connect(&uri);
    run("first", || (0..100).map(own).collect(), upsert.clone()).await.unwrap();
    let again = || (50..150).map(|id| Own { name: "new".to_owned(), ..own(id) }).collect();
    run("second", again, upsert).await.unwrap();
    let all = documents(&uri, "rows").await;
    let new = all.iter().filter(|document| document.get_str("name").is_ok_and(|name| name == "new"));
    assert_eq!((all.len(), new.count()), (150, 100));

    let uri = server.database();
    let upsert = MongoDb::upsert("rows").key(["id"]).create_index(true).connect(&uri);
    run("first", || (0..100).map(row).collect(), upsert.clone()).await.unwrap();
    let ids =
        |documents: Vec<Document>| documents.iter().map(|one| one.get_object_id("_id").unwrap()).collect::<Vec<_>>();
    let before = ids(documents(&uri, "rows").await);
    run("second", || (0..100).map(|id| Row { name: "new".to_owned(), ..row(id) }).collect(), upsert).await.unwrap();
    let after = documents(&uri, "rows").await;
    assert!(after.iter().all(|document| document.get_str("name").is_ok_and(|name| name == "new")));
    assert_eq!(ids(after), before, "documents keep their `_id`s");
}

#[actix_rt::test]
async fn the_last_record_of_a_key_wins_within_a_batch() {
    let Some(server) = Server::start() else { return };
    let uri = server.database();
    let rows = || (0..300).map(|number| Row { id: number % 10, name: number.to_string() }).collect();
    let report = run("rows", rows, MongoDb::upsert("rows").key(["id"]).create_index(true).connect(&uri)).await.unwrap();
    assert_eq!(report.written, 300);
    let mut all: Vec<_> =
        documents(&uri, "rows").await.iter().map(|one| one.get_str("name").unwrap().to_owned()).collect();
    all.sort();
    assert_eq!(all, (290..300).map(|number| number.to_string()).collect::<Vec<_>>());
}

#[actix_rt::test]
async fn a_duplicate_is_the_error_of_its_record_and_the_others_are_written() {
    let Some(server) = Server::start() else { return };
    let (uri, folder) = (server.database(), TempDir::new().unwrap());
    make_index(&uri, doc! { "name": 1 }).await;
    let there = [
        doc! { "_id": 3_i64, "name": "another" },
        doc! { "_id": 1_000_i64, "name": "row 7" },
        doc! { "_id": 5_i64, "name": "row 5" },
    ];
    connect(&uri).await.collection::<Document>("rows").insert_many(there).await.unwrap();
    let letters = folder.path().join("rejected.jsonl");
    let flow = Pipeline::named("rows").read(from_iter("rows", || (0..100).map(own)));
    let report = flow.write(MongoDb::insert("rows").connect(&uri)).dead_letters(&letters).run().await.unwrap();
    // Number 5 is there with the same content: that is what a lost answer leaves.
    assert_eq!((report.written, report.rejected, report.batches), (98, 2, 1));
    assert_eq!(documents(&uri, "rows").await.len(), 100);
    let mut said: Vec<_> =
        read_dead_records(&letters).unwrap().into_iter().map(|letter| (letter.position.record, letter.error)).collect();
    said.sort();
    assert!(said[0].0 == 3 && said[0].1.contains("another document with `_id` 3"), "{said:?}");
    assert!(said[1].0 == 7 && said[1].1.contains("same unique key"), "{said:?}");
}

#[actix_rt::test]
async fn an_upsert_that_another_unique_index_refuses_is_rejected_alone() {
    let Some(server) = Server::start() else { return };
    let uri = server.database();
    make_index(&uri, doc! { "name": 1 }).await;
    let rows = || (0..40).map(|id| Own { name: format!("row {}", if id == 9 { 4 } else { id }), ..own(id) }).collect();
    let report = run("rows", rows, MongoDb::upsert("rows").connect(&uri)).await.unwrap();
    assert_eq!((report.written, report.rejected, report.batches), (39, 1, 1));
    assert_eq!(documents(&uri, "rows").await.len(), 39);
    // The record before it has the same key, and is stored in its place.
    let rows = || vec![own(100), Own { name: "row 4".to_owned(), ..own(100) }];
    let report = run("more", rows, MongoDb::upsert("rows").connect(&uri)).await.unwrap();
    assert_eq!((report.written, report.rejected), (1, 1));
    assert_eq!(documents(&uri, "rows").await.last(), Some(&doc! { "_id": 100_i64, "name": "row 100" }));
}

#[actix_rt::test]
async fn records_that_are_no_documents_are_rejected_without_a_look_at_the_others() {
    let Some(server) = Server::start() else { return };
    let uri = server.database();
    let rows = || {
        let large = "x".repeat(16 * 1024 * 1024);
        vec![json!({ "k": 1 }), json!([1]), json!("text"), json!({ "k": u64::MAX }), json!({ "k": 2, "large": large })]
    };
    let report = run("rows", rows, MongoDb::insert("rows").connect(&uri)).await.unwrap();
    assert_eq!((report.written, report.rejected, report.batches), (1, 4, 1));
    let rows =
        || vec![json!({ "k": 3 }), json!({ "k": null }), json!({}), json!({ "k": [1] }), json!({ "k": 4, "$set": {} })];
    let sink = MongoDb::upsert("rows").key(["k"]).create_index(true).connect(&uri);
    let report = run("more", rows, sink).await.unwrap();
    assert_eq!((report.written, report.rejected, report.batches), (1, 4, 1));
    assert_eq!(numbers(&uri, "rows", "k").await.len(), 2);
}

#[actix_rt::test]
async fn a_record_that_is_too_large_with_its_id_is_rejected_alone() {
    let Some(server) = Server::start() else { return };
    let uri = server.database();
    // 17 bytes of a document with one text, and 10 that are left of 16 MiB.
    let rows = || vec![json!({ "k": 1 }), json!({ "large": "x".repeat(16 * 1024 * 1024 - 27) }), json!({ "k": 2 })];
    let report = run("rows", rows, MongoDb::insert("rows").connect(&uri)).await.unwrap();
    assert_eq!((report.written, report.rejected), (2, 1));
}

#[actix_rt::test]
async fn a_document_in_a_key_is_never_read_as_a_condition() {
    let Some(server) = Server::start() else { return };
    let uri = server.database();
    let rows = || {
        vec![json!({ "_id": 1, "n": 1 }), json!({ "_id": { "$gt": 0 }, "n": 2 }), json!({ "_id": { "a": 1 }, "n": 3 })]
    };
    let report = run("rows", rows, MongoDb::upsert("rows").connect(&uri)).await.unwrap();
    // Servers differ on names that begin with `$`; none of them overwrites the first document.
    assert!(report.written >= 2, "{report}");
    assert_eq!(documents(&uri, "rows").await[0], doc! { "_id": 1_i64, "n": 1_i64 });
}

#[actix_rt::test]
async fn what_can_never_work_ends_the_run_by_name() {
    let Some(server) = Server::start() else { return };
    let uri = server.database();
    let said = async |sink: MongoDb| run("rows", || vec![row(1)], sink).await.unwrap_err().to_string();
    let unkeyed = said(MongoDb::upsert("rows").key(["id"]).connect(&uri)).await;
    assert!(unkeyed.contains("has no unique index on its key") && unkeyed.contains("createIndex"), "{unkeyed}");
    assert!(said(MongoDb::upsert("rows").key([""; 0]).connect(&uri)).await.contains("needs a key"));
    let nowhere = said(MongoDb::insert("rows").connect(format!("mongodb://127.0.0.1:{}", server.port))).await;
    assert!(nowhere.contains("there is no database"), "{nowhere}");
}

#[actix_rt::test]
async fn a_password_is_never_shown_and_never_stored() {
    let away = "serverSelectionTimeoutMS=50";
    for uri in [
        format!("mongodb://me:s3cret@127.0.0.1:1/geo?{away}"),
        "mongodb://me:s3cret/h4lf@127.0.0.1:1/geo".to_owned(),
        "mongodb://me:s3c:ret@127.0.0.1:s3cret/geo".to_owned(),
        "me:s3cret@localhost".to_owned(),
    ] {
        let sink = MongoDb::insert("rows").connect(&uri);
        let source = actix_batch_mongodb::MongoDbCollection::<Own>::named("rows").connect(&uri);
        let failed = run("rows", || vec![row(1)], sink.clone()).await.unwrap_err();
        let store = actix_batch_pipeline::sink::IntoSink::<Row>::store(
            &sink,
            &actix_batch_pipeline::checkpoint::RunId::new("rows".to_owned()),
        );
        let shown = format!(
            "{sink:?} {source:?} {} {} {failed} {failed:?} {store:?} {}",
            serde_json::to_string(&sink).unwrap(),
            serde_json::to_string(&source).unwrap(),
            actix_batch_pipeline::sink::IntoSink::<Row>::describe(&sink),
        );
        assert!(!shown.contains("s3c") && !shown.contains("h4lf"), "{shown}");
    }
}

#[actix_rt::test]
async fn each_record_is_stored_once_whatever_fails() {
    let Some(server) = Server::start() else { return };
    // All at once, each with a database of its own: most of the time workers that have panicked rest.
    let seeds = (0..6).map(async |seed: u64| {
        let (uri, mode) =
            (server.database(), ["insert", "upsert by id", "upsert by key"][usize::try_from(seed % 3).unwrap()]);
        let make = |_| {
            let sink = match mode {
                "insert" => MongoDb::insert("rows"),
                "upsert by id" => MongoDb::upsert("rows"),
                _ => MongoDb::upsert("rows").key(["id"]).create_index(true),
            };
            sink.connect(&uri)
        };
        let read = async |_| numbers(&uri, "rows", "id").await.into_iter().map(i64::unsigned_abs).collect();
        let by_id = mode == "upsert by id";
        let record = move |number: u64| {
            if by_id { json!({ "_id": number.to_string(), "id": number }) } else { json!({ "id": number }) }
        };
        check_sink(seed..seed + 1, record, make, read).await;
    });
    join_all(seeds).await;
}

#[actix_rt::test]
async fn a_lost_reply_is_no_duplicate() {
    let Some(server) = Server::start() else { return };
    let commands = [
        ("insert", ("insert", "rows")),
        ("own", ("insert", "rows")),
        ("upsert", ("update", "rows")),
        ("checkpoint", ("update", "_pipelines")),
    ];
    let modes = commands.into_iter().map(async |(mode, command)| {
        let (uri, proxy) = (server.database(), Proxy::start(server.port, command).await);
        let through = uri.replace(&server.port.to_string(), &proxy.port.to_string());
        let sink = if mode == "upsert" { MongoDb::upsert("rows") } else { MongoDb::insert("rows") };
        let (outlet, lose) = (One::new(sink.connect(through)), std::sync::Arc::clone(&proxy.lose));
        let outlet = outlet.collector(|sink| sink.max_size(50).workers(Workers::local(1)));
        let has_id = mode != "insert";
        let flow = Pipeline::named("rows").read(from_iter("rows", || 0..400_i64)).map(move |id| {
            if id % 100 == 50 {
                lose.store(true, Ordering::SeqCst);
            }
            if has_id { json!({ "_id": id, "n": id }) } else { json!({ "n": id }) }
        });
        let report = flow.write_to(outlet).chunk(50).look_ahead(50).checkpoint_every(Duration::from_millis(1)).run();
        let report = report.await.unwrap();
        assert_eq!((report.written, report.rejected), (400, 0), "{mode}");
        assert!(proxy.losses.load(Ordering::SeqCst) > 0, "{mode}: no reply was lost");
        let mut all = numbers(&uri, "rows", "n").await;
        all.sort_unstable();
        assert_eq!(all, (0..400).collect::<Vec<_>>(), "{mode}");
    });
    join_all(modes).await;
}

#[actix_rt::test]
async fn a_server_that_crashes_and_comes_back_loses_nothing() {
    let modes = ["insert", "upsert"].map(async |mode| {
        let Some(mut server) = Server::start() else { return };
        let uri = server.database();
        let pipeline = || {
            let retry = actix_batch::Retry::exponential(Duration::from_millis(50)).attempts(100);
            let sink = if mode == "insert" { MongoDb::insert("rows") } else { MongoDb::upsert("rows") };
            let outlet = One::new(sink.lease(Duration::from_millis(300)).connect(&uri));
            let outlet =
                outlet.collector(move |sink| sink.max_size(20).workers(Workers::local(2)).retry(retry.clone()));
            let rows = from_iter("rows", || (0..2_000).map(|n| json!({ "_id": format!("{n:04}"), "n": n })));
            Pipeline::named("rows").read(rows).throttle(2_000.0).write_to(outlet).chunk(50)
        };
        let run = pipeline().start().unwrap();
        while run.progress().written < 400 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        server.crash();
        server.up();
        // A checkpoint that cannot be saved ends the run, and the next one goes on.
        if run.report().await.is_err() {
            pipeline().run().await.unwrap();
        }
        assert_eq!(numbers(&uri, "rows", "n").await, (0..2_000).collect::<Vec<_>>(), "{mode}");
    });
    join_all(modes).await;
}

#[actix_rt::test]
async fn two_runs_of_one_pipeline_cannot_write_together() {
    let Some(server) = Server::start() else { return };
    let uri = server.database();
    let sink = MongoDb::insert("rows").lease(Duration::from_millis(600)).connect(&uri);
    let slow = Pipeline::named("rows").read(from_iter("rows", || (0..100_000).map(row))).throttle(500.0);
    let first = slow.write(sink.clone()).start().unwrap();
    while first.progress().read == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let second = run("rows", || vec![row(1)], sink.clone()).await.unwrap_err().to_string();
    assert!(second.contains("another run of pipeline `rows`"), "{second}");
    assert_eq!(run("others", || vec![row(1)], sink.clone()).await.unwrap().written, 1);
    first.stop().await.unwrap();
    first.report().await.unwrap();
}

#[actix_rt::test]
async fn a_run_that_has_lost_its_lease_ends() {
    let Some(server) = Server::start() else { return };
    let uri = server.database();
    let sink = MongoDb::insert("rows").lease(Duration::from_secs(60)).connect(&uri);
    let slow = Pipeline::named("rows").read(from_iter("rows", || (0..100_000).map(row))).throttle(500.0);
    let run = slow.write(sink).checkpoint_every(Duration::from_millis(50)).start().unwrap();
    while run.progress().written == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let pipelines = connect(&uri).await.collection::<Document>("_pipelines");
    // Again and again: the updates of this server are not atomic, so one that meets the run's own may be lost.
    let take = async {
        loop {
            let another = doc! { "$set": { "lease.owner": "another" } };
            pipelines.update_one(doc! { "_id": "rows" }, another).await.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let ended = tokio::select! {
        ended = run.report() => ended.unwrap_err().to_string(),
        () = take => unreachable!("it goes on until the run ends"),
    };
    assert!(ended.contains("another one took its lease"), "{ended}");
}

#[actix_rt::test]
async fn a_run_that_ends_leaves_no_lease_also_if_its_process_ends_with_it() {
    let Some(server) = Server::start() else { return };
    let uri = server.database();
    let sink = MongoDb::insert("rows").lease(Duration::from_secs(600)).connect(&uri);
    for limit in [10, 100] {
        let sink = sink.clone();
        let flow = Pipeline::named("rows").read(from_iter("rows", || (0..50).map(row))).write(sink);
        // The runtime ends with the run, as it does when `main` returns.
        let run = std::thread::spawn(move || actix_rt::System::new().block_on(flow.max_records(limit).run()).unwrap());
        run.join().unwrap();
        assert_eq!(documents(&uri, "_pipelines").await[0].get("lease"), None);
    }
    assert_eq!(documents(&uri, "rows").await.len(), 50);
}

#[actix_rt::test]
async fn a_run_that_goes_on_from_a_complete_checkpoint_keeps_its_lease() {
    let Some(server) = Server::start() else { return };
    let uri = server.database();
    let sink = MongoDb::insert("rows").lease(Duration::from_millis(600)).connect(&uri);
    let flow = |rows| {
        let flow = Pipeline::named("rows").read(from_iter("rows", move || (0..rows).map(row))).throttle(500.0);
        let flow = flow.write(sink.clone()).chunk(20).checkpoint_every(Duration::from_millis(50));
        flow.collector(|sink| sink.max_size(20))
    };
    flow(10).run().await.unwrap();
    let going_on = flow(100_000).start().unwrap();
    // Later than the checkpoint that it begins with.
    let saved = async || documents(&uri, "_pipelines").await[0].get_array("ranges").unwrap()[0].clone();
    let (before, begin) = (saved().await, Instant::now());
    while saved().await == before {
        assert!(begin.elapsed() < Duration::from_secs(20), "the run has ended, or saves nothing");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let second = run("rows", || vec![row(1)], sink).await.unwrap_err().to_string();
    assert!(second.contains("another run of pipeline `rows`"), "{second}");
    going_on.stop().await.unwrap();
    going_on.report().await.unwrap();
}

#[actix_rt::test]
async fn a_damaged_checkpoint_is_refused_and_never_taken_for_a_first_run() {
    let Some(server) = Server::start() else { return };
    let uri = server.database();
    let sink = MongoDb::insert("rows").connect(&uri);
    let rows = || (0..100).map(row).collect();
    run("rows", rows, sink.clone()).await.unwrap();
    // The updates of this server are not atomic: this one must not meet that of the lease which is given back.
    while documents(&uri, "_pipelines").await[0].contains_key("lease") {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let pipelines = connect(&uri).await.collection::<Document>("_pipelines");
    pipelines.update_one(doc! { "_id": "rows" }, doc! { "$set": { "identity": "{" } }).await.unwrap();
    let refused = run("rows", rows, sink.clone()).await.unwrap_err().to_string();
    assert!(refused.contains("`identity`") && refused.contains("is damaged"), "{refused}");
    let fresh = Pipeline::named("rows").read(from_iter("rows", rows)).write(sink).fresh(true).run().await;
    // The documents of the first run recognise themselves.
    assert_eq!(fresh.unwrap().written, 100);
    assert_eq!(numbers(&uri, "rows", "id").await.len(), 100);
}
