//! Documents and progress in one transaction. The test server has none, so a stand-in for a replica set keeps the writes of each transaction until
//! its commit: what is tried is this crate's side.

use std::{env, time::Duration};

use actix_batch::Workers;
use actix_batch_mongodb::MongoDb;
use actix_batch_pipeline::{outlet::One, prelude::*, test_util::check_sink};
use bson::{Document, doc};
use serde_json::json;

use support::{
    Server, connect, documents, numbers,
    replica_set::ReplicaSet,
    victim::{Victim, told},
};

mod support;

/// The same database, by way of the stand-in.
fn by_way_of(set: &ReplicaSet, uri: &str) -> String {
    let name = uri.rsplit_once('/').unwrap().1;
    format!("mongodb://127.0.0.1:{}/{name}", set.port)
}

fn sink(mode: &str, uri: &str) -> MongoDb {
    let sink = if mode == "upsert" { MongoDb::upsert("rows") } else { MongoDb::insert("rows") };
    sink.transactions(true).lease(Duration::from_millis(300)).connect(uri)
}

#[actix_rt::test]
async fn a_server_without_transactions_is_refused_by_name() {
    let Some(server) = Server::start() else { return };
    let flow = Pipeline::named("rows").read(from_iter("rows", || 0..10)).map(|n: i64| json!({ "n": n }));
    let refused = flow.write(sink("insert", &server.database())).run().await.unwrap_err().to_string();
    assert!(refused.contains("has no transactions") && refused.contains("replica set"), "{refused}");
}

#[actix_rt::test]
async fn each_record_is_stored_once_whatever_fails() {
    let Some(server) = Server::start() else { return };
    let set = ReplicaSet::start(server.port).await;
    for (seeds, mode) in [(0..2, "insert"), (2..4, "upsert")] {
        let uris: Vec<_> = (0..4).map(|_| server.database()).collect();
        let make = |seed: u64| sink(mode, &by_way_of(&set, &uris[usize::try_from(seed).unwrap()]));
        let read = async |seed: u64| {
            let ids = numbers(&uris[usize::try_from(seed).unwrap()], "rows", "n").await;
            ids.into_iter().map(i64::unsigned_abs).collect()
        };
        let record =
            move |n: u64| if mode == "upsert" { json!({ "_id": n.to_string(), "n": n }) } else { json!({ "n": n }) };
        check_sink(seeds, record, make, read).await;
    }
    assert!(set.committed() > 0, "nothing was written in a transaction");
}

#[actix_rt::test]
async fn a_batch_whose_commit_has_no_answer_recognises_itself() {
    let Some(server) = Server::start() else { return };
    let set = ReplicaSet::start(server.port).await;
    let uri = server.database();
    // The driver asks once more by itself, and the sink three times.
    set.lose_commits(8);
    let outlet = One::new(sink("insert", &by_way_of(&set, &uri))).collector(|sink| sink.max_size(50));
    let flow = Pipeline::named("rows").read(from_iter("rows", || 0..200)).map(|n: i64| json!({ "n": n }));
    let report = flow.write_to(outlet).run().await.unwrap();
    assert_eq!((report.written, report.rejected, report.guarantee), (200, 0, Guarantee::Once));
    assert_eq!(numbers(&uri, "rows", "n").await, (0..200).collect::<Vec<_>>());
}

const ROWS: u64 = 2_000;

/// The run that is killed; the test starts it.
#[actix_rt::test]
#[ignore = "the other tests start it"]
async fn victim() {
    let (Ok(uri), Ok(mode)) = (env::var("URI"), env::var("MODE")) else { return };
    let sink = MongoDb::insert("rows").transactions(mode == "together").lease(Duration::from_millis(600)).connect(uri);
    let flow = Pipeline::named("rows").read(from_iter("rows", || 0..ROWS)).throttle(4_000.0).map(|n| json!({ "n": n }));
    let flow = flow.write(sink).chunk(50).checkpoint_every(Duration::from_millis(150));
    let run = flow.collector(|sink| sink.max_size(25).workers(Workers::local(2))).start().unwrap();
    told(run, 1).await;
}

#[actix_rt::test]
async fn a_transaction_that_meets_another_change_of_its_checkpoint_begins_anew() {
    let Some(server) = Server::start() else { return };
    let set = ReplicaSet::start(server.port).await;
    let uri = server.database();
    let outlet = One::new(sink("upsert", &by_way_of(&set, &uri))).collector(|sink| sink.max_size(5));
    let flow = Pipeline::named("rows").read(from_iter("rows", || 0..500_i64));
    let flow = flow.map(|n| json!({ "_id": format!("{n:03}"), "n": n })).write_to(outlet);
    let report = flow.checkpoint_every(Duration::from_millis(1)).run().await.unwrap();
    assert_eq!((report.written, report.rejected), (500, 0));
    assert_eq!(numbers(&uri, "rows", "n").await, (0..500).collect::<Vec<_>>());
    assert!(set.conflicts() > 0, "no transaction met another change");
}

