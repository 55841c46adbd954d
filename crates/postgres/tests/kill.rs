//! Runs that are killed: the test starts itself as another process and ends it with SIGKILL, again and again. `KILLS=500` kills so often; the
//! usual number is 20.

use std::{
    env,
    sync::Arc,
    time::{Duration, Instant},
};

use actix_batch::Workers;
use actix_batch_pipeline::{
    checkpoint::{RunId, Settled},
    prelude::*,
    sink::{IntoSink, Promises},
    test_util::{Kills, Victim},
};
use actix_batch_postgres::{Postgres, PostgresSink};
use serde::Serialize;

use support::{Server, numbers};

mod support;

const ROWS: u64 = 40_000;

#[derive(Debug, Serialize)]
struct Row {
    id: u64,
    part: u64,
}

/// Progress apart from the rows: what the whole scheme is there to avoid.
struct Apart(Postgres);

impl IntoSink<Row> for Apart {
    type Sink = PostgresSink<Row>;

    fn describe(&self) -> String {
        "apart".to_owned()
    }

    fn promises(&self) -> Promises {
        Promises::Append
    }

    fn sink(&self, worker: usize, run: &RunId, settled: &Arc<Settled>) -> PostgresSink<Row> {
        // Under a name of its own, so that it recognises nothing.
        let name = format!("{}-{}", run.pipeline, std::process::id());
        IntoSink::<Row>::sink(&self.0, worker, &RunId::new(name), settled)
    }
}

/// The run that is killed; the tests start it.
#[actix_rt::test]
#[ignore = "the other tests start it"]
async fn victim() {
    let names = ["URL", "MODE", "WAY", "CHECKPOINT"].map(env::var);
    let [Ok(url), Ok(mode), Ok(way), Ok(checkpoint)] = names else { return };
    let rows = || (0..ROWS).flat_map(|id| (0..=id % 2).map(move |part| Row { id, part }));
    let flow = Pipeline::named("rows").read(from_iter("rows", rows)).throttle(60_000.0);
    let sink = if mode == "upsert" { Postgres::upsert("rows").key(["id", "part"]) } else { Postgres::append("rows") };
    let sink = sink.min_copy_rows(if way == "copy" { 1 } else { usize::MAX }).connect(url);
    if mode == "apart" {
        let pipeline = flow.write(Apart(sink)).accept_duplicates(true).checkpoint(checkpoint);
        let pipeline = pipeline.checkpoint_every(Duration::from_millis(50));
        pipeline.collector(|sink| sink.max_size(100).workers(Workers::local(3))).run().await.unwrap();
    } else {
        flow.write(sink)
            .chunk(200)
            .collector(|sink| sink.max_size(100).workers(Workers::local(3)))
            .run()
            .await
            .unwrap();
    }
}

fn start(url: &str, mode: &str, way: &str, checkpoint: &str) -> Victim {
    Victim::start("victim", [("URL", url), ("MODE", mode), ("WAY", way), ("CHECKPOINT", checkpoint)])
}

/// Kills runs once they have written some more, and lets the last one come to its end. Returns the rows, and how many of them differ.
async fn killed_again_and_again(server: &Server, mode: &str, way: &str) -> [i64; 2] {
    let key = if mode == "upsert" { ", PRIMARY KEY (id, part)" } else { "" };
    let url = server.database(&format!("CREATE TABLE rows (id bigint NOT NULL, part bigint NOT NULL{key})")).await;
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = folder.path().join("checkpoint");
    let checkpoint = checkpoint.to_str().unwrap();
    let written = async || numbers(&url, "SELECT count(*) FROM rows").await[0];
    let mut kills = Kills::from_env(&format!("{mode} by {way}"));
    while kills.are_left() {
        let (before, begin) = (written().await, Instant::now());
        let mut run = start(&url, mode, way, checkpoint);
        while written().await == before && run.is_running() {
            assert!(begin.elapsed() < Duration::from_secs(60), "the run writes nothing");
            actix_rt::time::sleep(Duration::from_millis(2)).await;
        }
        actix_rt::time::sleep(kills.moment(Duration::from_millis(30))).await;
        kills.kill(run);
    }
    kills.assert_before_their_end(50);
    start(&url, mode, way, checkpoint).finish();
    let counts =
        "SELECT count(*) FROM rows UNION ALL SELECT count(*) FROM (SELECT DISTINCT id, part FROM rows) AS each";
    let counts = numbers(&url, counts).await;
    [counts[0], counts[1]]
}

/// Each record with an odd number has two parts.
const ALL: i64 = ROWS.cast_signed() * 3 / 2;

#[actix_rt::test]
async fn after_kills_each_appended_row_is_there_once_though_batches_overtake_each_other() {
    let Some(server) = Server::start() else { return };
    for way in ["unnest", "copy"] {
        assert_eq!(killed_again_and_again(&server, "append", way).await, [ALL, ALL], "{way}");
    }
}

#[actix_rt::test]
async fn after_kills_each_upserted_row_is_there_once() {
    let Some(server) = Server::start() else { return };
    for way in ["unnest", "copy"] {
        assert_eq!(killed_again_and_again(&server, "upsert", way).await, [ALL, ALL], "{way}");
    }
}

/// The control: without the progress in the rows' transaction, rows are there twice.
#[actix_rt::test]
async fn after_kills_progress_apart_from_the_rows_has_some_of_them_twice() {
    let Some(server) = Server::start() else { return };
    let [rows, different] = killed_again_and_again(&server, "apart", "unnest").await;
    assert_eq!(different, ALL, "at least once");
    assert!(rows > ALL, "the control must fail: {rows} rows");
}
