//! Objects of HTTP servers: with ranges and without, and servers that change their mind.
#![cfg(feature = "http")]

use actix_batch_object_store::Objects;
use actix_batch_pipeline::{
    Range,
    source::{Source, SourceErrorKind, TextCursor},
    test_util::{check_source, read_range},
};

use support::{
    Row, csv,
    http::{Object, Server},
    ids,
};

mod support;

fn object(ids: std::ops::Range<u64>, etag: &'static str) -> Object {
    Object { bytes: csv(ids).into_bytes(), etag: Some(etag), knows_ranges: true, ..Object::default() }
}

fn source(server: &Server) -> actix_batch_pipeline::source::Csv<Row, Objects> {
    Objects::at(server.url("rows.csv")).block_bytes(5_000).csv()
}

fn all(count: u64) -> Vec<u64> {
    (0..count).collect()
}

/// Bytes of the answers, and the lowest byte that was asked for by a range.
fn sent(server: &Server, length: u64) -> u64 {
    let bodies = server.requests().into_iter().filter(|request| request.method == "GET");
    bodies.map(|request| request.range.map_or(length, |(first, last)| last + 1 - first)).sum()
}

#[actix_rt::test]
async fn every_chunk_and_cursor_gives_the_same_records_with_ranges_and_without() {
    for knows_ranges in [true, false] {
        let server = Server::start(Object { knows_ranges, ..object(0..40, "\"one\"") }).await;
        let source = Objects::at(server.url("rows.csv")).block_bytes(50).csv::<Row>();
        let expected: Vec<_> = all(40).into_iter().map(|id| Ok(Row { id })).collect();
        assert_eq!(check_source(&source).await, expected);
        assert!(server.requests().iter().all(|request| request.status != 416), "asked beyond the end");
    }
}

#[actix_rt::test]
async fn a_run_goes_on_at_the_byte() {
    let server = Server::start(object(0..20_000, "\"one\"")).await;
    let length = csv(0..20_000).len() as u64;
    let chunks = read_range(&source(&server), &Range::all(), 19_000).await.unwrap();
    let from: TextCursor = serde_json::from_value(chunks[0].1.clone()).unwrap();
    server.requests();
    let rest = read_range(&source(&server), &Range { from: Some(from), to: None }, 5_000).await.unwrap();
    assert_eq!(rest[0].0.len(), 1_000);
    let asked = sent(&server, length);
    assert!(asked < length / 3, "{asked} of {length} bytes for the last twentieth");
}

#[actix_rt::test]
async fn a_server_without_ranges_is_read_from_the_start_and_what_is_known_is_passed() {
    let server = Server::start(Object { knows_ranges: false, ..object(0..20_000, "\"one\"") }).await;
    assert_eq!(ids(&source(&server)).await.unwrap(), all(20_000));
    let chunks = read_range(&source(&server), &Range::all(), 12_345).await.unwrap();
    let from: TextCursor = serde_json::from_value(chunks[0].1.clone()).unwrap();
    let rest = read_range(&source(&server), &Range { from: Some(from), to: None }, 100_000).await.unwrap();
    assert_eq!(rest[0].0.first(), Some(&Ok(Row { id: 12_345 })));
    assert_eq!(rest[0].0.len(), 20_000 - 12_345);
}

#[actix_rt::test]
async fn an_answer_that_breaks_off_is_asked_for_again_from_its_byte() {
    for knows_ranges in [true, false] {
        for etag in [Some("\"one\""), None] {
            let object = Object { knows_ranges, etag, break_off: 3, ..object(0..20_000, "") };
            let server = Server::start(object).await;
            assert_eq!(ids(&source(&server)).await.unwrap(), all(20_000), "{knows_ranges} {etag:?}");
        }
    }
}

#[actix_rt::test]
async fn an_etag_that_changes_in_the_middle_is_refused_by_name() {
    for knows_ranges in [true, false] {
        let other = Object { knows_ranges, ..object(20_000..40_000, "\"two\"") };
        let first = Object {
            knows_ranges,
            then: Some((6, Box::new(other))),
            break_off: usize::from(!knows_ranges) * 20,
            ..object(0..20_000, "\"one\"")
        };
        let server = Server::start(first).await;
        let error = ids(&source(&server)).await.unwrap_err();
        assert_eq!(error.kind(), SourceErrorKind::Changed, "{error}");
        let message =
            format!("{} has changed: it had the ETag \"one\" and has the ETag \"two\"", server.url("rows.csv"));
        assert!(error.to_string().contains(&message), "{error}");
    }
}

#[actix_rt::test]
async fn an_object_that_becomes_shorter_is_refused_and_not_asked_beyond_its_end_again_and_again() {
    let shorter = object(0..10, "\"two\"");
    let server = Server::start(Object { then: Some((3, Box::new(shorter))), ..object(0..20_000, "\"one\"") }).await;
    let error = ids(&source(&server)).await.unwrap_err();
    assert_eq!(error.kind(), SourceErrorKind::Changed, "{error}");
    let beyond = server.requests().iter().filter(|request| request.status == 416).count();
    assert!(beyond <= 1, "{beyond} requests beyond the end");
}

#[actix_rt::test]
async fn without_an_etag_the_size_tells_another_object() {
    let server = Server::start(Object { etag: None, ..object(0..2_000, "") }).await;
    let identity = source(&server).identity().await.unwrap();
    source(&server).verify(&identity).await.unwrap();
    server.set(Object { etag: None, ..object(0..2_001, "") });
    let error = source(&server).verify(&identity).await.unwrap_err();
    assert!(error.to_string().contains("has changed: it had"), "{error}");
}

#[actix_rt::test]
async fn a_name_and_a_password_are_sent_and_never_shown() {
    let server =
        Server::start(Object { password: Some("Basic bWU6dmVyeXNlY3JldA=="), ..object(0..10, "\"one\"") }).await;
    let at = |user: &str| Objects::at(format!("http://{user}@127.0.0.1:{}/rows.csv", server.port())).csv::<Row>();
    assert_eq!(ids(&at("me:verysecret")).await.unwrap(), all(10));
    let error = ids(&at("me:othersecret")).await.unwrap_err();
    assert_eq!(error.kind(), SourceErrorKind::Config, "{error}");
    for text in [error.to_string(), format!("{error:?}"), format!("{:?}", at("me:verysecret"))] {
        assert!(!text.contains("secret") && !text.contains("bWU6"), "{text}");
    }
}

#[actix_rt::test]
async fn a_server_that_is_not_there_is_an_error_by_name() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let source = Objects::at(format!("http://127.0.0.1:{port}/rows.csv")).csv::<Row>();
    let error = source.identity().await.unwrap_err();
    assert!(error.to_string().contains(&format!("http://127.0.0.1:{port}/rows.csv")), "{error}");
}
