//! How far after its due time an interval flush happens: while the collector has nothing else to do, and while another thread
//! floods it with messages.
//!
//! Each job says when it was sent, so a batch is due an interval after its first job was sent, and late by what passes from then
//! until the processor has it. A flooding thread never has more than [`AHEAD`] blocks of messages in the mailbox: what they wait
//! there counts as lateness too, so it must be little.

use std::{
    convert::Infallible,
    fmt,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use actix_batch::{Resume, Trigger, prelude::*};
use hdrhistogram::Histogram;
use tokio::sync::Semaphore;

use crate::{host::Host, report::FlushLateness, spread::rounded};

const INTERVAL: Duration = Duration::from_millis(10);

/// Messages that a flooding thread sends without looking back.
const BLOCK: usize = 500;

/// Blocks that may be unanswered: two, so that the mailbox is not empty while the second one's sender wakes up.
const AHEAD: usize = 2;

/// Measures both and prints them.
pub(crate) fn run(smoke: bool) -> FlushLateness {
    let flushes = if smoke { 20 } else { 300 };
    let idle = measure(flushes, submit_now_and_then);
    let flooded = measure(flushes, flood);
    println!("how late an interval flush is, idle:    {idle}");
    println!("                               flooded: {flooded}");
    FlushLateness { idle_p99: rounded(idle.ms(0.99), 3), flooded_p99: rounded(flooded.ms(0.99), 3) }
}

/// What the processor saw.
struct Seen {
    /// In microseconds.
    lateness: Histogram<u64>,
    jobs: usize,
}

impl Seen {
    fn ms(&self, quantile: f64) -> f64 {
        self.lateness.value_at_quantile(quantile) as f64 / 1e3
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (median, p99, most) = (self.ms(0.5), self.ms(0.99), self.ms(1.0));
        write!(f, "p50 {median:.2} ms, p99 {p99:.2} ms, at the most {most:.2} ms ")?;
        write!(f, "({} flushes, {} jobs)", self.lateness.len(), self.jobs)
    }
}

/// Runs a collector under `load`.
fn measure<F: Future<Output = ()>>(
    flushes: u64,
    load: impl FnOnce(Addr<CollectorActor<Watch>>, Collector<Sent>, u64) -> F,
) -> Seen {
    let seen = Arc::new(Mutex::new(Seen { lateness: Histogram::new(3).expect("three digits are allowed"), jobs: 0 }));
    let watch = Arc::clone(&seen);
    Host::System.run(async move {
        let actor = Collector::builder(move || Watch { seen: Arc::clone(&watch) })
            .max_size(1_000_000)
            .max_pending(2_000_000)
            .interval(INTERVAL)
            .workers(Workers::local(1))
            .build()
            .expect("the settings are good");
        let handle = actor.handle();
        load(Supervisor::start(|_| actor), handle, flushes).await;
    });
    // Nobody else has it any more: the processor went with its `System`.
    Arc::into_inner(seen).expect("the processor is gone").into_inner().expect("no processor panicked")
}

/// One job at a time, each flushed by the interval, and no two at the same time of the timer's millisecond.
async fn submit_now_and_then(_: Addr<CollectorActor<Watch>>, collector: Collector<Sent>, flushes: u64) {
    for flush in 0..flushes {
        collector.submit(Sent::now()).await.expect("the processor answers");
        actix_rt::time::sleep(Duration::from_micros(flush * 37 % 1_000)).await;
    }
}

async fn flood(addr: Addr<CollectorActor<Watch>>, _: Collector<Sent>, flushes: u64) {
    let until = Instant::now() + INTERVAL * u32::try_from(flushes).unwrap_or(u32::MAX);
    let flooding = actix_rt::task::spawn_blocking(move || Host::CurrentThread.run(keep_sending(addr, until)));
    flooding.await.expect("the flood ends by itself");
}

async fn keep_sending(addr: Addr<CollectorActor<Watch>>, until: Instant) {
    let ahead = Arc::new(Semaphore::new(AHEAD));
    while Instant::now() < until {
        let block = Arc::clone(&ahead).acquire_owned().await.expect("nobody closes it");
        for _ in 0..BLOCK {
            addr.do_send(SubmitJob::new(Sent::now()));
        }
        // A mailbox keeps its order: when this is answered, the block before it has been handled. Nobody has paused anything, so
        // it does nothing else.
        let handled = addr.send(Resume);
        tokio::spawn(async move {
            handled.await.expect("the actor lives");
            drop(block);
        });
    }
}

/// When it was sent.
struct Sent(Instant);

impl Sent {
    fn now() -> Self {
        Self(Instant::now())
    }
}

impl Job for Sent {
    type Output = ();
    type Error = Infallible;
}

struct Watch {
    seen: Arc<Mutex<Seen>>,
}

impl BatchProcessor for Watch {
    type Job = Sent;

    async fn process(&mut self, batch: &Batch<Sent>) -> Result<Outcomes<Sent>, Infallible> {
        let waited = batch[0].0.elapsed();
        let mut seen = self.seen.lock().expect("no processor panicked");
        seen.jobs += batch.len();
        if batch.trigger() == Trigger::Interval {
            seen.lateness.record(waited.saturating_sub(INTERVAL).as_micros() as u64).expect("it grows");
        }
        Ok(Outcomes::all(()))
    }
}