#[actix_rt::test]
async fn a_document_that_is_refused_is_found_by_halving_its_batch_and_rejected_alone() {
    let Some(server) = Server::start() else { return };
    let set = ReplicaSet::start(server.port).await;
    for mode in ["insert", "upsert"] {
        let uri = server.database();
        let row = move |n: i64| match (mode, n % 40) {
            (_, 13) => json!({ "_id": format!("{n:03}"), "n": n, "bad": true }),
            // Of one key: if the later one is refused, the earlier one is stored.
            ("upsert", 14) => json!({ "_id": format!("{:03}", n - 1), "n": n }),
            _ => json!({ "_id": format!("{n:03}"), "n": n }),
        };
        let flow = Pipeline::named("rows").read(from_iter("rows", || (0..80).rev())).map(row);
        let report = flow.write(sink(mode, &by_way_of(&set, &uri))).run().await.unwrap();
        assert_eq!((report.written, report.rejected), (78, 2), "{mode}");
        let expected: Vec<_> = (0..80).filter(|n| n % 40 != 13).collect();
        assert_eq!(numbers(&uri, "rows", "n").await, expected, "{mode}");
    }
}

#[actix_rt::test]
async fn a_document_that_is_there_with_the_same_content_takes_no_other_with_it() {
    let Some(server) = Server::start() else { return };
    let set = ReplicaSet::start(server.port).await;
    let uri = server.database();
    let there = doc! { "_id": "07", "n": 7_i64, "there": true };
    connect(&uri).await.collection::<Document>("rows").insert_one(there).await.unwrap();
    let row = |n: i64| match n {
        7 => json!({ "_id": "07", "n": 7, "there": true }),
        _ => json!({ "_id": format!("{n:02}"), "n": n }),
    };
    let flow = Pipeline::named("rows").read(from_iter("rows", || 0..20)).map(row);
    let report = flow.write(sink("insert", &by_way_of(&set, &uri))).run().await.unwrap();
    assert_eq!((report.written, report.rejected), (20, 0));
    assert_eq!(numbers(&uri, "rows", "n").await, (0..20).collect::<Vec<_>>());
}

#[actix_rt::test]
async fn a_run_whose_lease_was_taken_commits_nothing_more() {
    let Some(server) = Server::start() else { return };
    let set = ReplicaSet::start(server.port).await;
    let uri = server.database();
    // Neither a renewal nor a checkpoint tells it meanwhile.
    let sink = sink("insert", &by_way_of(&set, &uri)).lease(Duration::from_secs(600));
    let outlet = One::new(sink).collector(|sink| sink.max_size(10));
    let flow = Pipeline::named("rows").read(from_iter("rows", || 0..600)).throttle(300.0).map(|n| json!({ "n": n }));
    let run = flow.write_to(outlet).chunk(10).checkpoint_every(Duration::from_secs(600)).start().unwrap();
    while run.progress().written == 0 {
        actix_rt::time::sleep(Duration::from_millis(5)).await;
    }
    let pipelines = connect(&uri).await.collection::<Document>("_pipelines");
    // Again and again: the updates of this server are not atomic, so one that meets the run's own may be lost.
    let take = async {
        loop {
            let another = doc! { "$set": { "lease.owner": "another" } };
            pipelines.update_one(doc! { "_id": "rows" }, another).await.unwrap();
            actix_rt::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let ended = tokio::select! {
        ended = run.report() => ended.unwrap_err().to_string(),
        () = take => unreachable!("it goes on until the run ends"),
    };
    assert!(ended.contains("another one took its lease"), "{ended}");
    assert!(numbers(&uri, "rows", "n").await.len() < 600);
}

/// How many records the checkpoint calls stored.
async fn stored(uri: &str) -> u64 {
    let pipeline = &documents(uri, "_pipelines").await[0];
    let range = pipeline.get_array("ranges").unwrap()[0].as_document().unwrap();
    let beyond: Vec<serde_json::Value> = serde_json::from_str(range.get_str("beyond").unwrap()).unwrap();
    let length = |one: &serde_json::Value| one["last"][0].as_u64().unwrap() - one["first"][0].as_u64().unwrap() + 1;
    range.get_i64("record").unwrap().unsigned_abs() + beyond.iter().map(length).sum::<u64>()
}

/// Kills runs, and returns after how many kills the documents were not those that the checkpoint calls stored.
async fn kill(server: &Server, mode: &str) -> u32 {
    let seed = env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    println!("{mode}: SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let (set, uri) = (ReplicaSet::start(server.port).await, server.database());
    let environment = [("URI", by_way_of(&set, &uri)), ("MODE", mode.to_owned())];
    let rows = connect(&uri).await.collection::<Document>("rows");
    let kills: u64 = env::var("KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(20);
    let (mut different, mut interrupted) = (0, 0);
    for _ in 0..kills {
        let mut run = Victim::start(&environment);
        run.has_written().await;
        actix_rt::time::sleep(Duration::from_micros(random.u64(..30_000))).await;
        interrupted += u64::from(run.kill().await);
        set.settle().await;
        different += u32::from(stored(&uri).await != rows.estimated_document_count().await.unwrap());
    }
    assert!(interrupted > kills / 10, "only {interrupted} of {kills} runs were killed before their end");
    Victim::start(&environment).end().await;
    let all = numbers(&uri, "rows", "n").await;
    assert_eq!(all, (0..ROWS.cast_signed()).collect::<Vec<_>>(), "SEED={seed}");
    different
}

#[actix_rt::test]
async fn after_kills_the_documents_are_exactly_those_that_the_checkpoint_calls_stored() {
    let Some(server) = Server::start() else { return };
    assert_eq!(kill(&server, "together").await, 0);
}

/// The control: progress that is saved after the documents is behind them.
#[actix_rt::test]
async fn after_kills_progress_apart_from_the_documents_is_behind_them() {
    let Some(server) = Server::start() else { return };
    assert!(kill(&server, "apart").await > 0, "the control must fail");
}
