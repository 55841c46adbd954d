//! The sink on a real server: rows and progress stand or fall together, and a bad row fails alone.

use std::sync::Arc;

use actix_batch::{Batch, Workers};
use actix_batch_pipeline::{
    Origin, Position,
    checkpoint::{Checkpoint, RangeCheckpoint, RunId, Settled},
    outlet::One,
    prelude::*,
    read_dead_records,
    sink::{IntoSink, Sink, SinkErrorKind},
    test_util::check_sink,
};
use actix_batch_postgres::Postgres;
use serde::Serialize;
use serde_json::json;
use tempfile::TempDir;

use support::{Server, client, numbers};

mod support;

#[derive(Debug, Clone, Serialize)]
struct Row {
    id: i64,
    name: Option<String>,
}

fn row(id: i64) -> Row {
    Row { id, name: Some(format!("row {id}")) }
}

const KEYED: &str = "CREATE TABLE rows (id bigint PRIMARY KEY, name text CHECK (name <> 'bad'))";
const PLAIN: &str = "CREATE TABLE rows (id bigint NOT NULL, name text CHECK (name <> 'bad'))";

/// By the arrays of a statement, and by `COPY`.
const WAYS: [usize; 2] = [usize::MAX, 1];

async fn run(rows: impl Fn() -> Vec<Row> + Send + Sync + 'static, sink: Postgres) -> Result<Report, RunError> {
    Pipeline::named("rows").read(from_iter("rows", rows)).write(sink).run().await
}

#[actix_rt::test]
async fn rows_are_appended_upserted_or_ignored() {
    let Some(server) = Server::start() else { return };
    let again = || (0..300).map(|number| Row { name: Some("new".to_owned()), ..row(number % 100 + 50) }).collect();
    let modes = [("append", (400, 300)), ("upsert", (150, 100)), ("ignore", (150, 50))];
    for (way, (mode, expected)) in WAYS.into_iter().flat_map(|way| modes.map(|mode| (way, mode))) {
        let url = server.database(if mode == "append" { PLAIN } else { KEYED }).await;
        let sink = match mode {
            "append" => Postgres::append("rows"),
            "upsert" => Postgres::upsert("rows").key(["id"]),
            _ => Postgres::insert_or_ignore("rows"),
        };
        let sink = sink.min_copy_rows(way).connect(&url);
        let first =
            Pipeline::named("first").read(from_iter("rows", || (0..100).map(row))).write(sink.clone()).run().await;
        assert_eq!(first.unwrap().guarantee, Guarantee::Once);
        assert_eq!(run(again, sink).await.unwrap().written, 300, "{mode}");
        let counts =
            numbers(&url, "SELECT count(*) FROM rows UNION ALL SELECT count(*) FROM rows WHERE name = 'new'").await;
        assert_eq!(counts, [expected.0, expected.1], "{mode}");
    }
}

#[actix_rt::test]
async fn every_kind_of_rejected_record_has_one_letter_beside_the_rows_and_a_fresh_run_begins_without_any() {
    let Some(server) = Server::start() else { return };
    let url = server.database(&format!("CREATE SCHEMA other; {PLAIN}")).await;
    let sink = Postgres::append("rows").dead_letters_table("other.Rejected").connect(&url);
    let named = |id: i64| match id {
        3 => Err("three, with a NUL: \0"),
        5 => Ok(Row { id, name: Some("bad".to_owned()) }),
        6 => Ok(Row { id, name: Some("a NUL: \0".to_owned()) }),
        _ => Ok(row(id)),
    };
    for fresh in [false, true] {
        let flow = Pipeline::named("rows").read(from_iter("rows", || 0..10)).try_map(named);
        let report = flow.write(sink.clone()).fresh(fresh).run().await.unwrap();
        assert_eq!((report.written, report.rejected), (7, 3));
        assert_eq!(numbers(&url, "SELECT record FROM other.\"Rejected\" ORDER BY record").await, [3, 5, 6]);
    }
    let by = "SELECT rejected_by || ': ' || error FROM other.\"Rejected\" ORDER BY record LIMIT 1";
    let by: String = client(&url).await.query_one(by, &[]).await.unwrap().get(0);
    assert_eq!(by, "try_map: three, with a NUL: \u{FFFD}");
}

