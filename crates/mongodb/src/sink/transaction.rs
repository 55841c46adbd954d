//! A batch and the progress in one transaction.
//!
//! Each transaction reads and writes the pipeline's document, so of two at once one fails by a conflict and begins anew: a batch that comes again
//! always sees what its earlier attempt has stored. The lease is in that document: a run that has lost it commits nothing.

use std::{collections::HashSet, time::Duration};

use actix_batch::Batch;
use actix_batch_pipeline::{
    Record,
    checkpoint::{Interval, Settled},
    sink::{SinkErrorKind, Written},
};
use mongodb::{
    ClientSession, Collection,
    bson::{Document, doc, oid::ObjectId},
    error::{Error, UNKNOWN_TRANSACTION_COMMIT_RESULT},
    options::{ReadConcern, ReadPreference, SelectionCriteria},
};
use serde::Serialize;
use tokio::time::sleep;

use super::{
    lease::{is_held_by, lost},
    progress,
    store::{checkpoint_of, document_of},
    writer::Destination,
};
use crate::fault::Fault;

/// How often a transaction begins anew that has met another one: lease and checkpoint change the same document.
const ATTEMPTS: u32 = 40;
/// How often a commit is asked for whose reply was lost.
const COMMITS: u32 = 3;

/// Where a batch goes, and what has settled.
pub(super) struct Transactions<'a> {
    pub(super) to: Destination<'a>,
    pub(super) settled: &'a Settled,
    /// The owner of the run's lease.
    pub(super) owner: ObjectId,
    /// The version of `settled` that is stored.
    pub(super) seen: &'a mut u64,
}

impl Transactions<'_> {
    /// Writes a batch. If the server refuses a document of several, the batch is to be halved.
    pub(super) async fn write<T: Serialize>(&mut self, batch: &Batch<Record<T>>) -> Result<Written, Fault> {
        for attempt in 1..ATTEMPTS {
            match self.attempt(batch).await {
                Err(fault) if fault.is_conflict => sleep(Duration::from_millis(2) * attempt).await,
                done => return done,
            }
        }
        self.attempt(batch).await
    }

    async fn attempt<T: Serialize>(&mut self, batch: &Batch<Record<T>>) -> Result<Written, Fault> {
        let failed = |error| Fault::of(&error, "a transaction cannot begin");
        let mut session = self.to.database.client().start_session().await.map_err(failed)?;
        let begun = session
            .start_transaction()
            .read_concern(ReadConcern::snapshot())
            .selection_criteria(SelectionCriteria::ReadPreference(ReadPreference::Primary));
        begun.await.map_err(failed)?;
        let (mut written, mut seen) = (Written::all(), *self.seen);
        match self.store(batch, &mut session, &mut written, &mut seen).await {
            Ok(true) => {
                commit(&mut session).await.map_err(|error| Fault::of(&error, "a transaction was not committed"))?;
                *self.seen = seen;
                Ok(written)
            }
            Ok(false) => {
                abort(&mut session).await;
                if batch.len() == 1 {
                    return Ok(written);
                }
                // Also if the document is this record's own, which an earlier run has stored: its neighbours are not stored.
                let first = written.refused().first().map(|(_, error)| error.to_string());
                let why = first.unwrap_or_else(|| "a document is there already".to_owned());
                Err(Fault::new(SinkErrorKind::Batch, why))
            }
            Err(fault) => {
                abort(&mut session).await;
                Err(fault)
            }
        }
    }

    /// Stores documents and progress. Returns whether the server has refused none.
    async fn store<T: Serialize>(
        &self,
        batch: &Batch<Record<T>>,
        session: &mut ClientSession,
        written: &mut Written,
        seen: &mut u64,
    ) -> Result<bool, Fault> {
        let failed = |error| Fault::of(&error, "storing the progress failed");
        let pipelines: Collection<Document> = self.to.database.collection("_pipelines");
        let own = doc! { "_id": self.to.pipeline };
        let found = pipelines.find_one(own.clone()).session(&mut *session).await.map_err(failed)?;
        if found.as_ref().is_some_and(|found| !is_held_by(found, self.owner)) {
            return Err(Fault::fatal(lost(self.to.pipeline, self.to.sink.lease_time())));
        }
        let mut stored = found.as_ref().and_then(|found| checkpoint_of(found).ok()).ok_or_else(|| {
            let message =
                format!("the document of `{}` in collection `_pipelines` is gone or damaged", self.to.pipeline);
            Fault::fatal(message)
        })?;
        let is_new = |position| !progress::is_held(&stored, position);
        if !self.to.write(batch, is_new, written, Some(&mut *session)).await? {
            return Ok(false);
        }
        let refused: HashSet<_> = written.refused().iter().map(|(at, _)| *at).collect();
        let is_stored = |(at, record): &(usize, &Record<T>)| is_new(record.position()) && !refused.contains(at);
        let records = batch.iter().enumerate().filter(is_stored);
        let intervals = Interval::of(records.map(|(_, record)| (record.position(), record.sequence())));
        progress::forward(&mut stored, &intervals, self.settled.moved_since(seen).as_ref());
        let mut set = document_of(&stored);
        set.insert("revision", ObjectId::new());
        pipelines.update_one(own, doc! { "$set": set }).session(&mut *session).await.map_err(failed)?;
        Ok(true)
    }
}

/// Commits. Asking once more is no harm: a transaction that is committed stays so.
async fn commit(session: &mut ClientSession) -> Result<(), Error> {
    for _ in 1..COMMITS {
        match session.commit_transaction().await {
            Err(error) if error.contains_label(UNKNOWN_TRANSACTION_COMMIT_RESULT) => {}
            done => return done,
        }
    }
    session.commit_transaction().await
}

/// The server may have ended it already, and ends a transaction that does not go on.
async fn abort(session: &mut ClientSession) {
    if let Err(error) = session.abort_transaction().await {
        tracing::debug!(%error, "a transaction cannot be aborted");
    }
}
