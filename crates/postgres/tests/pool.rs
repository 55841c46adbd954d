//! Connections out of a pool of the program's own.
#![cfg(feature = "deadpool")]

use std::time::Duration;

use actix_batch_pipeline::prelude::*;
use actix_batch_postgres::{Postgres, PostgresTable};
use deadpool_postgres::{Manager, Pool};
use serde::{Deserialize, Serialize};
use tokio_postgres::NoTls;

use support::{Server, numbers};

mod support;

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Row {
    id: i64,
}

fn pool_of_one(url: &str) -> Pool {
    Pool::builder(Manager::new(url.parse().unwrap(), NoTls)).max_size(1).build().unwrap()
}

#[actix_rt::test]
async fn a_run_takes_its_connections_out_of_the_pool_and_leaves_it_as_it_was() {
    let Some(server) = Server::start() else { return };
    let sql = "CREATE TABLE rows (id bigint PRIMARY KEY); CREATE TABLE copies (id bigint PRIMARY KEY); \
               INSERT INTO rows SELECT generate_series(1, 5000)";
    let url = server.database(sql).await;
    let pool = pool_of_one(&url);
    // What the program has left behind: a schema of its own, and a transaction that it has not ended.
    let client = pool.get().await.unwrap();
    let tenant = "CREATE SCHEMA tenant; CREATE TABLE tenant.copies (id text); SET search_path = tenant";
    client.batch_execute(tenant).await.unwrap();
    client.batch_execute("BEGIN; SET TimeZone = 'Asia/Tokyo'").await.unwrap();
    drop(client);
    let rows = PostgresTable::<Row>::named("rows").key(["id"]).snapshot(true).pool(pool.clone());
    let copies = Postgres::append("copies").min_copy_rows(1).pool(pool.clone());
    let pipeline = Pipeline::named("copies").read(rows).write(copies);
    // More connections at once than the pool has.
    let report = pipeline.readers(2).run().await.unwrap();
    assert_eq!((report.written, report.guarantee), (5_000, Guarantee::Once));
    assert_eq!(numbers(&url, "SELECT count(*) FROM public.copies").await, [5_000]);

    // The server ends a session a moment after its connection.
    let client = pool.get().await.unwrap();
    let left = "SELECT (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory') + \
                (SELECT count(*) FROM pg_class WHERE relpersistence = 't')";
    let lives_on = async || client.query_one(left, &[]).await.unwrap().get::<_, i64>(0) > 0;
    let ended = async {
        while lives_on().await {
            actix_rt::time::sleep(Duration::from_millis(10)).await;
        }
    };
    actix_rt::time::timeout(Duration::from_secs(30), ended).await.expect("no session of the run lives on");
    assert_ne!(client.query_one("SHOW IntervalStyle", &[]).await.unwrap().get::<_, String>(0), "iso_8601");
}

#[actix_rt::test]
async fn a_pool_that_cannot_connect_or_is_closed_ends_the_run_by_name() {
    let said = async |pool: Pool| {
        let pipeline = Pipeline::named("rows").read(from_iter("rows", || [Row { id: 1 }]));
        pipeline.write(Postgres::append("rows").pool(pool)).run().await.unwrap_err().to_string()
    };
    let unreachable = said(pool_of_one("postgres://me:secret@127.0.0.1:1/none")).await;
    assert!(unreachable.contains("the pool cannot connect") && !unreachable.contains("secret"), "{unreachable}");
    let closed = pool_of_one("postgres://me:secret@127.0.0.1:1/none");
    closed.close();
    let closed = said(closed).await;
    assert!(closed.contains("the pool gives no connection") && closed.contains("closed"), "{closed}");
}
