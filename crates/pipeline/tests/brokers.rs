//! Sources that are told what has settled.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use actix_batch_pipeline::{
    Origin, Range,
    checkpoint::MemoryStore,
    prelude::*,
    source::{Chunk, Identity, More, Reader, Source, SourceError},
};
use support::{Shelf, paused};

mod support;

/// Numbers from a broker: it is told what has settled, and must not be told more than the checkpoint holds.
struct Broker {
    store: MemoryStore,
    acknowledged: Arc<AtomicU64>,
}

struct BrokerReader {
    next: u64,
    store: MemoryStore,
    acknowledged: Arc<AtomicU64>,
}

impl Source for Broker {
    type Record = u64;
    type Cursor = u64;
    type Reader = BrokerReader;

    fn describe(&self) -> String {
        "broker".to_owned()
    }

    async fn identity(&self) -> Result<Identity, SourceError> {
        Ok(Identity::Null)
    }

    async fn open(&self, range: &Range<u64>) -> Result<BrokerReader, SourceError> {
        let (store, acknowledged) = (self.store.clone(), Arc::clone(&self.acknowledged));
        Ok(BrokerReader { next: range.from.unwrap_or(0), store, acknowledged })
    }
}

impl Reader for BrokerReader {
    type Record = u64;
    type Cursor = u64;
    const ACKNOWLEDGES: bool = true;

    async fn read(&mut self, chunk: &mut Chunk<u64, u64>, limit: usize) -> Result<More, SourceError> {
        tokio::time::sleep(Duration::from_millis(10)).await;
        for number in self.next..(self.next + limit as u64).min(1_000) {
            chunk.push(number, Origin::Unknown);
        }
        self.next = (self.next + limit as u64).min(1_000);
        chunk.set_after(self.next);
        Ok(if self.next < 1_000 { More::Yes } else { More::No })
    }

    async fn settled(&mut self, up_to: &u64) -> Result<(), SourceError> {
        let stored = self.store.checkpoint().unwrap().ranges[0].record;
        assert!(stored >= *up_to, "{up_to} is acknowledged, and the checkpoint has {stored}");
        self.acknowledged.store(*up_to, Ordering::Relaxed);
        Ok(())
    }
}

#[test]
fn a_broker_is_told_only_what_the_checkpoint_holds_and_in_the_end_all_of_it() {
    paused(async || {
        let (store, acknowledged) = (MemoryStore::default(), Arc::new(AtomicU64::new(0)));
        let (broker, place) = (Broker { store: store.clone(), acknowledged: Arc::clone(&acknowledged) }, store.clone());
        let pipeline = Pipeline::named("broker").read(broker).write(Shelf::new()).chunk(100);
        pipeline.checkpoint_store(move || Box::new(place.clone())).run().await.unwrap();
        assert_eq!(acknowledged.load(Ordering::Relaxed), 1_000);
    });
}

/// A broker that gives no more than 100 numbers before it has been answered.
struct Answered {
    handed_over: u64,
    acknowledged: u64,
    reads: Arc<AtomicU64>,
}

/// Reads [`Answered`].
struct AnsweredSource(Arc<AtomicU64>);

impl Source for AnsweredSource {
    type Record = u64;
    type Cursor = u64;
    type Reader = Answered;

    fn describe(&self) -> String {
        "answered".to_owned()
    }

    async fn identity(&self) -> Result<Identity, SourceError> {
        Ok(Identity::Null)
    }

    async fn open(&self, range: &Range<u64>) -> Result<Answered, SourceError> {
        let from = range.from.unwrap_or(0);
        Ok(Answered { handed_over: from, acknowledged: from, reads: Arc::clone(&self.0) })
    }
}

impl Reader for Answered {
    type Record = u64;
    type Cursor = u64;
    const ACKNOWLEDGES: bool = true;

    async fn read(&mut self, chunk: &mut Chunk<u64, u64>, limit: usize) -> Result<More, SourceError> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        let end = (self.handed_over + limit as u64).min(self.acknowledged + 100);
        (self.handed_over..end).for_each(|number| chunk.push(number, Origin::Unknown));
        self.handed_over = end;
        chunk.set_after(end);
        Ok(match (end, self.acknowledged) {
            (1_000, _) => More::No,
            (end, acknowledged) if end == acknowledged + 100 => More::OnceSettled,
            _ => More::Yes,
        })
    }

    async fn settled(&mut self, up_to: &u64) -> Result<(), SourceError> {
        self.acknowledged = *up_to;
        Ok(())
    }
}

#[test]
fn a_reader_that_waits_for_answers_is_asked_again_when_there_are_some_and_no_batch_waits_for_more_records() {
    paused(async || {
        let (reads, began) = (Arc::new(AtomicU64::new(0)), tokio::time::Instant::now());
        let shelf = Shelf::new();
        // Every third number is rejected: letters hold the checkpoint back until they are durable.
        let folder = tempfile::TempDir::new().unwrap();
        let flow = Pipeline::named("answered").read(AnsweredSource(Arc::clone(&reads)));
        let flow = flow.try_map(|number| if number % 3 == 0 { Err("a third") } else { Ok(number) });
        let pipeline = flow.write(shelf.clone()).collector(|sink| sink.interval(Duration::from_secs(60))).chunk(30);
        let report = pipeline.dead_letters(folder.path().join("letters")).run().await.unwrap();
        assert_eq!((report.read, report.rejected), (1_000, 334));
        assert_eq!(shelf.stored(), (0..1_000).filter(|number| number % 3 > 0).collect::<Vec<_>>());
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
        let reads = reads.load(Ordering::Relaxed);
        assert!(reads <= 60, "read {reads} times: it was asked although it had nothing");
    });
}

#[test]
fn a_broker_is_told_of_the_last_batch_of_a_run_that_stops_after_some() {
    paused(async || {
        let (store, acknowledged) = (MemoryStore::default(), Arc::new(AtomicU64::new(0)));
        let (broker, place) = (Broker { store: store.clone(), acknowledged: Arc::clone(&acknowledged) }, store.clone());
        let pipeline = Pipeline::named("broker").read(broker).write(Shelf::new()).chunk(100).max_batches(3);
        let report = pipeline.checkpoint_store(move || Box::new(place.clone())).run().await.unwrap();
        assert_eq!((report.ended, acknowledged.load(Ordering::Relaxed)), (Ended::Stopped, report.written));
    });
}
