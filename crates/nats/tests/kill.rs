//! Runs that are killed: the test starts itself as another process and ends it without warning.

use std::{env, time::Duration};

use actix_batch_nats::{JetStream, NatsSubject};
use actix_batch_pipeline::{
    prelude::*,
    test_util::{Kills, Victim},
};
use async_nats::jetstream::stream;
use rusqlite::Connection;
use serde::{Deserialize, Serialize};

use support::{NatsServer, numbers, until};

mod support;

const MESSAGES: u64 = 20_000;

#[derive(Debug, Serialize, Deserialize)]
struct Row {
    number: u64,
}

fn source() -> JetStream<Row> {
    JetStream::consumer("NUMBERS", "reader").ack_wait(Duration::from_secs(1)).max_ack_pending(1_000).stop_at_end(true)
}

/// The run that is killed; the tests start it, with the place to write to.
#[actix_rt::test]
#[ignore = "the other tests start it"]
async fn victim() {
    let Ok(target) = env::var("TARGET") else { return };
    if target == "nats" {
        Pipeline::named("copy")
            .read(source())
            .throttle(10_000.0)
            .write(NatsSubject::publish("out"))
            .chunk(50)
            .run()
            .await
            .unwrap();
        return;
    }
    let table =
        Sqlite::append(target, "numbers").create_table("CREATE TABLE IF NOT EXISTS numbers (number INTEGER NOT NULL)");
    let pipeline = Pipeline::named("copy").read(source()).throttle(10_000.0).write(table).chunk(50);
    pipeline.collector(|sink| sink.max_size(100)).run().await.unwrap();
}

fn start(server: &NatsServer, target: &str) -> Victim {
    Victim::start("victim", [("NATS_URL", server.url().as_str()), ("TARGET", target)])
}

async fn fill(server: &NatsServer) -> stream::Stream {
    let context = server.context().await;
    let stream = numbers(&context).await;
    let rows = from_iter("rows", || (0..MESSAGES).map(|number| Row { number }));
    let target = NatsSubject::publish("numbers.all").connect(server.url());
    // More records in a batch than the client has messages in flight.
    let pipeline = Pipeline::named("fill").read(rows).write(target).collector(|sink| sink.max_size(20_000));
    pipeline.look_ahead(20_000).run().await.unwrap();
    stream
}

/// Kills a run once it has written some more, and lets the last one come to its end.
async fn kill_again_and_again(server: &NatsServer, target: &str, mut written: impl AsyncFnMut() -> u64) {
    let mut kills = Kills::from_env(target);
    while kills.are_left() {
        let before = written().await;
        let mut run = start(server, target);
        // The server counts the messages of a dead run as pending for `ack_wait`, so a run may have to wait.
        until("the run has written", async || written().await > before || !run.is_running()).await;
        actix_rt::time::sleep(kills.moment(Duration::from_millis(70))).await;
        kills.kill(run);
    }
    kills.assert_before_their_end(50);
    let mut run = start(server, target);
    until("the last run has ended", async || !run.is_running()).await;
    run.finish();
}

#[actix_rt::test]
async fn after_kills_a_transactional_sink_holds_each_message_once_and_in_order() {
    let Some(server) = NatsServer::start() else { return };
    let stream = fill(&server).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("numbers.sqlite");
    let rows = |sql: &str| -> u64 {
        let Ok(database) = Connection::open(&path) else { return 0 };
        database.query_row(sql, [], |row| row.get(0)).map_or(0, i64::unsigned_abs)
    };
    kill_again_and_again(&server, path.to_str().unwrap(), async || rows("SELECT count(*) FROM numbers")).await;
    assert_eq!(rows("SELECT count(*) FROM numbers"), MESSAGES);
    assert_eq!(rows("SELECT count(DISTINCT number) FROM numbers"), MESSAGES);
    assert_eq!(rows("SELECT count(*) FROM numbers WHERE number <> rowid - 1"), 0, "in order");
    until("all are acknowledged", async || support::state(&stream).await.num_ack_pending == 0).await;
}

#[actix_rt::test]
async fn after_kills_every_message_is_delivered_again_and_a_keyed_sink_holds_each_once() {
    let Some(server) = NatsServer::start() else { return };
    let stream = fill(&server).await;
    let config = stream::Config { name: "OUT".to_owned(), subjects: vec!["out".to_owned()], ..Default::default() };
    let out = server.context().await.create_stream(config).await.unwrap();
    let stored = async || out.get_info().await.unwrap().state.messages;
    kill_again_and_again(&server, "nats", stored).await;
    assert_eq!(stored().await, MESSAGES);
    until("all are acknowledged", async || support::state(&stream).await.ack_floor.stream_sequence == MESSAGES).await;
}
