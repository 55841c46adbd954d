//! The checkpoint beside the documents.

use std::{fmt, time::Duration};

use actix_batch_pipeline::{
    checkpoint::{Checkpoint, CheckpointError, CheckpointErrorKind, RangeCheckpoint, RunId, Store, StoreFuture},
    sink::SinkErrorKind,
};
use mongodb::{
    Collection, Database,
    bson::{Bson, Document, doc, oid::ObjectId},
    options::{CollectionOptions, ReadPreference, SelectionCriteria},
};
use serde_json::Value;
use tokio::time::sleep;

use super::{
    MongoDb,
    lease::{Lease, Owners, Terms},
    progress::merged,
};
use crate::{fault::Fault, server::Server};

/// The version of the document.
const VERSION: i32 = 1;

/// How often a checkpoint is saved while the server is away, and the rest before the second time, which doubles from one to the next.
const ATTEMPTS: u32 = 5;
const FIRST_REST: Duration = Duration::from_millis(25);
/// Retries of a checkpoint save that loses to a concurrent transaction.
const RACES: u32 = 500;
const SHORTEST_REST: Duration = Duration::from_millis(1);

/// Keeps the checkpoint in the database of the documents; made by [`MongoDb`]. It is one document of the collection `_pipelines`, so it is
/// saved as a whole. The run's lease is a part of it.
pub struct MongoDbStore {
    server: Server,
    database: Option<String>,
    pipeline: String,
    lease_time: Duration,
    owners: Owners,
    connected: Option<Database>,
    lease: Option<Lease>,
}

impl MongoDbStore {
    pub(super) fn new(sink: &MongoDb, run: &RunId) -> Self {
        Self {
            server: sink.server.clone(),
            database: sink.database.clone(),
            pipeline: run.pipeline.clone(),
            lease_time: sink.lease_time(),
            owners: sink.owners.0.clone(),
            connected: None,
            lease: None,
        }
    }

    async fn pipelines(&mut self) -> Result<Collection<Document>, Fault> {
        let database = match &mut self.connected {
            Some(database) => database,
            none => none.insert(self.server.connect(self.database.as_deref()).await?),
        };
        let primary = SelectionCriteria::ReadPreference(ReadPreference::Primary);
        let options = CollectionOptions::builder().selection_criteria(primary).build();
        Ok(database.collection_with_options("_pipelines", options))
    }

    async fn take_lease(&mut self) -> Result<(), CheckpointError> {
        let pipelines = self.pipelines().await?;
        let (server, pipeline, owners) = (self.server.clone(), self.pipeline.clone(), self.owners.clone());
        let terms = Terms { server, pipeline, time: self.lease_time, owners };
        self.lease = Some(Lease::take(&pipelines, terms).await?);
        Ok(())
    }

    async fn load_checkpoint(&mut self) -> Result<Option<Checkpoint>, CheckpointError> {
        let failed = |error| Fault::of(&error, "the checkpoint cannot be loaded");
        let found = self.pipelines().await?.find_one(doc! { "_id": &self.pipeline }).await.map_err(failed)?;
        let Some(found) = found.filter(|found| found.contains_key("version")) else { return Ok(None) };
        if number(&found, "version").is_some_and(|version| version > i64::from(VERSION)) {
            let message = format!(
                "the checkpoint of `{}` was saved by a newer version of this crate: update the program",
                self.pipeline
            );
            return Err(CheckpointError::new(CheckpointErrorKind::Future, message));
        }
        checkpoint_of(&found).map(Some).map_err(|what| {
            let message = format!(
                "{what} in the document of `{}` in collection `_pipelines` is damaged: restore it, or run with `fresh`",
                self.pipeline
            );
            CheckpointError::new(CheckpointErrorKind::Corrupt, message)
        })
    }