#[actix_rt::test]
async fn the_last_record_of_a_key_wins_within_a_batch() {
    let Some(server) = Server::start() else { return };
    for way in WAYS {
        let url = server.database(KEYED).await;
        let rows = || (0..1_000).map(|number| Row { id: number % 10, name: Some(number.to_string()) }).collect();
        run(rows, Postgres::upsert("rows").key(["id"]).min_copy_rows(way).connect(&url)).await.unwrap();
        assert_eq!(numbers(&url, "SELECT name::bigint FROM rows ORDER BY id").await, (990..1_000).collect::<Vec<_>>());
    }
}

#[actix_rt::test]
async fn a_writer_whose_run_has_lost_its_lease_stores_nothing_more() {
    let Some(server) = Server::start() else { return };
    let url = server.database(PLAIN).await;
    let spec = Postgres::append("rows").connect(&url);
    let batch = |records: std::ops::Range<u64>| {
        let records = records.zip(1..).map(|(record, sequence)| {
            let position = Position { record, ..Position::default() };
            let mut record = Record::new(row(record.cast_signed()), position, Origin::Unknown);
            record.set_sequence(sequence);
            record
        });
        Batch::from(records.collect::<Vec<_>>())
    };
    let begin = async |run: &RunId| {
        let mut store = IntoSink::<Row>::store(&spec, run).unwrap();
        store.lease().await.unwrap();
        let checkpoint = Checkpoint {
            plan: "rows".to_owned(),
            identity: json!({}),
            cursor_version: 1,
            ranges: vec![RangeCheckpoint::new(0, None, None)],
            sink: json!(null),
        };
        store.save(&checkpoint).await.unwrap();
        (store, IntoSink::<Row>::sink(&spec, 0, run, &Arc::new(Settled::new(checkpoint))))
    };
    let (store, mut lost) = begin(&RunId::new("rows")).await;
    lost.write(&batch(0..10)).await.unwrap();
    // The connection of the lease goes, and with it the lease; that of the writer stays.
    drop(store);
    let (_store, mut sink) = begin(&RunId::new("rows")).await;
    let error = lost.write(&batch(10..20)).await.unwrap_err();
    assert!(error.to_string().contains("another run of pipeline `rows` has taken over"), "{error}");
    assert_eq!(error.kind(), SinkErrorKind::Fatal);
    sink.write(&batch(10..30)).await.unwrap();
    assert_eq!(
        numbers(&url, "SELECT count(*) FROM rows UNION ALL SELECT count(DISTINCT id) FROM rows").await,
        [30, 30]
    );
}

#[actix_rt::test]
async fn the_last_record_of_a_key_wins_across_batches() {
    let Some(server) = Server::start() else { return };
    let url = server.database(KEYED).await;
    let rows = || (0..3_000).map(|number| Row { id: number % 10, name: Some(number.to_string()) });
    let flow = Pipeline::named("rows").read(from_iter("rows", rows));
    let upsert = flow.write(Postgres::upsert("rows").key(["id"]).connect(&url));
    upsert.collector(|sink| sink.max_size(20)).run().await.unwrap();
    assert_eq!(numbers(&url, "SELECT name::bigint FROM rows ORDER BY id").await, (2_990..3_000).collect::<Vec<_>>());
}

#[actix_rt::test]
async fn a_record_whose_key_is_null_is_rejected_and_takes_no_other_with_it() {
    let Some(server) = Server::start() else { return };
    for way in WAYS {
        let url = server.database("CREATE TABLE rows (id bigint, name text UNIQUE)").await;
        let rows = || (0..10).map(|id| Row { id, name: (id % 2 == 0).then(|| id.to_string()) });
        let flow = Pipeline::named("rows").read(from_iter("rows", rows));
        let upsert = flow.write(Postgres::upsert("rows").key(["name"]).min_copy_rows(way).connect(&url));
        let report = upsert.run().await.unwrap();
        assert_eq!((report.written, report.rejected), (5, 5));
        assert_eq!(numbers(&url, "SELECT id FROM rows ORDER BY id").await, [0, 2, 4, 6, 8]);
    }
}

