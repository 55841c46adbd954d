//! Parcels are booked with a carrier that is slow, goes down for a while, and cannot read one of the addresses: what becomes of
//! each parcel, and what the collector counted.
//!
//! `cargo run --example resilient`

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use actix_batch::{StartError, prelude::*};
use futures_util::future::join_all;
use tokio::time::sleep;

const MS: Duration = Duration::from_millis(1);

/// A parcel to be booked with the carrier; the output is the attempt that booked it.
struct Book(u32);

impl Job for Book {
    type Output = u32;
    type Error = Trouble;
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Trouble {
    Down,
    /// The carrier refuses the whole request for one bad address, and does not say which.
    BadAddress,
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Down => "the carrier is down",
            Self::BadAddress => "a bad address",
        })
    }
}

/// Seconds since the start.
#[derive(Clone)]
struct Log(Arc<Instant>);

impl Log {
    fn say(&self, who: &str, what: &str) {
        println!("{:5.2} s  {who:<8}  {what}", self.0.elapsed().as_secs_f64());
    }
}

/// The connection to the carrier: down from 0.4 s to 1.4 s, slow with parcel 18, and unable to read the address of parcel 13.
struct Carrier {
    log: Log,
}

impl Carrier {
    async fn answer(&self, batch: &Batch<Book>) -> Result<(), Trouble> {
        sleep(MS * 20).await;
        if (400..1400).contains(&self.log.0.elapsed().as_millis()) {
            return Err(Trouble::Down);
        }
        if batch.iter().any(|parcel| parcel.0 == 18) && batch.attempt() == 1 {
            sleep(Duration::from_secs(60)).await;
        }
        if batch.iter().any(|parcel| parcel.0 == 13) { Err(Trouble::BadAddress) } else { Ok(()) }
    }
}

impl BatchProcessor for Carrier {
    type Job = Book;

    async fn process(&mut self, batch: &Batch<Book>) -> Result<Outcomes<Book>, Trouble> {
        let parcels: Vec<_> = batch.iter().map(|parcel| parcel.0).collect();
        let call = format!("{parcels:?} ({}, attempt {})", batch.trigger(), batch.attempt());
        if parcels.contains(&18) && batch.attempt() == 1 {
            self.log.say("carrier", &format!("{call}: takes for ever"));
        }
        let answer = self.answer(batch).await;
        self.log
            .say("carrier", &format!("{call}: {}", answer.map_or_else(|error| error.to_string(), |()| "ok".into())));
        answer?;
        Ok(Outcomes::all(batch.attempt()))
    }
}

fn start(log: &Log) -> Result<Collector<Book>, StartError> {
    let connection = log.clone();
    let again = Retry::exponential(MS * 100)
        .attempts(20)
        .max_delay(MS * 400)
        .give_up_after(Duration::from_secs(5))
        // A bad address stays bad: not worth a retry, but a reason to split.
        .when(|trouble| *trouble == Trouble::Down)
        .on_timeout(true);
    Collector::builder(move || Carrier { log: connection.clone() })
        .name("parcels")
        .max_size(4)
        .interval(MS * 10)
        .workers(Workers::local(2))
        .timeout(MS * 150)
        .retry(again)
        .split_poison(true)
        .breaker(Breaker::consecutive(3).open_for(MS * 250))
        .rate_limit(RateLimit::batches_per_second(50.0).burst(5.0))
        .start()
}

#[actix::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let log = Log(Arc::new(Instant::now()));
    let parcels = start(&log)?;
    let replies = join_all((0..40).map(async |number| {
        // Four come at a time, every 60 ms.
        sleep(MS * 60 * (number / 4)).await;
        parcels.submit(Book(number)).await
    }));

    let mut ends = BTreeMap::<String, Vec<usize>>::new();
    for (number, reply) in replies.await.into_iter().enumerate() {
        let end = match reply {
            Ok(attempt) => format!("booked at attempt {attempt:2}"),
            Err(error) => format!("failed: {error}"),
        };
        ends.entry(end).or_default().push(number);
    }
    println!();
    for (end, numbers) in ends {
        println!("{end}: {numbers:?}");
    }

    let stats = parcels.stats().await?;
    println!("\n{} accepted, {} booked, {} failed", stats.intake.accepted, stats.succeeded, stats.failed.total());
    for (trigger, batches) in &stats.batches {
        println!("{batches:3} batches left by {trigger}");
    }
    println!("{:3} answers came, after {:.1} ms on average", stats.processing.count(), stats.processing.mean() / 1e3);
    println!("{:3} worker was built anew, after the time-out", stats.restarts);
    parcels.shutdown(Shutdown::drain()).await?;
    Ok(())
}