    async fn save_checkpoint(&mut self, checkpoint: &Checkpoint) -> Result<(), CheckpointError> {
        let (mut attempt, mut races) = (1, 0);
        while let Err(failed) = self.save_once(checkpoint).await {
            match failed {
                // A server that comes back, or another primary.
                Unsaved::Fault(fault) if fault.kind == SinkErrorKind::Temporary && attempt < ATTEMPTS => {
                    tracing::debug!(fault.message, attempt, "saving the checkpoint is tried again");
                    sleep(FIRST_REST * 2_u32.pow(attempt)).await;
                    attempt += 1;
                }
                Unsaved::Fault(fault) => return Err(fault.into()),
                Unsaved::Raced if races < RACES => {
                    sleep(SHORTEST_REST).await;
                    races += 1;
                }
                Unsaved::Raced => return Err(Fault::temporary("transactions are quicker than the checkpoint").into()),
                Unsaved::Lost(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Saves it over what was seen, so that nothing which a transaction has stored meanwhile is taken back.
    async fn save_once(&mut self, checkpoint: &Checkpoint) -> Result<(), Unsaved> {
        let pipelines = self.pipelines().await?;
        let failed = |error| Fault::of(&error, "the checkpoint cannot be saved");
        let Some(lease) = &self.lease else {
            return Err(Fault::fatal("the checkpoint is saved without a lease").into());
        };
        lease.check().map_err(Unsaved::Lost)?;
        let found = pipelines.find_one(doc! { "_id": &self.pipeline }).await.map_err(failed)?;
        let Some(found) = found.filter(|found| lease.may_write(found)) else { return Err(Unsaved::Lost(lease.lost())) };
        let stored = checkpoint_of(&found).ok();
        let mut set = document_of(&merged(stored.as_ref(), checkpoint));
        set.insert("lease", lease.mark());
        set.insert("revision", ObjectId::new());
        let mut as_seen = lease.own();
        as_seen.insert("revision", found.get("revision").cloned().unwrap_or(Bson::Null));
        let saved = pipelines.update_one(as_seen, doc! { "$set": set }).await.map_err(failed)?;
        if saved.matched_count == 0 {
            return Err(Unsaved::Raced);
        }
        Ok(())
    }

    async fn clear_checkpoint(&mut self) -> Result<(), CheckpointError> {
        let failed = |error| Fault::of(&error, "the checkpoint cannot be removed");
        let unset =
            doc! { "version": "", "plan": "", "identity": "", "cursor_version": "", "ranges": "", "revision": "" };
        let cleared =
            self.pipelines().await?.update_one(doc! { "_id": &self.pipeline }, doc! { "$unset": unset }).await;
        cleared.map_err(failed)?;
        Ok(())
    }
}

/// Why a checkpoint is not saved.
enum Unsaved {
    Fault(Fault),
    /// A transaction has changed it since it was read.
    Raced,
    /// Another run has the lease.
    Lost(CheckpointError),
}

impl From<Fault> for Unsaved {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// What is stored of a checkpoint. Cursors are texts, because the names in their extended JSON begin with a `$`.
pub(super) fn document_of(checkpoint: &Checkpoint) -> Document {
    let ranges: Vec<_> = checkpoint.ranges.iter().map(range_document).collect();
    doc! {
        "version": VERSION,
        "plan": &checkpoint.plan,
        "identity": checkpoint.identity.to_string(),
        "cursor_version": i64::from(checkpoint.cursor_version),
        "ranges": ranges,
    }
}

fn range_document(range: &RangeCheckpoint) -> Document {
    let text = |json: &Option<Value>| json.as_ref().map(Value::to_string);
    let beyond = serde_json::to_string(&range.beyond).unwrap_or_default();
    doc! {
        "range": i64::from(range.range),
        "from": text(&range.from),
        "to": text(&range.to),
        "record": i64::try_from(range.record).unwrap_or(i64::MAX),
        "cursor": text(&range.cursor),
        "done": range.done,
        "beyond": beyond,
    }
}

/// The checkpoint that is stored, or what of it is damaged.
pub(super) fn checkpoint_of(document: &Document) -> Result<Checkpoint, &'static str> {
    let identity = document.get_str("identity").ok().and_then(|text| serde_json::from_str(text).ok());
    let ranges = document.get_array("ranges").map_err(|_| "`ranges`")?;
    let ranges = ranges.iter().map(|range| range_of(range.as_document().ok_or("`ranges`")?));
    Ok(Checkpoint {
        plan: document.get_str("plan").map_err(|_| "`plan`")?.to_owned(),
        identity: identity.ok_or("`identity`")?,
        cursor_version: unsigned(document, "cursor_version").ok_or("`cursor_version`")?,
        ranges: ranges.collect::<Result<_, _>>()?,
        sink: Value::Null,
    })
}

fn range_of(range: &Document) -> Result<RangeCheckpoint, &'static str> {
    let beyond = range.get_str("beyond").ok().and_then(|text| serde_json::from_str(text).ok());
    Ok(RangeCheckpoint {
        range: unsigned(range, "range").ok_or("the number of a range")?,
        from: json(range, "from", "the beginning of a range")?,
        to: json(range, "to", "the end of a range")?,
        record: unsigned(range, "record").ok_or("the record of a range")?,
        cursor: json(range, "cursor", "the cursor of a range")?,
        done: range.get_bool("done").map_err(|_| "the end of a range")?,
        beyond: beyond.ok_or("what lies beyond a range")?,
    })
}

/// A text that is JSON, or null.
fn json(document: &Document, name: &str, what: &'static str) -> Result<Option<Value>, &'static str> {
    match document.get(name) {
        Some(Bson::Null) => Ok(None),
        Some(Bson::String(text)) => serde_json::from_str(text).map(Some).map_err(|_| what),
        _ => Err(what),
    }
}

/// A number, also if somebody has saved the document with a shell, which makes doubles of them.
fn number(document: &Document, name: &str) -> Option<i64> {
    match document.get(name)? {
        Bson::Int32(number) => Some(i64::from(*number)),
        Bson::Int64(number) => Some(*number),
        #[allow(clippy::cast_possible_truncation, reason = "it is whole, and small enough")]
        Bson::Double(number) if number.fract() == 0.0 && number.abs() < 9e15 => Some(*number as i64),
        _ => None,
    }
}

fn unsigned<N: TryFrom<i64>>(document: &Document, name: &str) -> Option<N> {
    N::try_from(number(document, name)?).ok()
}

impl Store for MongoDbStore {
    fn lease(&mut self) -> StoreFuture<'_, ()> {
        Box::pin(self.take_lease())
    }

    fn load(&mut self) -> StoreFuture<'_, Option<Checkpoint>> {
        Box::pin(self.load_checkpoint())
    }

    fn save<'a>(&'a mut self, checkpoint: &'a Checkpoint) -> StoreFuture<'a, ()> {
        Box::pin(self.save_checkpoint(checkpoint))
    }

    fn clear(&mut self) -> StoreFuture<'_, ()> {
        Box::pin(self.clear_checkpoint())
    }
}

impl fmt::Debug for MongoDbStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MongoDbStore")
            .field("server", &self.server)
            .field("pipeline", &self.pipeline)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_batch_pipeline::checkpoint::Interval;
    use serde_json::json;

