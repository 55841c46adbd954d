//! What the sink costs, beside loops that are written by hand with the driver: `cargo bench -p actix-batch-mongodb`.
//!
//! It starts the server of the tests, FerretDB over SQLite. That server looks at every document of the collection for an update by other
//! fields than a textual `_id`, so those collections are small. The contenders take turns, each with an empty database, and what is printed is the
//! median of the ratios within a round.

use std::{future::Future, time::Instant};

use serde::{Deserialize, Serialize};

mod by_hand;
mod piped;
#[path = "../../tests/support/mod.rs"]
mod support;

const ROUNDS: usize = 5;

/// What is compared.
struct Case {
    name: &'static str,
    documents: u64,
    /// Documents in a command. The server hangs at more than 100 updates.
    batch: usize,
    mode: Mode,
}

#[derive(Debug, Clone, Copy)]
enum Mode {
    Insert,
    UpsertById,
    UpsertByKey,
}

const CASES: [Case; 3] = [
    Case { name: "insert", documents: 100_000, batch: 1_000, mode: Mode::Insert },
    Case { name: "upsert by _id", documents: 2_000, batch: 50, mode: Mode::UpsertById },
    Case { name: "upsert by another field", documents: 1_000, batch: 50, mode: Mode::UpsertByKey },
];

#[derive(Debug, Serialize, Deserialize)]
struct Order {
    #[serde(rename = "_id")]
    id: String,
    number: i64,
    item: String,
    cents: i64,
}

fn orders(documents: u64) -> impl Iterator<Item = Order> {
    (0..documents.cast_signed()).map(|number| Order {
        id: format!("order {number}"),
        number,
        item: format!("item number {}", number % 1_000),
        cents: number % 10_000,
    })
}

#[actix_rt::main]
async fn main() {
    let Some(server) = support::Server::start() else { return };
    println!("documents per second, medians of {ROUNDS} rounds");
    for case in &CASES {
        let mut rates = Vec::new();
        for _ in 0..ROUNDS {
            let (one, other) = (server.database(), server.database());
            let by_hand = timed(case, &one, by_hand::write(case, &one)).await;
            rates.push((by_hand, timed(case, &other, piped::write(case, &other)).await));
        }
        print(case, &rates);
    }
}

async fn timed(case: &Case, uri: &str, trial: impl Future<Output = ()>) -> f64 {
    let begin = Instant::now();
    trial.await;
    let time = begin.elapsed();
    let database = support::connect(uri).await;
    let stored = database.collection::<Order>("orders").estimated_document_count().await.unwrap();
    assert_eq!(stored, case.documents);
    database.drop().await.unwrap();
    f64::from(u32::try_from(stored).unwrap()) / time.as_secs_f64()
}

fn print(case: &Case, rates: &[(f64, f64)]) {
    let ratios: Vec<_> = rates.iter().map(|(by_hand, piped)| piped / by_hand).collect();
    let (least, most) =
        (ratios.iter().copied().fold(f64::INFINITY, f64::min), ratios.iter().copied().fold(0.0, f64::max));
    println!(
        "  {:<24} {:>7} documents, batches of {:>5}: by hand {:>6.0}/s  pipeline {:>6.0}/s  {:.2} × ({least:.2}–{most:.2})",
        case.name,
        case.documents,
        case.batch,
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
