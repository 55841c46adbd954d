//! A subscriber that submits to the collector that reports to it. It is global, so it has this file to itself.

use std::sync::{
    OnceLock,
    atomic::{AtomicU64, Ordering::SeqCst},
};

use actix_batch::prelude::*;
use tracing_core::{Event, Interest, LevelFilter, Metadata, Subscriber, dispatcher::Dispatch, span};

struct LogLine;
impl Job for LogLine {
    type Output = ();
    type Error = String;
}

struct LogStore;
impl BatchProcessor for LogStore {
    type Job = LogLine;
    async fn process(&mut self, _: &Batch<LogLine>) -> Result<Outcomes<LogLine>, String> {
        Ok(Outcomes::all(()))
    }
}

static LOGS: OnceLock<Collector<LogLine>> = OnceLock::new();
static ACCEPTED_EVENTS: AtomicU64 = AtomicU64::new(0);

/// Ships every event through the collector, also the collector's own.
struct Shipper;

impl Subscriber for Shipper {
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        Interest::sometimes()
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // What the actor logs about batches would ship more lines for each of them, for ever.
        metadata.is_event() && metadata.target().contains("intake")
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::DEBUG)
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, _: &Event<'_>) {
        ACCEPTED_EVENTS.fetch_add(1, SeqCst);
        if let Some(logs) = LOGS.get() {
            drop(logs.try_submit(LogLine));
        }
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

#[actix_rt::test]
async fn a_subscriber_that_submits_the_event_of_a_submit_ends_after_one_level() {
    let logs = Collector::builder(|| LogStore).name("logs").max_size(100).start().unwrap();
    LOGS.set(logs.clone()).ok().unwrap();
    tracing_core::dispatcher::set_global_default(Dispatch::new(Shipper)).unwrap();

    logs.submit(LogLine).await.unwrap();

    assert_eq!(ACCEPTED_EVENTS.load(SeqCst), 1, "the submit of the subscriber is not logged");
    assert_eq!(logs.stats().await.unwrap().intake.accepted, 2, "both jobs were accepted");
    logs.shutdown(Shutdown::drain()).await.unwrap();
}
