//! Another S3 server than `moto`: one that checks signatures, and keeps the objects as files that a test can look at.

use std::{fs, time::Duration};

use actix_batch_object_store_s3s::Server;
use actix_batch_pipeline::{
    prelude::*,
    source::{Source, SourceError, SourceErrorKind},
    test_util::{check_source, read_range},
};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Row {
    id: u64,
}

fn csv(ids: std::ops::Range<u64>) -> String {
    let rows: Vec<_> = ids.map(|id| format!("{id}\n")).collect();
    format!("id\n{}", rows.concat())
}

fn put(server: &Server, key: &str, text: &str) {
    let path = server.bucket().join(key);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

async fn ids(source: &impl Source<Record = Row>) -> Result<Vec<u64>, SourceError> {
    source.identity().await?;
    let chunks = read_range(source, &actix_batch_pipeline::Range::all(), 100).await?;
    Ok(chunks.into_iter().flat_map(|(rows, _)| rows).map(|row| row.unwrap().id).collect())
}

#[actix_rt::test]
async fn a_prefix_of_objects_is_read_by_ranges_from_every_cursor_and_refused_when_one_changes() {
    let server = Server::start();
    put(&server, "in/a.csv", &csv(0..20));
    put(&server, "in/b.csv", &csv(20..30));
    let source = server.objects("s3://bucket/in/").block_bytes(40).csv::<Row>();
    assert_eq!(check_source(&source).await, (0..30).map(|id| Ok(Row { id })).collect::<Vec<_>>());

    let identity = source.identity().await.unwrap();
    source.verify(&identity).await.unwrap();
    put(&server, "in/b.csv", &csv(20..31));
    assert_eq!(source.verify(&identity).await.unwrap_err().kind(), SourceErrorKind::Changed);
}

#[actix_rt::test]
async fn a_key_that_the_server_does_not_accept_ends_the_reading_by_name_and_is_not_shown() {
    let server = Server::start();
    put(&server, "in/rows.csv", &csv(0..3));
    let error = ids(&server.objects_with_a_wrong_key("s3://bucket/in/rows.csv").csv::<Row>()).await.unwrap_err();
    let text = format!("{error} {error:?}");
    assert!(text.contains("s3://bucket/in/rows.csv"), "{text}");
    assert!(!text.contains("not-the-secret-key"), "{text}");
}

async fn run(server: &Server, limit: Option<u64>) -> Report {
    let flow = Pipeline::named("rows").read(server.objects("s3://bucket/in/rows.csv").csv::<Row>());
    let pipeline = flow.write(server.parts("s3://bucket/out")).chunk(100).checkpoint_every(Duration::from_millis(20));
    match limit {
        Some(limit) => pipeline.max_records(limit).run().await.unwrap(),
        None => pipeline.run().await.unwrap(),
    }
}

#[actix_rt::test]
async fn a_run_that_stops_and_goes_on_publishes_each_record_once_and_leaves_nothing_else() {
    let server = Server::start();
    put(&server, "in/rows.csv", &csv(0..2_000));
    for limit in [Some(700), Some(600), None] {
        assert_eq!(run(&server, limit).await.guarantee, Guarantee::Once);
    }
    let published = server.published("s3://bucket/out").json_lines::<Row>();
    assert_eq!(ids(&published).await.unwrap(), (0..2_000).collect::<Vec<_>>());

    let objects = fs::read_dir(server.bucket().join("out")).unwrap().filter_map(Result::ok);
    let lines = objects.filter(|object| object.file_name().to_string_lossy().starts_with("part-"));
    let lines: usize = lines.map(|object| fs::read_to_string(object.path()).unwrap().lines().count()).sum();
    assert_eq!(lines, 2_000, "and there are no other parts");
}
