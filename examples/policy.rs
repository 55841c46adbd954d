//! A flush policy of one's own: mice travel together, an elephant goes alone, and mice never wait behind one.
//!
//! `cargo run --example policy`

use std::time::Duration;

use actix_batch::{
    Trigger,
    flush::{Arrival, Decision, FlushPolicy, OpenBatch},
    prelude::*,
};
use futures_util::future::join_all;
use tokio::time::Instant;

/// Whatever weighs more than `heavy` goes alone; everything else waits for `interval`.
struct Elephants {
    heavy: u64,
    interval: Duration,
}

impl FlushPolicy for Elephants {
    fn on_job(&mut self, open: &OpenBatch, job: &Arrival) -> Decision {
        if job.weight <= self.heavy {
            Decision::Add
        } else if open.jobs > 0 {
            Decision::SendThenAdd(Trigger::Weight)
        } else {
            Decision::AddAndSend(Trigger::Weight)
        }
    }

    fn due(&self, open: &OpenBatch) -> Option<Instant> {
        Some(open.opened_at? + self.interval)
    }

    fn reads_weight(&self) -> bool {
        true
    }
}

struct Upload(Vec<u8>);

impl Job for Upload {
    type Output = usize;
    type Error = std::io::Error;
}

struct Uploads;

impl BatchProcessor for Uploads {
    type Job = Upload;

    async fn process(&mut self, batch: &Batch<Upload>) -> Result<Outcomes<Upload>, std::io::Error> {
        let sizes: Vec<_> = batch.iter().map(|upload| upload.0.len()).collect();
        println!("{:<8} {sizes:?}", batch.trigger());
        Ok(Outcomes::in_order(sizes))
    }
}

#[actix::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let policy = Elephants { heavy: 1_000, interval: Duration::from_millis(5) };
    let uploads = Collector::builder(|| Uploads).policy(policy).weigh(|upload| upload.0.len() as u64).start()?;
    let sizes = [10, 20, 30, 5_000, 40, 50];
    for reply in join_all(sizes.map(|size| uploads.submit(Upload(vec![0; size])))).await {
        reply?;
    }
    uploads.shutdown(Shutdown::drain()).await?;
    Ok(())
}
