//! What the source and the sink cost, beside loops that are written by hand with the same client: `cargo bench -p actix-batch-nats`.
//!
//! It starts a `nats-server` of its own. The contenders take turns, and what is printed is the median of the ratios within a round.

use std::{future::Future, time::Instant};

use async_nats::jetstream::{Context, stream};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

mod by_hand;
mod piped;
#[path = "../../tests/support/mod.rs"]
mod support;

const MESSAGES: i64 = 200_000;
const ROUNDS: usize = 5;
/// Rows in a transaction, for all contenders.
const BATCH: usize = 2_000;
const TABLE: &str =
    "CREATE TABLE IF NOT EXISTS orders (id INTEGER NOT NULL, item TEXT NOT NULL, cents INTEGER NOT NULL)";

#[derive(Debug, Serialize, Deserialize)]
struct Order {
    id: i64,
    item: String,
    cents: i64,
}

fn order(id: i64) -> Order {
    Order { id, item: format!("item number {}", id % 1_000), cents: id % 10_000 }
}

/// Where a contender works.
struct Place {
    url: String,
    context: Context,
    folder: TempDir,
    trials: u32,
}

impl Place {
    /// An empty stream `OUT` of the subject `out`.
    async fn empty_stream(&self) {
        let _ = self.context.delete_stream("OUT").await;
        let config = stream::Config { name: "OUT".to_owned(), subjects: vec!["out".to_owned()], ..Default::default() };
        self.context.create_stream(config).await.unwrap();
    }

    async fn check_stream(&self) {
        let stored = self.context.get_stream("OUT").await.unwrap().cached_info().state.messages;
        assert_eq!(stored, MESSAGES.unsigned_abs());
    }

    /// Another consumer, and another database, for each trial.
    fn anew(&mut self) -> (String, String) {
        self.trials += 1;
        let database = self.folder.path().join(format!("{}.sqlite", self.trials));
        (format!("reader-{}", self.trials), database.to_str().unwrap().to_owned())
    }
}

#[actix_rt::main]
async fn main() {
    let Some(server) = support::NatsServer::start() else { return };
    let (context, folder) = (server.context().await, tempfile::tempdir().unwrap());
    let mut place = Place { url: server.url(), context, folder, trials: 0 };
    let bytes = serde_json::to_vec(&order(MESSAGES - 1)).unwrap().len();
    println!("{MESSAGES} messages of up to {bytes} bytes, {BATCH} rows in a transaction, medians of {ROUNDS} rounds");
    let (mut publish, mut read, mut store) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        place.empty_stream().await;
        let by_hand = timed(by_hand::publish(&place.context)).await;
        place.check_stream().await;
        place.empty_stream().await;
        publish.push((by_hand, timed(piped::publish(&place.url)).await));
        place.check_stream().await;

        let ((one, _), (other, _)) = (place.anew(), place.anew());
        let by_hand = timed(by_hand::read(&place.context, &one)).await;
        read.push((by_hand, timed(piped::read(&place.url, &other)).await));

        let ((one, first), (other, second)) = (place.anew(), place.anew());
        let by_hand = timed(by_hand::store(&place.context, &one, &first)).await;
        store.push((by_hand, timed(piped::store(&place.url, &other, &second)).await));
    }
    print("publish with message ids", &publish);
    print("read into a closure", &read);
    print("read into SQLite", &store);
}

/// Messages in a second.
async fn timed(trial: impl Future<Output = u64>) -> f64 {
    let begin = Instant::now();
    assert_eq!(trial.await, MESSAGES.unsigned_abs());
    f64::from(u32::try_from(MESSAGES).unwrap()) / begin.elapsed().as_secs_f64()
}

fn print(what: &str, rates: &[(f64, f64)]) {
    let ratios: Vec<_> = rates.iter().map(|(by_hand, piped)| piped / by_hand).collect();
    let (least, most) =
        (ratios.iter().copied().fold(f64::INFINITY, f64::min), ratios.iter().copied().fold(0.0, f64::max));
    println!(
        "  {what:<26} by hand {:>7.0}/s  pipeline {:>7.0}/s  {:.2} × ({least:.2}–{most:.2})",
        median(rates.iter().map(|(by_hand, _)| *by_hand)),
        median(rates.iter().map(|(_, piped)| *piped)),
        median(ratios.iter().copied()),
    );
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
