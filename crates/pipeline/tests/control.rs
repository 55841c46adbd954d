//! Runs that are paused, held, stopped, dropped and watched.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use actix_batch::Batch;
use actix_batch_pipeline::{
    checkpoint::{Checkpoint, CheckpointErrorKind, MemoryStore, RunId, Settled, Store, StoreFuture},
    messages::{GetProgress, ProgressChanged, Subscribe},
    prelude::*,
    sink::{IntoSink, Promises, Sink, SinkError, Written},
    source::from_stream,
};
use futures_util::{StreamExt, stream};
use support::{Shelf, numbers, paused};

mod support;

#[test]
fn a_paused_run_reads_and_writes_nothing_and_goes_on_where_it_was() {
    paused(async || {
        let shelf = Shelf::new();
        let flow = Pipeline::named("pause").read(numbers(1_000)).throttle(100.0);
        let handle = flow.write(shelf.clone()).chunk(10).start().unwrap();
        tokio::time::sleep(Duration::from_millis(1_050)).await;
        handle.pause().await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        let before = shelf.stored().len();
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(shelf.stored().len(), before);
        assert!(handle.addr().send(GetProgress).await.unwrap().paused);
        handle.resume().await.unwrap();
        assert_eq!(handle.report().await.unwrap().written, 1_000);
        assert_eq!(shelf.stored(), (0..1_000).collect::<Vec<_>>());
    });
}

#[test]
fn zero_batches_in_flight_hold_the_sink_and_more_let_it_go() {
    paused(async || {
        let shelf = Shelf::new();
        let handle = Pipeline::named("held").read(numbers(10_000)).throttle(1e6).write(shelf.clone()).start().unwrap();
        handle.set_in_flight(0).await.unwrap();
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert!(shelf.stored().len() < 10_000);
        handle.set_in_flight(2).await.unwrap();
        assert_eq!(handle.report().await.unwrap().written, 10_000);
    });
}

