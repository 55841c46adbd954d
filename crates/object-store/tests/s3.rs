//! A real S3 server, by its own protocol.
#![cfg(feature = "s3")]

use std::time::{Duration, Instant};

use actix_batch_pipeline::{
    prelude::*,
    source::{Source, SourceErrorKind},
    test_util::check_source,
};

use support::{Row, csv, ids, moto::Server};

mod support;

#[actix_rt::test]
async fn objects_of_s3_are_listed_read_by_ranges_and_refused_when_they_change() {
    let Some(server) = Server::start() else { return };
    server.put("bucket/in/b.csv", &csv(20..30));
    server.put("bucket/in/a.csv", &csv(0..20));
    let expected: Vec<_> = (0..30).map(|id| Ok(Row { id })).collect();
    assert_eq!(check_source(&server.objects("s3://bucket/in/*.csv").csv::<Row>()).await, expected);
    let source = server.objects("s3://bucket/in/").block_bytes(40).csv::<Row>();
    assert_eq!(ids(&source).await.unwrap(), (0..30).collect::<Vec<_>>());

    let identity = source.identity().await.unwrap();
    source.verify(&identity).await.unwrap();
    server.put("bucket/in/b.csv", &csv(20..31));
    let error = source.verify(&identity).await.unwrap_err();
    assert_eq!(error.kind(), SourceErrorKind::Changed);
    assert!(error.to_string().contains("s3://bucket/in/b.csv has changed: it had the ETag"), "{error}");
    let error = ids(&server.objects("s3://bucket/in/c.csv").csv::<Row>()).await.unwrap_err();
    assert_eq!(error.to_string(), "s3://bucket/in/c.csv does not exist");
}

async fn run(server: &Server, limit: Option<u64>) -> Result<Report, RunError> {
    let flow = Pipeline::named("rows").read(server.objects("s3://bucket/in/rows.csv").csv::<Row>());
    let pipeline = flow.write(server.parts("s3://bucket/out")).chunk(100).checkpoint_every(Duration::from_millis(20));
    match limit {
        Some(limit) => pipeline.max_records(limit).run().await,
        None => pipeline.run().await,
    }
}

#[actix_rt::test]
async fn a_run_that_stops_and_goes_on_publishes_each_record_once() {
    let Some(server) = Server::start() else { return };
    server.put("bucket/in/rows.csv", &csv(0..2_000));
    for limit in [Some(700), Some(600), None] {
        assert_eq!(run(&server, limit).await.unwrap().guarantee, Guarantee::Once);
    }
    let published = server.published("s3://bucket/out").json_lines::<Row>();
    assert_eq!(ids(&published).await.unwrap(), (0..2_000).collect::<Vec<_>>());
    let all = server.objects("s3://bucket/out/").json_lines::<Row>();
    assert_eq!(ids(&all).await.unwrap().len(), 2_000, "and there is nothing else under the prefix");
}

#[actix_rt::test]
async fn a_run_that_was_overtaken_fails_by_name() {
    let Some(server) = Server::start() else { return };
    server.put("bucket/in/rows.csv", &csv(0..2_000));
    let flow = Pipeline::named("rows").read(server.objects("s3://bucket/in/rows.csv").csv::<Row>());
    let old = flow.write(server.parts("s3://bucket/out")).chunk(10).checkpoint_every(Duration::from_millis(20));
    let old = old.start().unwrap();
    let end = Instant::now() + Duration::from_secs(30);
    while old.progress().read == 0 {
        assert!(Instant::now() < end, "the run reads nothing");
        actix_rt::time::sleep(Duration::from_millis(1)).await;
    }
    old.pause().await.unwrap();
    run(&server, None).await.unwrap();
    let _ = old.resume().await;
    let error = old.report().await.unwrap_err().to_string();
    assert!(error.contains("another run of this pipeline has taken over s3://bucket/out/_staging/rows"), "{error}");
    let published = server.published("s3://bucket/out").json_lines::<Row>();
    assert_eq!(ids(&published).await.unwrap(), (0..2_000).collect::<Vec<_>>());
}

#[actix_rt::test]
async fn errors_of_the_server_show_no_secrets() {
    let Some(server) = Server::start() else { return };
    let error = ids(&server.objects("s3://nobody-s-bucket/in/").csv::<Row>()).await.unwrap_err();
    assert!(error.to_string().contains("s3://nobody-s-bucket/"), "{error}");
    let error = run(&server, None).await.unwrap_err();
    for text in [error.to_string(), format!("{error:?}"), format!("{:?}", server.parts("s3://bucket/out"))] {
        assert!(!text.contains("a-very-secret-key") && !text.contains("an-access-key"), "{text}");
    }
}