    fn checkpoint() -> Checkpoint {
        let beyond = [Interval { first: (7, 0), last: (9, 2) }, Interval { first: (u64::MAX, 1), last: (u64::MAX, 1) }];
        let first = RangeCheckpoint {
            record: 5,
            cursor: Some(json!({ "$oid": "65a000000000000000000000" })),
            beyond: beyond.into_iter().collect(),
            ..RangeCheckpoint::new(0, None, Some(json!({ "$numberLong": "7" })))
        };
        let second = RangeCheckpoint::new(1, Some(json!({ "$numberLong": "7" })), None);
        let identity = json!({ "a.b": { "$c": null } });
        Checkpoint {
            plan: "a → b".to_owned(),
            identity,
            cursor_version: 1,
            ranges: vec![first, second],
            sink: Value::Null,
        }
    }

    #[test]
    fn a_checkpoint_comes_back_as_it_was() {
        assert_eq!(checkpoint_of(&document_of(&checkpoint())), Ok(checkpoint()));
    }

    #[test]
    fn whatever_is_damaged_is_named_and_never_taken_for_nothing() {
        let whole = document_of(&checkpoint());
        for name in ["plan", "identity", "cursor_version", "ranges"] {
            let mut damaged = whole.clone();
            damaged.insert(name, Bson::Null);
            assert!(checkpoint_of(&damaged).unwrap_err().contains(name));
        }
        for name in ["range", "from", "to", "record", "cursor", "done", "beyond"] {
            let mut damaged = whole.clone();
            let ranges = damaged.get_array_mut("ranges").unwrap();
            ranges[0].as_document_mut().unwrap().insert(name, "{");
            assert!(checkpoint_of(&damaged).is_err(), "{name}");
        }
    }
}
