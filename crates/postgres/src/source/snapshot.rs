//! One state of the database for all readers of a run.
//!
//! A connection holds a transaction open and exports its snapshot; the transaction of each reader imports it before its first statement.

use std::sync::Arc;

use tokio::sync::Mutex;
use tokio_postgres::{Client, Error};

use crate::{
    fault::Fault,
    server::{Connection, Server},
};

const BEGIN: &str = "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY";
/// A reader waits in its transaction for as long as the sink takes.
const PATIENCE: &str = "SET LOCAL idle_in_transaction_session_timeout = 0";
const EXPORT: &str = "SELECT pg_export_snapshot()";

/// The snapshot of the run at hand; clones share it.
#[derive(Clone, Default)]
pub(super) struct Shared(Arc<Mutex<Option<Snapshot>>>);

struct Snapshot {
    id: String,
    /// Its transaction ends with it.
    _exporter: Connection,
}

impl Snapshot {
    async fn take(server: &Server) -> Result<Self, Fault> {
        let failed = |error: Error| Fault::of(&error, "no snapshot can be taken");
        let exporter = server.connect().await?;
        exporter.batch_execute(&format!("{BEGIN}; {PATIENCE}")).await.map_err(failed)?;
        let id = exporter.query_one(EXPORT, &[]).await.map_err(failed)?.get(0);
        Ok(Self { id, _exporter: exporter })
    }
}

impl Shared {
    /// Takes a new snapshot, for a run that begins.
    pub(super) async fn renew(&self, server: &Server) -> Result<(), Fault> {
        let mut snapshot = self.0.lock().await;
        *snapshot = Some(Snapshot::take(server).await?);
        Ok(())
    }

    /// Begins a transaction that reads the snapshot. Where no run has begun it is taken now.
    pub(super) async fn join(&self, server: &Server, client: &Client) -> Result<(), Fault> {
        let mut snapshot = self.0.lock().await;
        let snapshot = match &mut *snapshot {
            Some(snapshot) => snapshot,
            none => none.insert(Snapshot::take(server).await?),
        };
        // The server made the name: digits and dashes.
        let import = format!("{BEGIN}; SET TRANSACTION SNAPSHOT '{}'; {PATIENCE}", snapshot.id);
        client.batch_execute(&import).await.map_err(|error| {
            Fault::of(&error, "the snapshot of the run cannot be read: the next run takes a new one and goes on")
        })
    }

    pub(super) async fn release(&self) {
        *self.0.lock().await = None;
    }
}