#[actix_rt::test]
async fn two_texts_of_one_key_reject_a_record_and_not_the_run() {
    #[derive(Clone, Serialize)]
    struct Price {
        price: &'static str,
        note: &'static str,
    }
    let Some(server) = Server::start() else { return };
    let url = server.database("CREATE TABLE prices (price numeric PRIMARY KEY, note text)").await;
    let prices = || ["1.0", "2.5", "1.00"].map(|price| Price { price, note: price });
    let flow = Pipeline::named("prices").read(from_iter("prices", prices));
    let report = flow.write(Postgres::upsert("prices").key(["price"]).connect(&url)).run().await.unwrap();
    assert_eq!((report.written, report.rejected), (3, 0), "halved, they come one after the other");
    assert_eq!(numbers(&url, "SELECT count(*) FROM prices WHERE note <> '1.0'").await, [2]);
}

#[actix_rt::test]
async fn refused_rows_are_rejected_alone_with_what_the_server_says() {
    let Some(server) = Server::start() else { return };
    let (folder, name) = (TempDir::new().unwrap(), |id: i64| match id {
        17 => "bad".to_owned(),
        400 => "a\0b".to_owned(),
        _ => "good".to_owned(),
    });
    // One of them begins with `COPY` and comes to `unnest` as the batch is halved.
    for way in [usize::MAX, 1, 100] {
        let (url, letters) = (server.database(KEYED).await, folder.path().join(format!("{way}.jsonl")));
        let flow = Pipeline::named("rows")
            .read(from_iter("rows", move || (0..500).map(move |id| Row { id, name: Some(name(id)) })));
        let flow = flow.write(Postgres::append("rows").min_copy_rows(way).connect(&url));
        let report = flow.dead_letters(&letters).run().await.unwrap();
        assert_eq!((report.written, report.rejected), (498, 2));
        assert_eq!(numbers(&url, "SELECT count(*) FROM rows").await, [498]);
        let letters = read_dead_records(&letters).unwrap();
        let mut said: Vec<_> = letters.iter().map(|letter| (letter.position.record, letter.error.clone())).collect();
        said.sort();
        assert!(said[0].0 == 17 && said[0].1.contains("rows_name_check"), "{said:?}");
        assert!(said[1].0 == 400 && said[1].1.contains("NUL"), "{said:?}");
    }
}

#[actix_rt::test]
async fn the_rows_that_a_constraint_names_are_rejected_without_halving_and_no_others() {
    let Some(server) = Server::start() else { return };
    for way in WAYS {
        let url = server.database(&format!("{KEYED}; INSERT INTO rows VALUES (40, 'old'), (41, 'old')")).await;
        // Three that a constraint refuses, one that comes twice, and two that are there already.
        let name = |id: i64| if [7, 8, 300].contains(&id) { "bad" } else { "good" };
        let rows = move || (0..500).chain([20]).map(move |id| Row { id, name: Some(name(id).to_owned()) });
        let flow = Pipeline::named("rows").read(from_iter("rows", rows));
        let sink = Postgres::append("rows").min_copy_rows(way).connect(&url);
        let report = flow.write(sink).collector(|sink| sink.max_size(501)).look_ahead(2_000).run().await.unwrap();
        assert_eq!((report.written, report.rejected, report.batches), (495, 6, 1));
        let stored = "SELECT count(*) FROM rows WHERE name = 'good' AND id NOT IN (7, 8, 300, 40, 41)";
        assert_eq!(numbers(&url, stored).await, [495]);
    }
}

#[actix_rt::test]
async fn values_that_do_not_fit_their_columns_are_rejected_without_a_look_at_the_others() {
    #[derive(Debug, Clone, Serialize)]
    struct Loose {
        id: serde_json::Value,
        name: Option<String>,
    }
    let Some(server) = Server::start() else { return };
    let url = server.database("CREATE TABLE rows (id int NOT NULL, name varchar(5))").await;
    let rows = || {
        let ids = [json!(1), json!("2"), json!(null), json!("three"), json!(3_000_000_000_u64), json!(4.5), json!(7)];
        ids.map(|id| Loose { id, name: Some("short".to_owned()) })
    };
    let flow = Pipeline::named("rows").read(from_iter("rows", rows)).write(Postgres::append("rows").connect(&url));
    let report = flow.run().await.unwrap();
    assert_eq!((report.written, report.rejected, report.batches), (3, 4, 1));
    assert_eq!(numbers(&url, "SELECT id::bigint FROM rows ORDER BY id").await, [1, 2, 7]);
}