#[test]
fn a_run_that_holds_can_be_stopped() {
    paused(async || {
        for hold in ["paused", "no batch in flight"] {
            let shelf = Shelf::new();
            let flow = Pipeline::named("held").read(numbers(1_000)).throttle(100.0);
            let handle = flow.write(shelf.clone()).chunk(10).start().unwrap();
            tokio::time::sleep(Duration::from_millis(1_050)).await;
            match hold {
                "paused" => handle.pause().await.unwrap(),
                _ => handle.set_in_flight(0).await.unwrap(),
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
            handle.stop().await.unwrap();
            let report = tokio::time::timeout(Duration::from_secs(60), handle.report()).await.expect(hold).unwrap();
            assert_eq!((report.ended, report.written), (Ended::Stopped, report.read), "{hold}");
            assert_eq!(shelf.stored().len() as u64, report.written);
        }
    });
}

#[test]
fn a_run_that_waits_for_a_quiet_stream_can_be_stopped() {
    paused(async || {
        let quiet = || stream::iter(0..10_u64).chain(stream::pending());
        let handle = Pipeline::named("quiet").read(from_stream("quiet", quiet)).write(Shelf::new()).start().unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        handle.stop().await.unwrap();
        let report = tokio::time::timeout(Duration::from_secs(60), handle.report()).await.unwrap().unwrap();
        assert_eq!((report.written, report.ended), (10, Ended::Stopped));
    });
}

/// A sink that has begun to write, and waits.
#[derive(Clone)]
struct Slow(Shelf<u64>);

impl IntoSink<u64> for Slow {
    type Sink = Self;

    fn describe(&self) -> String {
        "slow".to_owned()
    }

    fn promises(&self) -> Promises {
        Promises::Keyed
    }

    fn sink(&self, _worker: usize, _run: &RunId, _settled: &Arc<Settled>) -> Self {
        self.clone()
    }
}

impl Sink<u64> for Slow {
    async fn write(&mut self, batch: &Batch<Record<u64>>) -> Result<Written, SinkError> {
        tokio::time::sleep(Duration::from_secs(20)).await;
        self.0.write(batch).await
    }
}

#[test]
fn a_run_that_is_dropped_keeps_its_lease_until_it_writes_no_more() {
    paused(async || {
        let (store, shelf) = (MemoryStore::default(), Shelf::new());
        let place = store.clone();
        let pipeline = Pipeline::named("dropped").read(numbers(u64::MAX)).write(Slow(shelf.clone()));
        let pipeline = pipeline.checkpoint_store(move || Box::new(place.clone())).chunk(10).look_ahead(10).build();
        assert!(tokio::time::timeout(Duration::from_secs(30), pipeline.run()).await.is_err());
        match pipeline.run().await {
            Err(RunError::Checkpoint(error)) => assert_eq!(error.kind(), CheckpointErrorKind::Leased),
            other => panic!("the first run is still writing: {other:?}"),
        }
        tokio::time::sleep(Duration::from_secs(60)).await;
        let written = shelf.stored().len() as u64;
        assert_eq!(store.checkpoint().unwrap().ranges[0].record, written, "it has ended in order");
        store.clone().lease().await.unwrap();
    });
}

#[test]
fn a_stopped_run_finishes_what_is_in_flight_and_the_next_one_goes_on() {
    paused(async || {
        let (store, shelf) = (MemoryStore::default(), Shelf::new());
        let pipeline = |per_second: f64| {
            let place = store.clone();
            let flow = Pipeline::named("stop").read(numbers(1_000)).throttle(per_second);
            flow.write(shelf.clone()).chunk(10).checkpoint_store(move || Box::new(place.clone()))
        };
        let handle = pipeline(100.0).start().unwrap();
        tokio::time::sleep(Duration::from_millis(2_500)).await;
        handle.stop().await.unwrap();
        let report = handle.report().await.unwrap();
        assert_eq!(report.ended, Ended::Stopped);
        assert_eq!(store.checkpoint().unwrap().ranges[0].record, report.read);
        assert_eq!(shelf.stored().len() as u64, report.read);
        pipeline(1e6).run().await.unwrap();
        assert_eq!(shelf.stored(), (0..1_000).collect::<Vec<_>>());
    });
}

/// Takes a minute for each save.
#[derive(Debug, Default, Clone)]
struct SlowStore {
    store: MemoryStore,
    shelf: Shelf<u64>,
    /// How many records the sink had at the end of each save.
    stored: Arc<Mutex<Vec<usize>>>,
    is_saving: Arc<AtomicBool>,
}

impl Store for SlowStore {
    fn lease(&mut self) -> StoreFuture<'_, ()> {
        self.store.lease()
    }

    fn load(&mut self) -> StoreFuture<'_, Option<Checkpoint>> {
        self.store.load()
    }

    fn save<'a>(&'a mut self, checkpoint: &'a Checkpoint) -> StoreFuture<'a, ()> {
        Box::pin(async move {
            assert!(!self.is_saving.swap(true, Ordering::Relaxed), "the save before has not ended");
            tokio::time::sleep(Duration::from_secs(60)).await;
            self.store.save(checkpoint).await?;
            self.stored.lock().unwrap().push(self.shelf.stored().len());
            self.is_saving.store(false, Ordering::Relaxed);
            Ok(())
        })
    }

    fn clear(&mut self) -> StoreFuture<'_, ()> {
        self.store.clear()
    }
}

#[test]
fn records_are_copied_while_a_checkpoint_is_saved_and_the_last_save_waits_for_the_one_before() {
    paused(async || {
        let store = SlowStore::default();
        let place = store.clone();
        let flow = Pipeline::named("slow").read(numbers(1_000)).throttle(100.0).write(store.shelf.clone()).chunk(10);
        flow.checkpoint_store(move || Box::new(place.clone())).run().await.unwrap();
        // The first one is that of the plan, before anything is read. The second one began after a second.
        assert_eq!(*store.stored.lock().unwrap(), [0, 1_000, 1_000]);
        assert_eq!(store.store.checkpoint().unwrap().ranges[0].record, 1_000);
    });
}

struct Watcher(Arc<Mutex<Vec<u64>>>);
impl actix::Actor for Watcher {
    type Context = actix::Context<Self>;
}
impl actix::Handler<ProgressChanged> for Watcher {
    type Result = ();
    fn handle(&mut self, ProgressChanged(progress): ProgressChanged, _: &mut Self::Context) {
        self.0.lock().unwrap().push(progress.written);
    }
}

#[test]
fn a_subscriber_hears_of_the_progress_every_second_and_at_the_end() {
    paused(async || {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let watcher = actix::Actor::start(Watcher(Arc::clone(&heard)));
        let flow = Pipeline::named("watched").read(numbers(500)).throttle(100.0);
        let handle = flow.write(Shelf::new()).chunk(10).start().unwrap();
        handle.addr().send(Subscribe(watcher.recipient())).await.unwrap();
        handle.report().await.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
        let heard = heard.lock().unwrap().clone();
        assert!(heard.len() >= 5 && heard.last() == Some(&500), "{heard:?}");
    });
}
