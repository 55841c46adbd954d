//! What the source promises, on a real server.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use actix_batch_nats::{JetStream, JetStreamReader, StreamSequence};
use actix_batch_pipeline::{
    Range,
    checkpoint::MemoryStore,
    prelude::*,
    source::{Chunk, Identity, More, Reader, Source, SourceError},
    test_util::check_source,
};
use async_nats::jetstream::stream;

use support::{NatsServer, Shelf, numbers, publish, state, until};

mod support;

fn source(server: &NatsServer) -> JetStream<u64> {
    JetStream::consumer("NUMBERS", "reader").connect(server.url()).ack_wait(Duration::from_secs(1))
}

/// Reads until there is something.
async fn read<R: Reader<Record = u64, Cursor = StreamSequence>>(reader: &mut R, limit: usize) -> Vec<u64> {
    for _ in 0..100 {
        let mut chunk = Chunk::new(0, 0);
        assert_eq!(reader.read(&mut chunk, limit).await.unwrap(), More::Yes);
        if !chunk.is_empty() {
            return chunk.records().iter().map(|record| **record).collect();
        }
    }
    panic!("no message came");
}

/// So many records, in as many chunks as they come.
async fn read_all<R: Reader<Record = u64, Cursor = StreamSequence>>(reader: &mut R, count: usize) -> Vec<u64> {
    let mut records = Vec::new();
    while records.len() < count {
        records.extend(read(reader, count - records.len()).await);
    }
    records
}

/// Each reading has a consumer of its own: one consumer would go on where it was.
struct Anew(JetStream<u64>, AtomicU32);

impl Source for Anew {
    type Record = u64;
    type Cursor = StreamSequence;
    type Reader = JetStreamReader<u64>;

    fn describe(&self) -> String {
        self.0.describe()
    }

    async fn identity(&self) -> Result<Identity, SourceError> {
        self.0.identity().await
    }

    async fn open(&self, range: &Range<StreamSequence>) -> Result<JetStreamReader<u64>, SourceError> {
        let number = self.1.fetch_add(1, Ordering::Relaxed);
        self.0.clone().durable(format!("reader-{number}")).open(range).await
    }
}

#[actix_rt::test]
async fn records_are_the_same_however_they_are_read_and_wherever_reading_stops() {
    let Some(server) = NatsServer::start() else { return };
    let context = server.context().await;
    let stream = numbers(&context).await;
    publish(&context, 0..10).await;
    context.publish("numbers.all", "ten".into()).await.unwrap().await.unwrap();
    publish(&context, 11..16).await;
    stream.delete_message(4).await.unwrap();
    let records = check_source(&Anew(source(&server).stop_at_end(true), AtomicU32::new(0))).await;
    let expected: Vec<_> = (0..16).filter(|number| *number != 3).collect();
    assert_eq!(records.len(), expected.len());
    assert!(records[9].is_err());
    assert!(records.iter().zip(expected).all(|(read, number)| read.as_ref().is_err() || *read == Ok(number)));
}

#[actix_rt::test]
async fn a_message_is_acknowledged_only_once_it_has_settled() {
    let Some(server) = NatsServer::start() else { return };
    let context = server.context().await;
    let stream = numbers(&context).await;
    publish(&context, 0..100).await;
    let shelf = Shelf::closing_at(0);
    let run = Pipeline::named("settled").read(source(&server)).write(shelf.clone()).start().unwrap();
    until("all are delivered", async || state(&stream).await.num_ack_pending == 100).await;
    actix_rt::time::sleep(Duration::from_millis(1_500)).await;
    let info = state(&stream).await;
    assert_eq!((info.ack_floor.stream_sequence, info.num_ack_pending), (0, 100));
    shelf.set_open();
    until("all are acknowledged", async || state(&stream).await.ack_floor.stream_sequence == 100).await;
    run.stop().await.unwrap();
    assert_eq!(run.report().await.unwrap().written, 100);
}

#[actix_rt::test]
async fn messages_that_wait_for_longer_than_ack_wait_are_not_delivered_again() {
    let Some(server) = NatsServer::start() else { return };
    let context = server.context().await;
    let stream = numbers(&context).await;
    publish(&context, 0..50).await;
    let shelf = Shelf::closing_at(0);
    let run = Pipeline::named("slow").read(source(&server)).write(shelf.clone()).start().unwrap();
    until("all are delivered", async || state(&stream).await.num_ack_pending == 50).await;
    actix_rt::time::sleep(Duration::from_secs(3)).await;
    let info = state(&stream).await;
    assert_eq!((info.num_redelivered, info.delivered.consumer_sequence), (0, 50));
    shelf.set_open();
    run.stop().await.unwrap();
    run.report().await.unwrap();
    assert_eq!(shelf.records(), (0..50).collect::<Vec<_>>());
}

