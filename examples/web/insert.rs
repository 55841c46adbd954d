//! The batch that writes: every flight that arrived together in one `INSERT`, and each gets its own outcome.

use actix_batch::prelude::*;
use thiserror::Error;

use crate::flight::{Flight, Refused};
use crate::store::{Database, Store, Stored};

/// One posted flight.
#[derive(Debug)]
pub(crate) struct InsertFlight(pub(crate) Flight);

impl Job for InsertFlight {
    type Output = Stored;
    type Error = InsertError;
}

#[derive(Debug, Error)]
pub(crate) enum InsertError {
    /// Of one row: the others of its batch are stored.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// Of the whole batch: nothing of it is stored.
    #[error("the database failed: {0}")]
    Database(#[from] rusqlite::Error),
    #[error("the database did not say what became of this flight")]
    Unanswered,
}

#[derive(Debug)]
pub(crate) struct FlightInserter {
    database: Database,
    store: Option<Store>,
}

impl FlightInserter {
    pub(crate) fn new(database: Database) -> Self {
        Self { database, store: None }
    }
}

impl BatchProcessor for FlightInserter {
    type Job = InsertFlight;

    async fn prepare(&mut self) -> Result<(), InsertError> {
        self.store = Some(self.database.open()?);
        Ok(())
    }

    async fn process(&mut self, batch: &Batch<InsertFlight>) -> Result<Outcomes<InsertFlight>, InsertError> {
        let store = self.store.as_mut().expect("`prepare` runs before `process`");
        let checked: Vec<_> = batch.iter().map(|job| job.0.check()).collect();
        let good: Vec<_> =
            checked.iter().zip(batch.iter()).filter_map(|(key, job)| Some((key.as_ref().ok()?, &job.0))).collect();
        let mut ids = store.insert(&good)?;
        let outcomes = checked.into_iter().map(|key| ids.take(&key?).ok_or(InsertError::Unanswered));
        Ok(Outcomes::each(outcomes))
    }
}
