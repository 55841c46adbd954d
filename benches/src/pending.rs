//! What a job that waits costs in memory.

use std::{
    convert::Infallible,
    future,
    pin::Pin,
    task::{Context, Waker},
};

use actix_batch::prelude::*;

use crate::{allocations::Held, host::Host};

const JOBS: usize = 100_000;

/// Bytes that the collector holds per pending job of 8 bytes, in batches of 100 behind a worker that is busy for ever.
pub(crate) fn run() -> f64 {
    let bytes = Host::System.run(held()) / JOBS as f64;
    println!(
        "a pending 8-byte job holds {bytes:.1} bytes, and its caller {} for the reply",
        size_of::<Submit<Number>>()
    );
    bytes
}

async fn held() -> f64 {
    let collector = Collector::builder(|| Busy)
        .max_size(100)
        .max_pending(2 * JOBS)
        .workers(Workers::local(1))
        .start()
        .expect("the settings are good");
    // The callers' side is not the collector's: it is allocated before counting starts.
    let mut callers = Vec::with_capacity(JOBS);
    let held = Held::start();
    for number in 0..JOBS {
        let mut reply = collector.submit(Number(number as u64));
        assert!(Pin::new(&mut reply).poll(&mut Context::from_waker(Waker::noop())).is_pending());
        callers.push(reply);
        if number % 1_000 == 0 {
            tokio::task::yield_now().await;
        }
    }
    held.stop()
}

struct Number(#[expect(dead_code, reason = "nobody gets to it")] u64);

impl Job for Number {
    type Output = u64;
    type Error = Infallible;
}

struct Busy;

impl BatchProcessor for Busy {
    type Job = Number;

    async fn process(&mut self, _: &Batch<Number>) -> Result<Outcomes<Number>, Infallible> {
        future::pending().await
    }
}