#[actix_rt::test]
async fn a_stop_hands_back_what_was_delivered_and_a_preview_takes_little() {
    let Some(server) = NatsServer::start() else { return };
    let context = server.context().await;
    let stream = numbers(&context).await;
    publish(&context, 0..5_000).await;
    let shown = Pipeline::named("first").read(source(&server)).write(Shelf::default()).preview(10).await;
    assert_eq!(shown.unwrap().len(), 10);
    let delivered = state(&stream).await.delivered.consumer_sequence;
    // Eight chunks.
    assert!(delivered <= 2_000, "{delivered} deliveries for 10 messages");
    // All of them are there for the next run at once, long before `ack_wait` is over.
    let began = std::time::Instant::now();
    let shelf = Shelf::default();
    let run = Pipeline::named("all").read(source(&server).stop_at_end(true)).write(shelf.clone()).run();
    assert_eq!(run.await.unwrap().written, 5_000);
    assert_eq!(shelf.records(), (0..5_000).collect::<Vec<_>>());
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[actix_rt::test]
async fn max_ack_pending_bounds_what_is_read_ahead_and_is_reached() {
    let Some(server) = NatsServer::start() else { return };
    let context = server.context().await;
    let stream = numbers(&context).await;
    publish(&context, 0..1_000).await;
    let shelf = Shelf::closing_at(0);
    let bounded = source(&server).max_ack_pending(64).stop_at_end(true);
    let run = Pipeline::named("bounded").read(bounded).write(shelf.clone()).start().unwrap();
    until("the bound is reached", async || run.progress().read == 64).await;
    actix_rt::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!((run.progress().read, state(&stream).await.num_ack_pending), (64, 64));
    shelf.set_open();
    assert_eq!(run.report().await.unwrap().written, 1_000);
    assert_eq!(shelf.records(), (0..1_000).collect::<Vec<_>>());
    until("all are acknowledged", async || state(&stream).await.ack_floor.stream_sequence == 1_000).await;
}

#[actix_rt::test]
async fn a_payload_that_is_no_record_is_rejected_by_its_sequence_and_acknowledged() {
    let Some(server) = NatsServer::start() else { return };
    let context = server.context().await;
    let stream = numbers(&context).await;
    publish(&context, 0..2).await;
    context.publish("numbers.all", "three".into()).await.unwrap().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let letters = folder.path().join("rejected.jsonl");
    let pipeline = Pipeline::named("payload").read(source(&server).stop_at_end(true)).write(Shelf::default());
    let report = pipeline.dead_letters(&letters).run().await.unwrap();
    assert_eq!((report.written, report.rejected), (2, 1));
    let letters = std::fs::read_to_string(letters).unwrap();
    assert!(letters.contains("stream sequence 3") && letters.contains("three"), "{letters}");
    until("it is acknowledged", async || state(&stream).await.ack_floor.stream_sequence == 3).await;
}

#[actix_rt::test]
async fn what_was_delivered_to_a_dead_reader_comes_first_and_in_order() {
    let Some(server) = NatsServer::start() else { return };
    let context = server.context().await;
    let stream = numbers(&context).await;
    publish(&context, 0..20).await;
    let mut dead = source(&server).open(&Range::all()).await.unwrap();
    assert_eq!(read_all(&mut dead, 10).await, (0..10).collect::<Vec<_>>());
    dead.settled(&StreamSequence(3)).await.unwrap();
    until("three are acknowledged", async || state(&stream).await.ack_floor.stream_sequence == 3).await;
    drop(dead);

    let mut reader = source(&server).open(&Range::all()).await.unwrap();
    let mut records = Vec::new();
    while records.len() < 17 {
        records.extend(read(&mut reader, 100).await);
    }
    assert_eq!(records, (3..20).collect::<Vec<_>>());
    reader.settled(&StreamSequence(20)).await.unwrap();
    // The messages of the dead reader are delivered again, and acknowledged, without being handed over.
    until("all are acknowledged", async || {
        let mut chunk = Chunk::new(0, 0);
        reader.read(&mut chunk, 100).await.unwrap();
        assert!(chunk.is_empty());
        let info = state(&stream).await;
        info.num_ack_pending == 0 && info.ack_floor.stream_sequence == 20
    })
    .await;
}

#[actix_rt::test]
async fn after_a_cursor_the_same_records_come_although_they_were_acknowledged() {
    let Some(server) = NatsServer::start() else { return };
    let context = server.context().await;
    let stream = numbers(&context).await;
    publish(&context, 0..20).await;
    let mut first = source(&server).open(&Range::all()).await.unwrap();
    read_all(&mut first, 20).await;
    first.settled(&StreamSequence(15)).await.unwrap();
    first.close().await.unwrap();
    until("15 are acknowledged", async || state(&stream).await.ack_floor.stream_sequence == 15).await;

    let range = Range { from: Some(StreamSequence(10)), to: None };
    let mut reader = source(&server).open(&range).await.unwrap();
    assert_eq!(read_all(&mut reader, 10).await, (10..20).collect::<Vec<_>>());
}

#[actix_rt::test]
async fn messages_up_to_the_cursor_are_acknowledged_and_skipped() {
    let Some(server) = NatsServer::start() else { return };
    let context = server.context().await;
    let stream = numbers(&context).await;
    publish(&context, 0..20).await;
    drop(read_all(&mut source(&server).open(&Range::all()).await.unwrap(), 20).await);
    let range = Range { from: Some(StreamSequence(12)), to: None };
    let mut reader = source(&server).open(&range).await.unwrap();
    assert_eq!(read_all(&mut reader, 8).await, (12..20).collect::<Vec<_>>());
    until("12 are acknowledged", async || {
        let mut chunk = Chunk::new(0, 0);
        reader.read(&mut chunk, 100).await.unwrap();
        assert!(chunk.is_empty());
        state(&stream).await.ack_floor.stream_sequence == 12
    })
    .await;
}

#[actix_rt::test]
async fn a_stream_without_messages_stops_cleanly() {
    let Some(server) = NatsServer::start() else { return };
    let context = server.context().await;
    numbers(&context).await;
    let run = Pipeline::named("empty").read(source(&server)).write(Shelf::default()).start().unwrap();
    actix_rt::time::sleep(Duration::from_millis(600)).await;
    run.stop().await.unwrap();
    let report = actix_rt::time::timeout(Duration::from_secs(2), run.report()).await.unwrap().unwrap();
    assert_eq!((report.read, report.ended), (0, Ended::Stopped));
    let ended = Pipeline::named("empty").read(source(&server).stop_at_end(true)).write(Shelf::default());
    assert_eq!(ended.run().await.unwrap().ended, Ended::Complete);
}

#[actix_rt::test]
async fn a_server_that_is_killed_and_started_again_loses_nothing() {
    let Some(mut server) = NatsServer::start() else { return };
    let context = server.context().await;
    let stream = numbers(&context).await;
    publish(&context, 0..5_000).await;
    let (shelf, store) = (Shelf::closing_at(1_500), MemoryStore::default());
    let run = Pipeline::named("restart")
        .read(source(&server).max_ack_pending(1_000).stop_at_end(true))
        .write(shelf.clone())
        .checkpoint_store(move || Box::new(store.clone()))
        .start()
        .unwrap();
    until("some are written", async || shelf.len() >= 1_500).await;
    server.kill();
    shelf.set_open();
    actix_rt::time::sleep(Duration::from_millis(700)).await;
    server.restart();
    let report = run.report().await.unwrap();
    assert_eq!((report.written, report.ended), (5_000, Ended::Complete));
    assert_eq!(shelf.records(), (0..5_000).collect::<Vec<_>>(), "in order, each once");
    until("all are acknowledged", async || {
        let info = state(&stream).await;
        (info.num_ack_pending, info.ack_floor.stream_sequence) == (0, 5_000)
    })
    .await;
}

#[actix_rt::test]
async fn a_stream_that_forgets_its_messages_needs_to_go_on_by_acknowledgements() {
    let Some(server) = NatsServer::start() else { return };
    let context = server.context().await;
    let config = stream::Config {
        name: "NUMBERS".to_owned(),
        subjects: vec!["numbers.>".to_owned()],
        retention: stream::RetentionPolicy::WorkQueue,
        ..Default::default()
    };
    let mut queue = context.create_stream(config).await.unwrap();
    publish(&context, 0..100).await;
    let run = |source: JetStream<u64>, shelf: &Shelf| Pipeline::named("queue").read(source).write(shelf.clone()).run();
    let error = run(source(&server).stop_at_end(true), &Shelf::default()).await.unwrap_err();
    assert!(error.to_string().contains("set `resume_by_acks`"), "{error}");

    let by_acks = || source(&server).stop_at_end(true).resume_by_acks(true);
    drop(read_all(&mut by_acks().open(&Range::all()).await.unwrap(), 50).await);
    let shelf = Shelf::default();
    run(by_acks(), &shelf).await.unwrap();
    assert_eq!(shelf.records(), (0..100).collect::<Vec<_>>());
    until("the queue is empty", async || queue.info().await.unwrap().state.messages == 0).await;
}

#[actix_rt::test]
async fn a_cursor_whose_next_messages_are_gone_is_refused_by_their_numbers() {
    let Some(server) = NatsServer::start() else { return };
    let context = server.context().await;
    let stream = numbers(&context).await;
    publish(&context, 0..20).await;
    stream.purge().sequence(11).await.unwrap();
    let open = |after| {
        let source = source(&server);
        async move { source.open(&Range { from: Some(StreamSequence(after)), to: None }).await.map(drop) }
    };
    let error = open(5).await.unwrap_err();
    assert!(error.to_string().contains("no longer has the messages 6 to 10"), "{error}");
    assert!(open(10).await.is_ok());
    let error = open(30).await.unwrap_err();
    assert!(error.to_string().contains("ends with message 20"), "{error}");
}
