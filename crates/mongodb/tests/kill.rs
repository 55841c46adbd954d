//! Runs that are killed: the test starts itself as another process and ends it with SIGKILL, again and again. `KILLS=500` kills so often; the
//! usual number is 20. `SEED=…` repeats the moments of a run that failed.

use std::{env, time::Duration};

use actix_batch::Workers;
use actix_batch_mongodb::MongoDb;
use actix_batch_pipeline::{prelude::*, source::from_stream};
use bson::Document;
use futures_util::{StreamExt, stream};
use serde::Serialize;

use support::{
    Server, connect, documents,
    victim::{Victim, told},
};

mod support;

const ROWS: u64 = 1_500;
/// A run that is to be killed goes so many rows further than the ones before it, and waits: however late it is killed, it has not come to its end.
const FURTHER: u64 = 60;
/// Each record with an odd number has two parts.
const ALL: usize = 2_250;

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
    let number = |name| env::var(name).ok().map(|text| text.parse().unwrap());
    let run = pipeline(&uri, &mode, number("UNTIL")).start().unwrap();
    told(run, number("WRITTEN").unwrap_or(0)).await;
}

/// Writes all rows; or those before one, and then waits for more.
fn pipeline(uri: &str, mode: &str, until: Option<u64>) -> Pipeline {
    let is_upsert = mode == "upsert";
    let parts = move |id: u64| {
        let row = move |part| Row { _id: is_upsert.then(|| format!("{id} {part}")), id, part };
        (0..=id % 2).map(row)
    };
    let sink = if is_upsert { MongoDb::upsert("rows") } else { MongoDb::insert("rows") };
    let sink = sink.lease(Duration::from_millis(200)).connect(uri);
    let rows = from_stream("rows", move || {
        let rows = stream::iter(0..until.unwrap_or(ROWS).min(ROWS));
        if until.is_some_and(|until| until < ROWS) { rows.chain(stream::pending()).boxed() } else { rows.boxed() }
    });
    let flow = Pipeline::named("rows").read(rows).throttle(1_500.0).flat_map(parts).write(sink);
    let flow = flow.chunk(50).checkpoint_every(Duration::from_millis(20));
    // The test server hangs when updates of more than 100 documents are open at once, also those of runs that were killed.
    let most = if is_upsert { 10 } else { 25 };
    flow.collector(move |sink| sink.max_size(most).workers(Workers::local(3))).build()
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
    let environment = [("URI", uri.clone()), ("MODE", mode.to_owned())];
    for _ in 0..kills {
        // Two rows have three documents.
        let until = rows.estimated_document_count().await.unwrap() * 2 / 3 + FURTHER;
        let limits = [("UNTIL", until.to_string()), ("WRITTEN", random.u64(1..FURTHER).to_string())];
        let mut run = Victim::start(&[&environment[..], &limits[..]].concat());
        run.has_written().await;
        actix_rt::time::sleep(Duration::from_micros(random.u64(..30_000))).await;
        interrupted += u64::from(run.kill().await);
    }
    println!("{mode}: {interrupted} of {kills} runs were killed before their end");
    assert!(interrupted > kills.min(20) / 2, "only {interrupted} runs were killed before their end");
    Victim::start(&environment).end().await;
    let uninterrupted = server.database();
    pipeline(&uninterrupted, mode, None).run().await.unwrap();
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
