//! What the sink costs, beside loops that are written by hand with the driver: `cargo bench -p actix-batch-mongodb`.
//!
//! It starts the server of the tests, FerretDB over SQLite. That server looks at every document of the collection for an update by other
//! fields than a textual `_id`, so those collections are small. The contenders take turns, each with an empty database, and what is printed is the
//! median of the ratios within a round.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use self::contest::{Figures, Outcome};

mod by_hand;
#[path = "../../../pipeline/bench/src/contest.rs"]
mod contest;
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
    // As many as the flights of nycflights13.
    Case { name: "insert", documents: 336_776, batch: 1_000, mode: Mode::Insert },
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

/// A trial has a process of its own, so that its memory is its own.
#[derive(Debug, Serialize, Deserialize)]
struct Trial {
    case: usize,
    by_hand: bool,
    uri: String,
}

impl Trial {
    async fn start(&self) -> Outcome {
        let outcome = contest::start(self, &[]);
        let database = support::connect(&self.uri).await;
        let stored = database.collection::<Order>("orders").estimated_document_count().await.unwrap();
        assert_eq!(stored, CASES[self.case].documents);
        database.drop().await.unwrap();
        outcome
    }

    async fn run(&self) -> Outcome {
        let (case, begin) = (&CASES[self.case], Instant::now());
        if self.by_hand {
            by_hand::write(case, &self.uri).await;
        } else {
            piped::write(case, &self.uri).await;
        }
        Outcome::now(case.documents, begin)
    }
}

#[actix_rt::main]
async fn main() {
    if let Some(trial) = contest::trial::<Trial>() {
        return contest::tell(trial.run().await);
    }
    let Some(server) = support::Server::start() else { return };
    println!("medians of {ROUNDS} rounds");
    for (case, Case { name, documents, batch, .. }) in CASES.iter().enumerate() {
        let mut outcomes = [Vec::new(), Vec::new()];
        for at in contest::turns(2, ROUNDS) {
            let trial = Trial { case, by_hand: at == 0, uri: server.database() };
            outcomes[at].push(trial.start().await);
        }
        println!("{name}, {documents} documents, batches of {batch}");
        for (name, own) in ["by hand", "pipeline"].iter().zip(&outcomes) {
            println!("  {name:<10} {}", Figures::of(own, &outcomes[0]));
        }
    }
}
