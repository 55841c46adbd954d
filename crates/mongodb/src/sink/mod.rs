//! A collection of MongoDB as a sink.

use std::{sync::Arc, time::Duration};

use actix_batch::Workers;
use actix_batch_pipeline::{
    checkpoint::{RunId, Settled, Store},
    sink::{Defaults, IntoSink, Promises},
};
use serde::{Deserialize, Serialize};

use crate::server::Server;

mod documents;
mod insert;
mod lease;
mod progress;
mod store;
mod transaction;
mod upsert;
mod writer;

use lease::Owners;
pub use store::MongoDbStore;
pub use writer::MongoDbSink;

/// Writes records to a collection of MongoDB. Records are serde structs or maps, which become documents.
///
/// A document that is inserted gets an `_id` from its pipeline and its position in the source, unless the record has one of its own. So a
/// batch that comes again – because its answer was lost, or the run was killed – recognises what it has stored: the same `_id` with the same
/// content is written; with another content it is that record's error. An upsert replaces the document of its key.
///
/// The checkpoint is a document of the collection `_pipelines` beside the data; it is saved after the documents that it calls settled, or with
/// them, by [`transactions`](Self::transactions).
///
/// It is serde data; the URI, which may hold a password, is read and never written.
///
/// ```
/// use actix_batch_mongodb::MongoDb;
///
/// let departures = MongoDb::upsert("departures").key(["day", "carrier", "flight"]);
/// let text = r#"{ "collection": "departures", "mode": "upsert", "key": ["day", "carrier", "flight"] }"#;
/// assert_eq!(departures, serde_json::from_str(text).unwrap());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MongoDb {
    #[serde(default, rename = "uri", skip_serializing)]
    server: Server,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    database: Option<String>,
    collection: String,
    mode: Mode,
    #[serde(default = "by_id", skip_serializing_if = "is_by_id")]
    key: Vec<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    create_index: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    transactions: bool,
    #[serde(default = "lease_millis", skip_serializing_if = "is_lease_millis")]
    lease_millis: u64,
    #[serde(skip)]
    owners: OwnOwners,
}

/// The owners of the leases of this specification's runs. They are no part of what it says, and a copy of it has its own.
#[derive(Debug, Default)]
struct OwnOwners(Owners);

impl Clone for OwnOwners {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl PartialEq for OwnOwners {
    fn eq(&self, _other: &Self) -> bool {
        true
    }
}

impl Eq for OwnOwners {}

/// What happens to a document that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Mode {
    Insert,
    Upsert,
}

/// The shortest lease, in milliseconds.
const SHORTEST_LEASE: u64 = 100;

fn by_id() -> Vec<String> {
    vec!["_id".to_owned()]
}

fn is_by_id(key: &[String]) -> bool {
    key == ["_id"]
}

fn lease_millis() -> u64 {
    15_000
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_lease_millis(millis: &u64) -> bool {
    *millis == lease_millis()
}

impl MongoDb {
    /// Inserts documents.
    pub fn insert(collection: impl Into<String>) -> Self {
        Self::new(collection.into(), Mode::Insert)
    }

    /// Inserts documents, and replaces those whose [`key`](Self::key) is there already.
    pub fn upsert(collection: impl Into<String>) -> Self {
        Self::new(collection.into(), Mode::Upsert)
    }

    /// The fields by which [`upsert`](Self::upsert) finds a document; a field of a document within is written `address.city`. They need a unique
    /// index. Default: `_id`.
    pub fn key<N: Into<String>>(mut self, fields: impl IntoIterator<Item = N>) -> Self {
        self.key = fields.into_iter().map(Into::into).collect();
        self
    }

    /// Makes the unique index of the [`key`](Self::key), if it is missing. Default: `false`; the run is refused.
    pub fn create_index(mut self, create: bool) -> Self {
        self.create_index = create;
        self
    }

    /// Where the server is: `mongodb://user:password@host:port/database`. Default: what `MONGODB_URI` says, else `mongodb://localhost:27017`.
    pub fn connect(mut self, uri: impl Into<String>) -> Self {
        self.server = Server::at(uri);
        self
    }

    /// The database. Default: the one at the end of the URI.
    pub fn database(mut self, name: impl Into<String>) -> Self {
        self.database = Some(name.into());
        self
    }

    /// Stores the documents of each batch and the progress in one transaction. Default: `false`. The server must be a replica set or a sharded
    /// cluster; any other is refused. Batches go one at a time, and one with a document that is refused is halved until that one stands alone.
    pub fn transactions(mut self, use_them: bool) -> Self {
        self.transactions = use_them;
        self
    }

    /// How long the next run waits for one that was killed: a run renews its lease three times as often. Default: 15 s. At least 100 ms.
    pub fn lease(mut self, time: Duration) -> Self {
        self.lease_millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(SHORTEST_LEASE);
        self
    }

    fn new(collection: String, mode: Mode) -> Self {
        Self {
            server: Server::default(),
            database: None,
            collection,
            mode,
            key: by_id(),
            create_index: false,
            transactions: false,
            lease_millis: lease_millis(),
            owners: OwnOwners::default(),
        }
    }

    fn is_by_id(&self) -> bool {
        is_by_id(&self.key)
    }

    fn lease_time(&self) -> Duration {
        Duration::from_millis(self.lease_millis.max(SHORTEST_LEASE))
    }
}

impl<T: Serialize + Send + Sync + 'static> IntoSink<T> for MongoDb {
    type Sink = MongoDbSink<T>;

    fn describe(&self) -> String {
        let place = format!("mongodb:{}/{}", self.server.place(self.database.as_deref()), self.collection);
        match self.mode {
            Mode::Insert => format!("{place}, inserted"),
            Mode::Upsert => format!("{place} by {}", self.key.join(", ")),
        }
    }

    /// Without transactions a document that is written again overwrites, or recognises, itself.
    fn promises(&self) -> Promises {
        if self.transactions { Promises::Transactional } else { Promises::Keyed }
    }

    /// Batches of 1,000. Those of inserts two at once; upserts one by one, so that the last record of a key wins, and transactions, because
    /// each of them changes the checkpoint.
    fn defaults(&self) -> Defaults {
        let workers = if self.mode == Mode::Insert && !self.transactions { 2 } else { 1 };
        Defaults { max_size: 1_000, workers: Workers::local(workers) }
    }

    fn sink(&self, _worker: usize, run: &RunId, settled: &Arc<Settled>) -> MongoDbSink<T> {
        MongoDbSink::new(self.clone(), run.clone(), Arc::clone(settled), self.owners.0.of(&run.pipeline))
    }

    fn store(&self, run: &RunId) -> Option<Box<dyn Store>> {
        Some(Box::new(MongoDbStore::new(self, run)))
    }
}
