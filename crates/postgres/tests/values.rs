//! What is stored of each value: the same by the arrays of a statement as by `COPY`.

use actix_batch_pipeline::prelude::*;
use actix_batch_postgres::Postgres;
use serde::Serialize;
use serde_json::{Value, json};

use support::{Server, client, numbers};

mod support;

const TABLE: &str = "CREATE TABLE rows (small smallint, whole int NOT NULL, big bigint, double double precision, real real, \
    amount numeric, is_so bool, name text, short varchar(5), day date, at timestamptz, id uuid, data jsonb, bytes bytea, \
    numbers int[], place inet)";

#[derive(Debug, Clone, Serialize)]
struct Row {
    name: Option<String>,
    whole: i64,
    small: i8,
    big: u64,
    double: f64,
    real: f32,
    amount: f64,
    is_so: Option<bool>,
    short: char,
    day: &'static str,
    at: &'static str,
    id: &'static str,
    data: Value,
    bytes: &'static str,
    numbers: &'static str,
    place: std::net::IpAddr,
}

fn row(whole: i64) -> Row {
    Row {
        name: (whole % 2 == 0).then(|| format!("ünïcode, \"quotes\" and a tab\t{whole}")),
        whole,
        small: -7,
        big: 9_007_199_254_740_993,
        double: 0.1 + 0.2,
        real: 0.1,
        amount: 1e21,
        is_so: (whole > 1).then_some(true),
        short: 'ß',
        day: "2024-02-29",
        at: "2024-02-29T12:00:00.000001+02:00",
        id: "00000000-0000-4000-8000-000000000001",
        data: json!({ "a": [1, null, "x"] }),
        bytes: "\\xdeadbeef",
        numbers: "{1,NULL,3}",
        place: [127, 0, 0, 1].into(),
    }
}

