//! The batch that reads: the ids that are asked for together in one `SELECT … IN`.

use actix_batch::prelude::*;
use serde::Serialize;
use thiserror::Error;

use crate::flight::Flight;
use crate::store::{Database, Store};

/// A question for one flight. Two callers may ask for the same one: both get it.
#[derive(Debug)]
pub(crate) struct GetFlight(pub(crate) i64);

/// A flight as it is stored.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct StoredFlight {
    id: i64,
    #[serde(flatten)]
    flight: Flight,
}

impl Job for GetFlight {
    type Output = StoredFlight;
    type Error = LookupError;
}

#[derive(Debug, Error)]
#[error("the database failed: {0}")]
pub(crate) struct LookupError(#[from] rusqlite::Error);

#[derive(Debug)]
pub(crate) struct FlightLookup {
    database: Database,
    store: Option<Store>,
}

impl FlightLookup {
    pub(crate) fn new(database: Database) -> Self {
        Self { database, store: None }
    }
}

impl BatchProcessor for FlightLookup {
    type Job = GetFlight;

    async fn prepare(&mut self) -> Result<(), LookupError> {
        self.store = Some(self.database.open()?);
        Ok(())
    }

    async fn process(&mut self, batch: &Batch<GetFlight>) -> Result<Outcomes<GetFlight>, LookupError> {
        let store = self.store.as_mut().expect("`prepare` runs before `process`");
        let ids: Vec<i64> = batch.iter().map(|job| job.0).collect();
        let rows = store.flights(&ids)?.into_iter().map(|(id, flight)| StoredFlight { id, flight });
        Ok(Outcomes::lookup(batch, rows, |job| job.0, |row| row.id))
    }
}
