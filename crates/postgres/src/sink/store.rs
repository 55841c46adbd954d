//! The checkpoint beside the rows.

use std::fmt;

use actix_batch_pipeline::{
    DeadRecord,
    checkpoint::{Checkpoint, CheckpointError, CheckpointErrorKind, RunId, Store, StoreFuture},
};
use serde_json::Value;

use super::{
    Postgres,
    dead_letters::DeadLetters,
    progress::{self, CLEAR, VERSION},
    session::{Session, Statements},
};
use crate::{fault::Fault, server::Connection};

/// Keeps the checkpoint in the database of the rows; made by [`Postgres`](crate::Postgres). Its lease is an advisory lock of its session, which
/// ends with the process.
pub struct PostgresStore {
    sink: Postgres,
    run: RunId,
    client: Option<Connection>,
    statements: Statements,
}

const LEASE: &str = "SELECT pg_try_advisory_lock(hashtextextended('actix-batch:run:' || $1::text, 0))";
const HAS_TABLES: &str = "SELECT to_regclass('_pipelines') IS NOT NULL";
const LOAD_PLAN: &str = "SELECT version, plan, identity, cursor_version FROM _pipelines WHERE pipeline = $1";

impl PostgresStore {
    pub(super) fn new(sink: Postgres, run: &RunId) -> Self {
        Self { sink, run: run.clone(), client: None, statements: Statements::default() }
    }

    /// The connection, with its statements.
    async fn client(&mut self) -> Result<(&mut Connection, &mut Statements), Fault> {
        let client = match &mut self.client {
            Some(client) => client,
            none => none.insert(self.sink.server.connect().await?),
        };
        Ok((client, &mut self.statements))
    }

    async fn take_lease(&mut self) -> Result<(), CheckpointError> {
        let run = self.run.clone();
        let pipeline = &run.pipeline;
        let place = self.sink.server.place();
        let (client, statements) = self.client().await?;
        let failed = |error| Fault::of(&error, "the lease of the run cannot be taken");
        let taken: bool = client.query_one(LEASE, &[pipeline]).await.map_err(failed)?.get(0);
        if !taken {
            return Err(CheckpointError::new(
                CheckpointErrorKind::Leased,
                format!("another run of pipeline `{pipeline}` writes to {place}: wait until it ends, or stop it"),
            ));
        }
        progress::create(client).await.map_err(failed)?;
        // Another run that was killed or has lost its lease may have transactions open that the server is about to commit.
        let session = Session::begin(client, statements).await.map_err(failed)?;
        progress::take_over(&session, &run).await.map_err(failed)?;
        Ok(session.commit().await.map_err(failed)?)
    }

    async fn load_checkpoint(&mut self) -> Result<Option<Checkpoint>, CheckpointError> {
        let pipeline = self.run.pipeline.clone();
        let (client, statements) = self.client().await?;
        let failed = |error| Fault::of(&error, "the checkpoint cannot be loaded");
        if !client.query_one(HAS_TABLES, &[]).await.map_err(failed)?.get::<_, bool>(0) {
            return Ok(None);
        }
        let session = Session::begin(client, statements).await.map_err(failed)?;
        let Some(row) = session.query_opt(LOAD_PLAN, &[&pipeline]).await.map_err(failed)? else { return Ok(None) };
        let version: i32 = row.get(0);
        if version > VERSION {
            let message = format!(
                "the checkpoint of `{pipeline}` was saved by a newer version of this crate: update the program"
            );
            return Err(CheckpointError::new(CheckpointErrorKind::Future, message));
        }
        let identity = serde_json::from_str(row.get(2)).map_err(|error| {
            let message = format!("the identity in table _pipelines for `{pipeline}` is no JSON");
            CheckpointError::new(CheckpointErrorKind::Corrupt, message).caused_by(error)
        })?;
        let ranges = progress::load_ranges(&session, &pipeline).await.map_err(failed)?.map_err(|text| {
            let message = format!("a cursor in table _pipeline_settled for `{pipeline}` is no JSON: {text}");
            CheckpointError::new(CheckpointErrorKind::Corrupt, message)
        })?;
        let cursor_version = u32::try_from(row.get::<_, i64>(3)).unwrap_or(u32::MAX);
        Ok(Some(Checkpoint { plan: row.get(1), identity, cursor_version, ranges, sink: Value::Null }))
    }

    async fn save_checkpoint(&mut self, checkpoint: &Checkpoint) -> Result<(), CheckpointError> {
        let pipeline = self.run.pipeline.clone();
        let (client, statements) = self.client().await?;
        let failed = |error| Fault::of(&error, "the checkpoint cannot be saved");
        if !client.query_one(HAS_TABLES, &[]).await.map_err(failed)?.get::<_, bool>(0) {
            progress::create(client).await.map_err(failed)?;
        }
        let session = Session::begin(client, statements).await.map_err(failed)?;
        progress::save(&session, &pipeline, checkpoint).await.map_err(failed)?;
        Ok(session.commit().await.map_err(failed)?)
    }

    async fn clear_checkpoint(&mut self) -> Result<(), CheckpointError> {
        let (pipeline, name) = (self.run.pipeline.clone(), self.run.name().to_owned());
        let letters = DeadLetters::of(&self.sink);
        let (client, statements) = self.client().await?;
        let failed = |error| Fault::of(&error, "the checkpoint cannot be removed");
        if !client.query_one(HAS_TABLES, &[]).await.map_err(failed)?.get::<_, bool>(0) {
            return Ok(());
        }
        if let Some(letters) = &letters {
            letters.create(client).await.map_err(failed)?;
        }
        let session = Session::begin(client, statements).await.map_err(failed)?;
        for clear in CLEAR {
            session.execute(clear, &[&pipeline]).await.map_err(failed)?;
        }
        if let Some(letters) = letters {
            letters.clear(&session, &name).await.map_err(failed)?;
        }
        Ok(session.commit().await.map_err(failed)?)
    }

    async fn add_dead_letters(&mut self, letters: &[&DeadRecord]) -> Result<(), CheckpointError> {
        let Some(table) = DeadLetters::of(&self.sink) else { return Ok(()) };
        let (client, statements) = self.client().await?;
        let failed = |error| Fault::of(&error, "the dead letters cannot be stored");
        table.create(client).await.map_err(failed)?;
        let session = Session::begin(client, statements).await.map_err(failed)?;
        table.add(&session, letters.iter().copied()).await.map_err(failed)?;
        Ok(session.commit().await.map_err(failed)?)
    }
}

impl Store for PostgresStore {
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

    fn keeps_dead_letters(&self) -> bool {
        self.sink.dead_letters_table.is_some()
    }

    fn save_dead_letters<'a>(&'a mut self, letters: &'a [&'a DeadRecord]) -> StoreFuture<'a, ()> {
        Box::pin(self.add_dead_letters(letters))
    }
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStore").field("sink", &self.sink).field("run", &self.run).finish_non_exhaustive()
    }
}