#[actix_rt::test]
async fn what_can_never_work_ends_the_run_by_name() {
    let Some(server) = Server::start() else { return };
    let url = server.database(PLAIN).await;
    let said = async |sink: Postgres| run(|| vec![row(1)], sink.connect(&url)).await.unwrap_err().to_string();
    assert!(said(Postgres::append("nothing")).await.contains("there is no table `nothing`"));
    let unkeyed = said(Postgres::upsert("rows").key(["id"])).await;
    assert!(unkeyed.contains("has no unique index on its key") && unkeyed.contains("CREATE UNIQUE INDEX"), "{unkeyed}");
    let column = said(Postgres::upsert("rows").key(["number"])).await;
    assert!(column.contains("has no column `number`"), "{column}");
    let sink = Postgres::append("rows").connect("postgres://nobody:secret@127.0.0.1:1/none");
    let unreachable = format!("{sink:?} {}", serde_json::to_string(&sink).unwrap());
    assert!(!unreachable.contains("secret"), "{unreachable}");
}

#[actix_rt::test]
async fn each_record_is_stored_once_whatever_fails() {
    let Some(server) = Server::start() else { return };
    for (way, schema) in WAYS.into_iter().flat_map(|way| [(way, PLAIN), (way, KEYED)]) {
        let mut urls = Vec::new();
        for _ in 0..6 {
            urls.push(server.database(schema).await);
        }
        let make = |seed: u64| {
            let sink = if schema == KEYED { Postgres::upsert("rows").key(["id"]) } else { Postgres::append("rows") };
            sink.min_copy_rows(way).connect(&urls[usize::try_from(seed).unwrap()])
        };
        let read = async |seed: u64| {
            let ids = numbers(&urls[usize::try_from(seed).unwrap()], "SELECT id FROM rows").await;
            ids.into_iter().map(i64::unsigned_abs).collect()
        };
        check_sink(0..6, |number| row(i64::try_from(number).unwrap()), make, read).await;
    }
}

#[actix_rt::test]
async fn a_server_that_crashes_and_comes_back_loses_nothing() {
    let Some(server) = Server::start() else { return };
    let url = server.database(PLAIN).await;
    let pipeline = || {
        let retry = actix_batch::Retry::exponential(std::time::Duration::from_millis(50)).attempts(100);
        let outlet = One::new(Postgres::append("rows").connect(&url));
        let outlet = outlet.collector(move |sink| sink.max_size(20).workers(Workers::local(3)).retry(retry.clone()));
        Pipeline::named("rows").read(from_iter("rows", || (0..20_000).map(row))).throttle(20_000.0).write_to(outlet)
    };
    let run = pipeline().start().unwrap();
    while run.progress().written < 2_000 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    server.crash();
    server.up();
    // The lease has gone with the server: the run may end, and the next one goes on.
    if run.report().await.is_err() {
        pipeline().run().await.unwrap();
    }
    let counts = numbers(&url, "SELECT count(*) FROM rows UNION ALL SELECT count(DISTINCT id) FROM rows").await;
    assert_eq!(counts, [20_000, 20_000]);
}

#[actix_rt::test]
async fn two_runs_of_one_pipeline_cannot_write_together() {
    let Some(server) = Server::start() else { return };
    let url = server.database(PLAIN).await;
    let sink = Postgres::append("rows").connect(&url);
    let slow =
        Pipeline::named("rows").read(from_iter("rows", || (0..100_000).map(row))).throttle(1_000.0).write(sink.clone());
    let first = slow.start().unwrap();
    while first.progress().read == 0 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let second = run(|| vec![row(1)], sink).await.unwrap_err().to_string();
    assert!(second.contains("another run of pipeline `rows`"), "{second}");
    first.stop().await.unwrap();
    first.report().await.unwrap();
}

#[actix_rt::test]
async fn a_damaged_cursor_is_refused_and_never_taken_for_a_first_run() {
    let Some(server) = Server::start() else { return };
    let url = server.database(PLAIN).await;
    let sink = Postgres::append("rows").connect(&url);
    let rows = || (0..100).map(row).collect();
    run(rows, sink.clone()).await.unwrap();
    client(&url).await.batch_execute("UPDATE _pipeline_settled SET cursor = '{', done = false").await.unwrap();
    let refused = run(rows, sink.clone()).await.unwrap_err().to_string();
    assert!(refused.contains("is no JSON"), "{refused}");
    assert_eq!(numbers(&url, "SELECT count(*) FROM rows").await, [100]);
    let fresh = Pipeline::named("rows").read(from_iter("rows", rows)).write(sink).fresh(true).run().await;
    assert_eq!(fresh.unwrap().written, 100);
}