async fn stored(server: &Server, way: usize, rows: impl Fn() -> Vec<Row> + Send + Sync + 'static) -> Vec<String> {
    let url = server.database(TABLE).await;
    let flow = Pipeline::named("rows").read(from_iter("rows", rows));
    let report = flow.write(Postgres::append("rows").min_copy_rows(way).connect(&url)).run().await.unwrap();
    assert_eq!(report.rejected, 0);
    let client = client(&url).await;
    client.batch_execute("SET TimeZone = 'UTC'; SET extra_float_digits = 3").await.unwrap();
    let rows = client.query("SELECT r::text FROM rows AS r ORDER BY whole", &[]).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

#[actix_rt::test]
async fn values_of_every_type_are_stored_alike_in_batches_of_any_size() {
    let Some(server) = Server::start() else { return };
    let rows = || (1..=100).map(row).collect();
    let by_unnest = stored(&server, usize::MAX, rows).await;
    let expected = "(-7,1,9007199254740993,0.30000000000000004,0.1,1000000000000000000000,,,ß,2024-02-29,\
        \"2024-02-29 10:00:00.000001+00\",00000000-0000-4000-8000-000000000001,\"{\"\"a\"\": [1, null, \"\"x\"\"]}\",\
        \"\\\\xdeadbeef\",\"{1,NULL,3}\",127.0.0.1)";
    assert_eq!(by_unnest[0], expected);
    assert_eq!(by_unnest.len(), 100);
    assert_eq!(stored(&server, 1, rows).await, by_unnest);
}

#[actix_rt::test]
async fn numbers_that_are_not_finite_are_stored_as_such() {
    let Some(server) = Server::start() else { return };
    let rows = || {
        let values =
            [(f64::NAN, f32::NAN, f64::NAN), (f64::INFINITY, f32::INFINITY, 0.0), (f64::NEG_INFINITY, 0.0, 0.0)];
        let row = |(whole, (double, real, amount))| Row { double, real, amount, ..row(whole) };
        (1..).zip(values).map(row).collect()
    };
    for way in [usize::MAX, 1] {
        let stored = stored(&server, way, rows).await;
        assert!(stored[0].contains(",NaN,NaN,NaN,"), "{stored:?}");
        assert!(stored[1].contains(",Infinity,Infinity,"), "{stored:?}");
        assert!(stored[2].contains(",-Infinity,0,"), "{stored:?}");
    }
}

#[actix_rt::test]
async fn a_text_that_is_too_long_is_refused_and_never_cut_off() {
    let Some(server) = Server::start() else { return };
    let table = "CREATE DOMAIN code AS varchar(3); \
        CREATE TABLE rows (number bigint NOT NULL, short varchar(3), fixed char(3), flags bit(3), code code)";
    for way in [usize::MAX, 1] {
        let url = server.database(table).await;
        let rows = || {
            let too_long = ["short", "fixed", "flags", "code"].map(|column| (column, "1010"));
            let fitting = ["short", "fixed", "flags", "code"].map(|column| (column, "101"));
            let row = |(number, (column, text)): (u8, (&str, &str))| json!({ "number": number, column: text });
            (0..).zip(too_long.into_iter().chain(fitting)).map(row).collect::<Vec<Value>>()
        };
        let flow = Pipeline::named("rows").read(from_iter("rows", rows));
        let report = flow.write(Postgres::append("rows").min_copy_rows(way).connect(&url)).run().await.unwrap();
        assert_eq!((report.written, report.rejected), (4, 4));
        assert_eq!(numbers(&url, "SELECT number FROM rows ORDER BY number").await, [4, 5, 6, 7]);
    }
}

/// A trigger notes which way each row has come.
const WATCHED: &str = "CREATE TABLE rows (whole int PRIMARY KEY, is_copied bool); \
    CREATE FUNCTION watch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.is_copied := false; \
        IF to_regclass('pg_temp._pipeline_copy') IS NOT NULL THEN \
            SELECT count(*) > 0 FROM pg_temp._pipeline_copy INTO NEW.is_copied; END IF; RETURN NEW; END $$; \
    CREATE TRIGGER watch BEFORE INSERT ON rows FOR EACH ROW EXECUTE FUNCTION watch(); \
    CREATE ROLE plain LOGIN; GRANT ALL ON SCHEMA public TO plain; GRANT ALL ON rows TO plain";

#[derive(Debug, Clone, Serialize)]
struct Watched {
    whole: i32,
}

/// How many rows were copied of 250 in batches of 100, 100 and 50.
async fn copied(url: &str, sink: Postgres) -> i64 {
    let flow = Pipeline::named("rows").read(from_iter("rows", || (0..250).map(|whole| Watched { whole })));
    let flow = flow.write(sink.key(["whole"]).connect(url)).collector(|sink| sink.max_size(100));
    assert_eq!(flow.run().await.unwrap().written, 250);
    assert_eq!(numbers(url, "SELECT count(*) FROM rows").await, [250]);
    numbers(url, "SELECT count(*) FROM rows WHERE is_copied").await[0]
}

#[actix_rt::test]
async fn bytes_are_stored_as_they_are_and_other_structures_are_refused() {
    #[derive(Serialize)]
    struct Bytes {
        whole: i32,
        bytes: Value,
    }
    let Some(server) = Server::start() else { return };
    let url = server.database(TABLE).await;
    let values = || [json!([1, 2, 255]), json!([]), json!("\\xdead"), json!([256]), json!({ "a": 1 }), json!(5)];
    let rows = move || (0..).zip(values()).map(|(whole, bytes)| Bytes { whole, bytes });
    let flow = Pipeline::named("rows").read(from_iter("rows", rows));
    let report = flow.write(Postgres::append("rows").connect(&url)).run().await.unwrap();
    assert_eq!((report.written, report.rejected), (3, 3));
    let stored = client(&url).await.query("SELECT encode(bytes, 'hex') FROM rows ORDER BY whole", &[]).await.unwrap();
    let stored: Vec<String> = stored.iter().map(|row| row.get(0)).collect();
    assert_eq!(stored, ["0102ff", "", "dead"]);
}

#[actix_rt::test]
async fn large_batches_are_copied_where_the_user_may_have_a_temporary_table() {
    let Some(server) = Server::start() else { return };
    let url = server.database(WATCHED).await;
    assert_eq!(copied(&url, Postgres::upsert("rows").min_copy_rows(100)).await, 200);
    let anew = "DROP TABLE _pipelines, _pipeline_settled, _pipeline_beyond, _pipeline_runs; TRUNCATE rows";
    client(&url).await.batch_execute(anew).await.unwrap();
    assert_eq!(copied(&url, Postgres::upsert("rows").min_copy_rows(usize::MAX)).await, 0);
    client(&url).await.batch_execute(anew).await.unwrap();
    let forbid =
        "DO $$ BEGIN EXECUTE format('REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC', current_database()); END $$";
    client(&url).await.batch_execute(forbid).await.unwrap();
    assert_eq!(copied(&url.replace("postgres@", "plain@"), Postgres::upsert("rows").min_copy_rows(1)).await, 0);
}
