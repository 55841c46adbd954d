//! The source on a real server: the same rows however they are read, and on again after any key.

use actix_batch_pipeline::{
    Range,
    prelude::*,
    sink::for_each,
    source::Source,
    test_util::{check_source, read_range},
};
use actix_batch_postgres::PostgresTable;
use serde::Deserialize;

use support::{Server, client, numbers};

mod support;

#[derive(Debug, Clone, PartialEq, Deserialize)]
struct Row {
    name: String,
}

#[actix_rt::test]
async fn a_table_is_read_the_same_in_chunks_of_any_size_after_each_stop_and_in_ranges() {
    let Some(server) = Server::start() else { return };
    let keys = [
        "bigint:(n - 30)::text",
        "text:chr(65 + n % 20) || n::text",
        "numeric:(n * 1.1)::text",
        "timestamptz:(timestamptz '2024-01-01' + n * interval '1 hour 1 microsecond')::text",
        "date:(date '1999-12-01' + n)::text",
        "uuid:md5(n::text)::uuid::text",
        "double precision:(n / 3.0::float8)::text",
    ];
    for key in keys {
        let (sql_type, value) = key.split_once(':').unwrap();
        let sql = format!(
            "CREATE TABLE rows (key {sql_type} PRIMARY KEY, name text); \
             INSERT INTO rows SELECT ({value})::{sql_type}, 'row ' || n FROM generate_series(1, 60) AS n"
        );
        let url = server.database(&sql).await;
        let rows = check_source(&PostgresTable::<Row>::named("rows").key(["key"]).connect(&url)).await;
        assert_eq!(rows.len(), 60, "{sql_type}");
    }
}

#[actix_rt::test]
async fn a_key_of_several_columns_reads_every_row_once() {
    let Some(server) = Server::start() else { return };
    let sql = "CREATE TABLE rows (a int NOT NULL, b text NOT NULL, name text, UNIQUE (a, b)); \
        INSERT INTO rows SELECT n % 5, 'b' || n, 'row ' || n FROM generate_series(1, 60) AS n";
    let url = server.database(sql).await;
    assert_eq!(check_source(&PostgresTable::<Row>::named("rows").key(["a", "b"]).connect(&url)).await.len(), 60);
}

#[actix_rt::test]
async fn a_key_that_is_not_unique_or_has_nulls_is_refused_by_name() {
    let Some(server) = Server::start() else { return };
    let sql =
        "CREATE TABLE rows (id int, number int UNIQUE, name text); INSERT INTO rows VALUES (1, 1, 'a'), (2, NULL, 'b')";
    let url = server.database(sql).await;
    let table = |key: &str| PostgresTable::<Row>::named("rows").key([key]).connect(&url);
    assert!(table("id").identity().await.unwrap_err().to_string().contains("no unique index"));
    assert!(table("number").identity().await.unwrap_err().to_string().contains("skip_null_keys"));
    assert_eq!(check_source(&table("number").skip_null_keys(true)).await.len(), 1);
}

#[actix_rt::test]
async fn a_row_that_does_not_fit_is_rejected_and_young_rows_wait() {
    let Some(server) = Server::start() else { return };
    let sql = "CREATE TABLE rows (id int PRIMARY KEY, name text, at timestamptz NOT NULL); \
        INSERT INTO rows VALUES (1, 'a', now() - interval '1 hour'), (2, NULL, now() - interval '1 hour'), (3, 'c', now())";
    let url = server.database(sql).await;
    let table = PostgresTable::<Row>::named("rows").key(["id"]).connect(&url);
    let table = table.lag("at", std::time::Duration::from_secs(60));
    let flow = Pipeline::named("rows").read(table).write(for_each(|_: &Row| {})).accept_duplicates(true);
    let report = flow.run().await.unwrap();
    assert_eq!((report.read, report.written, report.rejected), (2, 1, 1));
}

