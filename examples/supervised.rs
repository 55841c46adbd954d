//! The second batch panics: its callers are told, the worker comes back as a new processor, and the third batch succeeds.

use std::{
    panic,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use actix_batch::prelude::*;

/// Words to be translated, one request for each batch of them.
struct Translate(&'static str);

impl Job for Translate {
    type Output = String;
    type Error = String;
}

/// A connection that breaks when it is asked for "boom".
struct Translator {
    number: u32,
}

impl Translator {
    fn connect() -> Self {
        static CONNECTIONS: AtomicU32 = AtomicU32::new(1);
        let number = CONNECTIONS.fetch_add(1, Ordering::Relaxed);
        println!("  worker   builds processor {number}");
        Self { number }
    }
}

impl BatchProcessor for Translator {
    type Job = Translate;

    async fn process(&mut self, batch: &Batch<Translate>) -> Result<Outcomes<Translate>, String> {
        println!("  worker   processor {} gets batch {} with {} jobs", self.number, batch.id() + 1, batch.len());
        assert!(batch.iter().all(|job| job.0 != "boom"), "the connection broke");
        Ok(Outcomes::in_order(batch.iter().map(|job| job.0.to_uppercase())))
    }
}

#[actix::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // A panic is caught, but Rust tells the panic hook of it first.
    panic::set_hook(Box::new(|panic| println!("  worker   {}", panic.to_string().replace('\n', " "))));

    let words = Collector::builder(Translator::connect)
        .name("words")
        .max_size(2)
        .interval(Duration::from_secs(1))
        .workers(Workers::local(1))
        .start()?;

    for pair in [["one", "two"], ["three", "boom"], ["four", "five"]] {
        println!("caller     submits {pair:?}");
        let replies = pair.map(|word| words.submit(Translate(word)));
        for (word, reply) in pair.into_iter().zip(replies) {
            match reply.await {
                Ok(translation) => println!("caller     {word:?} is {translation:?}"),
                Err(error) => println!("caller     {word:?} failed: {error}"),
            }
        }
    }

    let stats = words.stats().await?;
    println!(
        "collector  {} accepted, {} succeeded, {} failed, {} restart of the worker",
        stats.intake.accepted,
        stats.succeeded,
        stats.failed.total(),
        stats.restarts,
    );
    words.shutdown(Shutdown::drain()).await?;
    Ok(())
}
