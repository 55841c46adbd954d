//! What the source and the sink cost, beside loops that are written by hand with the same client: `cargo bench -p actix-batch-nats`.
//!
//! It starts a `nats-server` of its own. The contenders take turns, and what is printed is the median of the ratios within a round.

use std::{path::PathBuf, time::Instant};

use async_nats::jetstream::{self, Context, stream};
use serde::{Deserialize, Serialize};

use self::contest::{Figures, Outcome};

mod by_hand;
#[path = "../../../pipeline/bench/src/contest.rs"]
mod contest;
mod piped;
#[path = "../../tests/support/mod.rs"]
mod support;

/// As many as the flights of nycflights13.
const MESSAGES: i64 = 336_776;
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

/// A trial has a process of its own, so that its memory is its own.
#[derive(Debug, Serialize, Deserialize)]
struct Trial {
    what: What,
    by_hand: bool,
    url: String,
    /// The name of the consumer.
    name: String,
    database: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
enum What {
    Publish,
    Read,
    Store,
}

impl What {
    fn name(self) -> &'static str {
        match self {
            Self::Publish => "publish with message ids",
            Self::Read => "read into a closure",
            Self::Store => "read into SQLite",
        }
    }
}

impl Trial {
    async fn run(&self) -> Outcome {
        let Self { url, name, database, .. } = self;
        let begin = Instant::now();
        let messages = match (self.what, self.by_hand) {
            (What::Publish, true) => by_hand::publish(&connect(url).await).await,
            (What::Publish, false) => piped::publish(url).await,
            (What::Read, true) => by_hand::read(&connect(url).await, name).await,
            (What::Read, false) => piped::read(url, name).await,
            (What::Store, true) => by_hand::store(&connect(url).await, name, database).await,
            (What::Store, false) => piped::store(url, name, database).await,
        };
        assert_eq!(messages, MESSAGES.unsigned_abs());
        Outcome::now(messages, begin)
    }
}

async fn connect(url: &str) -> Context {
    jetstream::new(async_nats::connect(url).await.unwrap())
}

/// An empty stream `OUT` of the subject `out`.
async fn empty_stream(context: &Context) {
    let _ = context.delete_stream("OUT").await;
    let config = stream::Config { name: "OUT".to_owned(), subjects: vec!["out".to_owned()], ..Default::default() };
    context.create_stream(config).await.unwrap();
}

async fn check_stream(context: &Context) {
    let stored = context.get_stream("OUT").await.unwrap().cached_info().state.messages;
    assert_eq!(stored, MESSAGES.unsigned_abs());
}

#[actix_rt::main]
async fn main() {
    if let Some(trial) = contest::trial::<Trial>() {
        return contest::tell(trial.run().await);
    }
    let Some(server) = support::NatsServer::start() else { return };
    let (context, folder) = (server.context().await, tempfile::tempdir().unwrap());
    let bytes = serde_json::to_vec(&order(MESSAGES - 1)).unwrap().len();
    println!("{MESSAGES} messages of up to {bytes} bytes, {BATCH} rows in a transaction, medians of {ROUNDS} rounds");
    for what in [What::Publish, What::Read, What::Store] {
        let mut outcomes = [Vec::new(), Vec::new()];
        for (trial, at) in contest::turns(2, ROUNDS).enumerate() {
            if what == What::Publish {
                empty_stream(&context).await;
            }
            let name = format!("{what:?}-{trial}");
            let database = folder.path().join(&name);
            outcomes[at]
                .push(contest::start(&Trial { what, by_hand: at == 0, url: server.url(), name, database }, &[]));
            check_stream(&context).await;
        }
        println!("{}", what.name());
        for (name, own) in ["by hand", "pipeline"].iter().zip(&outcomes) {
            println!("  {name:<10} {}", Figures::of(own, &outcomes[0]));
        }
    }
}
