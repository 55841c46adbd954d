//! Runs that are killed: the test starts itself as another process and ends it with SIGKILL, again and again. `KILLS=500` kills so often; the
//! usual number is 20. `SEED=…` repeats the moments of a run that failed.

use std::{
    env,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use actix_batch::Workers;
use actix_batch_mongodb::MongoDb;
use actix_batch_pipeline::prelude::*;
use bson::{Document, doc};
use serde::Serialize;

use support::{Server, connect, documents, has_finished};

mod support;

const ROWS: u64 = 3_000;
/// Each record with an odd number has two parts.
const ALL: usize = 4_500;

#[derive(Debug, Serialize)]
struct Row {
    /// For upserts: the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    _id: Option<String>,
    id: u64,
    part: u64,
}

/// The run that is killed; the tests start it.
#[actix_rt::test]
#[ignore = "the other tests start it"]
async fn victim() {
    let (Ok(uri), Ok(mode)) = (env::var("URI"), env::var("MODE")) else { return };
    run(&uri, &mode).await;
}

async fn run(uri: &str, mode: &str) {
    let is_upsert = mode == "upsert";
    let parts = move |id: u64| {
        let row = move |part| Row { _id: is_upsert.then(|| format!("{id} {part}")), id, part };
        (0..=id % 2).map(row)
    };
    let sink = if is_upsert { MongoDb::upsert("rows") } else { MongoDb::insert("rows") };
    let sink = sink.lease(Duration::from_millis(200)).connect(uri);
    let flow =
        Pipeline::named("rows").read(from_iter("rows", || 0..ROWS)).throttle(1_500.0).flat_map(parts).write(sink);
    let flow = flow.chunk(50).checkpoint_every(Duration::from_millis(20));
    flow.collector(|sink| sink.max_size(25).workers(Workers::local(3))).run().await.unwrap();
}

fn start(uri: &str, mode: &str) -> Child {
    Command::new(env::current_exe().unwrap())
        .args(["--exact", "victim", "--ignored", "--nocapture"])
        .envs([("URI", uri), ("MODE", mode)])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// What a collection holds, in a form that is equal for equal contents: the number of its documents, and a checksum over all of them.
async fn contents(uri: &str) -> (usize, u64) {
    let documents = documents(uri, "rows").await;
    let checksum = documents.iter().fold(0xcbf2_9ce4_8422_2325, |sum: u64, document| {
        let bytes = bson::serialize_to_vec(document).unwrap();
        bytes.iter().fold(sum, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
    });
    (documents.len(), checksum)
}

/// Kills runs once they have written some more, lets the last one come to its end, and compares with a run that was not killed.
async fn killed_again_and_again(server: &Server, mode: &str) {
    let seed = env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    println!("{mode}: SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let uri = server.database();
    let rows = connect(&uri).await.collection::<Document>("rows");
    let kills: u64 = env::var("KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(20);
    let mut interrupted = 0;
    for _ in 0..kills {
        let (before, begin) = (rows.estimated_document_count().await.unwrap(), Instant::now());
        let mut run = start(&uri, mode);
        while rows.estimated_document_count().await.unwrap() == before && run.try_wait().unwrap().is_none() {
            assert!(begin.elapsed() < Duration::from_secs(60), "the run writes nothing");
            actix_rt::time::sleep(Duration::from_millis(5)).await;
        }
        actix_rt::time::sleep(Duration::from_micros(random.u64(..30_000))).await;
        run.kill().unwrap();
        interrupted += u64::from(!has_finished(run));
    }
    println!("{mode}: {interrupted} of {kills} runs were killed before their end");
    assert!(interrupted > kills.min(20) / 2, "only {interrupted} runs were killed before their end");
    assert!(has_finished(start(&uri, mode)), "nobody kills this run");
    let uninterrupted = server.database();
    run(&uninterrupted, mode).await;
    let (killed, whole) = (contents(&uri).await, contents(&uninterrupted).await);
    assert_eq!((killed, killed.0), (whole, ALL), "SEED={seed}");
}

#[actix_rt::test]
async fn after_kills_each_inserted_document_is_there_once_though_batches_overtake_each_other() {
    let Some(server) = Server::start() else { return };
    killed_again_and_again(&server, "insert").await;
}

#[actix_rt::test]
async fn after_kills_each_upserted_document_is_there_once() {
    let Some(server) = Server::start() else { return };
    killed_again_and_again(&server, "upsert").await;
}
