//! What the sink promises, on a real server.

use std::sync::Arc;

use actix_batch_nats::{JetStream, NatsSubject};
use actix_batch_pipeline::{
    checkpoint::{RunId, Settled},
    outlet::One,
    prelude::*,
    sink::{IntoSink, Sink},
    source::Source,
};
use async_nats::jetstream::stream;

use support::{NatsServer, Shelf, numbers, publish};

mod support;

fn sink(server: &NatsServer, subject: &str) -> NatsSubject {
    NatsSubject::publish(subject).connect(server.url())
}

#[actix_rt::test]
async fn publishing_twice_stores_once() {
    let Some(server) = NatsServer::start() else { return };
    let context = server.context().await;
    let mut stream = numbers(&context).await;
    for _ in 0..2 {
        let twice =
            Pipeline::named("twice").read(from_iter("numbers", || 0..700_u64)).flat_map(|number| [number, number]);
        let report = twice.write(sink(&server, "numbers.out")).run().await.unwrap();
        assert_eq!((report.written, report.guarantee), (1_400, Guarantee::OnceByKey));
        assert_eq!(stream.info().await.unwrap().state.messages, 1_400);
    }
}

#[actix_rt::test]
async fn messages_of_a_consumer_keep_their_ids_whatever_their_numbers_are() {
    let Some(server) = NatsServer::start() else { return };
    let context = server.context().await;
    numbers(&context).await;
    let config = stream::Config { name: "OUT".to_owned(), subjects: vec!["out".to_owned()], ..Default::default() };
    let mut out = context.create_stream(config).await.unwrap();
    for run in 1..=3 {
        publish(&context, 0..10).await;
        let source = JetStream::<u64>::consumer("NUMBERS", "reader").connect(server.url()).stop_at_end(true);
        // Without a checkpoint each run numbers its records from 0.
        let report = Pipeline::named("copy").read(source).write(sink(&server, "out")).run().await.unwrap();
        assert_eq!(report.written, 10);
        assert_eq!(out.info().await.unwrap().state.messages, 10 * run);
    }
}

#[actix_rt::test]
async fn two_subjects_of_one_stream_each_hold_every_record() {
    let Some(server) = NatsServer::start() else { return };
    let context = server.context().await;
    let mut stream = numbers(&context).await;
    let flow = Pipeline::named("both").read(from_iter("numbers", || 0..50_u64));
    let [one, two] = ["numbers.one", "numbers.two"].map(|subject| One::new(sink(&server, subject)));
    let report = flow.tee(one, two).run().await.unwrap();
    assert_eq!(report.written, 50);
    assert_eq!(stream.info().await.unwrap().state.messages, 100);
}

#[actix_rt::test]
async fn a_password_is_never_shown_and_never_stored() {
    for url in [
        "nats://me:s3cret@127.0.0.1:1",
        "nats://me:s3c@h4lf@127.0.0.1:1",
        "nats://me:s3c/h4lf@127.0.0.1:1",
        "nats://me:s3c,h4lf@127.0.0.1:1",
        "nats://127.0.0.1:1, nats://me:s3c,h4lf@127.0.0.1:1",
        "nats://me:s3c:ret@127.0.0.1:s3cret",
        "nats://s3cret@127.0.0.1:1",
        "me:s3c/h4lf@127.0.0.1:1",
        "me:s3c://h4lf@127.0.0.1:1",
    ] {
        let (source, sink) =
            (JetStream::<u64>::consumer("S", "d").connect(url), NatsSubject::publish("out").connect(url));
        let run = RunId::new("rows".to_owned());
        let settled = Arc::new(Settled::new(serde_json::from_value(checkpoint()).unwrap()));
        let refused = IntoSink::<u64>::sink(&sink, 0, &run, &settled).prepare().await.unwrap_err();
        let unread = source.identity().await.unwrap_err();
        let shown = format!(
            "{source:?} {sink:?} {refused} {refused:?} {unread} {unread:?} {} {} {}",
            serde_json::to_string(&source).unwrap(),
            serde_json::to_string(&sink).unwrap(),
            IntoSink::<u64>::describe(&sink),
        );
        assert!(!shown.contains("s3c") && !shown.contains("h4lf"), "{url}: {shown}");
    }
}

fn checkpoint() -> serde_json::Value {
    serde_json::json!({ "plan": "", "identity": null, "cursor_version": 1, "ranges": [] })
}

#[actix_rt::test]
async fn a_record_that_is_too_large_is_rejected_and_the_others_are_stored() {
    let Some(server) = NatsServer::start() else { return };
    let context = server.context().await;
    let config = stream::Config {
        name: "SMALL".to_owned(),
        subjects: vec!["small".to_owned()],
        max_message_size: 10_000,
        ..Default::default()
    };
    let mut stream = context.create_stream(config).await.unwrap();
    let texts = || [1, 20_000, 2, 2_000_000, 3].map(|size| "x".repeat(size));
    let pipeline = Pipeline::named("large").read(from_iter("texts", texts)).write(sink(&server, "small"));
    let report = pipeline.run().await.unwrap();
    assert_eq!((report.written, report.rejected), (3, 2));
    assert_eq!(stream.info().await.unwrap().state.messages, 3);
}

#[actix_rt::test]
async fn a_subject_that_no_stream_stores_ends_the_run_by_its_name() {
    let Some(server) = NatsServer::start() else { return };
    let pipeline = Pipeline::named("nowhere").read(from_iter("numbers", || 0..10_u64));
    let error = pipeline.write(sink(&server, "nowhere")).run().await.unwrap_err();
    assert!(error.to_string().contains("no stream stores the subject nowhere"), "{error}");
}

#[actix_rt::test]
async fn what_a_sink_has_published_a_source_reads() {
    let Some(server) = NatsServer::start() else { return };
    let context = server.context().await;
    numbers(&context).await;
    let out = Pipeline::named("out").read(from_iter("numbers", || 0..3_000_u64)).write(sink(&server, "numbers.out"));
    out.run().await.unwrap();
    let shelf = Shelf::default();
    let source = JetStream::consumer("NUMBERS", "reader").connect(server.url()).stop_at_end(true);
    Pipeline::named("in").read(source).write(shelf.clone()).run().await.unwrap();
    assert_eq!(shelf.records(), (0..3_000).collect::<Vec<_>>());
}