#[actix_rt::test]
async fn a_young_row_is_read_later_and_so_are_old_ones_with_larger_keys() {
    let Some(server) = Server::start() else { return };
    let sql = "CREATE TABLE rows (id int PRIMARY KEY, name text NOT NULL, at timestamptz); \
        INSERT INTO rows SELECT id, 'old', now() - interval '1 hour' FROM generate_series(1, 9) AS id; \
        UPDATE rows SET at = now() WHERE id = 5; UPDATE rows SET at = NULL WHERE id = 3";
    let url = server.database(sql).await;
    let folder = tempfile::TempDir::new().unwrap();
    let copy = || {
        let table = PostgresTable::<Row>::named("rows").key(["id"]).connect(&url);
        let table = table.lag("at", std::time::Duration::from_secs(600));
        let flow = Pipeline::named("rows").read(table).write(for_each(|_: &Row| {})).accept_duplicates(true);
        flow.readers(3).chunk(2).checkpoint(folder.path().join("rows.checkpoint")).run()
    };
    assert_eq!(copy().await.unwrap().read, 4);
    assert_eq!(copy().await.unwrap().read, 0, "it is still young");
    client(&url).await.batch_execute("UPDATE rows SET at = now() - interval '1 hour' WHERE id = 5").await.unwrap();
    assert_eq!(copy().await.unwrap().read, 5);
}

/// A table of 2,000 rows with odd keys, the source for it, and what a run of two readers has seen when rows with even keys come while it reads.
async fn read_while_rows_come(server: &Server, snapshot: bool) -> u64 {
    let sql = "CREATE TABLE rows (id bigint PRIMARY KEY, name text NOT NULL); \
        INSERT INTO rows SELECT n * 2 + 1, 'old' FROM generate_series(0, 1999) AS n";
    let url = server.database(sql).await;
    let table = PostgresTable::<Row>::named("rows").key(["id"]).connect(&url).snapshot(snapshot);
    let pipeline = Pipeline::named("rows").read(table.clone()).throttle(4_000.0).write(for_each(|_: &Row| {}));
    let pipeline = pipeline.accept_duplicates(true).chunk(20).look_ahead(20).readers(2);
    let run = pipeline.start().unwrap();
    while run.progress().written == 0 {
        actix_rt::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    let change = "INSERT INTO rows SELECT n * 2, 'new' FROM generate_series(0, 1999) AS n; \
        DELETE FROM rows WHERE id % 10 = 1; UPDATE rows SET id = -id WHERE id % 10 = 3";
    client(&url).await.batch_execute(change).await.unwrap();
    assert!(run.progress().read < 2_000, "the change came too late to be seen");
    let report = run.report().await.unwrap();
    // The transactions end with the run, and not with the source.
    let open = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND xact_start < now()";
    let ended = std::time::Instant::now();
    while numbers(&url, open).await != [0] {
        assert!(ended.elapsed() < std::time::Duration::from_secs(20), "a transaction of {table:?} is still open");
        actix_rt::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    report.read
}

#[actix_rt::test]
async fn two_readers_of_a_snapshot_see_none_of_what_happens_while_they_read() {
    let Some(server) = Server::start() else { return };
    assert_eq!(read_while_rows_come(&server, true).await, 2_000);
    assert_ne!(read_while_rows_come(&server, false).await, 2_000, "the control must see the change");
}

#[actix_rt::test]
async fn a_run_that_goes_on_reads_a_new_snapshot() {
    let Some(server) = Server::start() else { return };
    let sql = "CREATE TABLE rows (id int PRIMARY KEY, name text NOT NULL); INSERT INTO rows VALUES (1, 'a'), (2, 'b')";
    let url = server.database(sql).await;
    let table = PostgresTable::<Row>::named("rows").key(["id"]).connect(&url).snapshot(true);
    let all = async || read_range(&table, &Range::all(), 10).await.unwrap()[0].0.len();
    table.identity().await.unwrap();
    client(&url).await.batch_execute("INSERT INTO rows VALUES (3, 'c')").await.unwrap();
    assert_eq!(all().await, 2, "the snapshot of the run");
    table.identity().await.unwrap();
    assert_eq!(all().await, 3, "that of the next one");
    assert_eq!(check_source(&table).await.len(), 3);
}
