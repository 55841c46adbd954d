//! What the readers of a run share: counts, limits, and how the settled prefix is saved.

use std::{
    io,
    sync::{Arc, atomic::Ordering},
};

use super::{budget::Budget, control::Control, range, resume::Stores, saves::Saves};
use crate::{checkpoint::Settled, dead_letters::Letters, error::RunError, progress::Counters, sink::SinkMonitor};

/// What the readers of a run share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) source: String,
    pub(super) chunk: usize,
    pub(super) look_ahead: usize,
    pub(super) cursor_version: u32,
    pub(super) max_rejected: Option<u64>,
    pub(super) max_batches: Option<u64>,
    pub(super) counters: Arc<Counters>,
    pub(super) settled: Arc<Settled>,
    pub(super) letters: Arc<Letters>,
    pub(super) monitor: Arc<SinkMonitor>,
    pub(super) budget: Budget,
    pub(super) control: Control,
    pub(super) saves: Saves,
}

impl Shared {
    /// How many records a reader may have on their way. Close to `max_batches` there is no point in more than a chunk.
    pub(super) fn look_ahead(&self) -> usize {
        if self.max_batches.is_some() { self.chunk.min(self.look_ahead) } else { self.look_ahead }
    }

    pub(super) fn has_room_for_letters(&self) -> bool {
        self.settled.dead_letters().len() < range::LETTERS_AT_ONCE
    }

    pub(super) fn count_rejected(&self, records: u64) -> Result<(), RunError> {
        if records == 0 {
            return Ok(());
        }
        let rejected = self.counters.rejected.fetch_add(records, Ordering::Relaxed) + records;
        match self.max_rejected {
            Some(limit) if rejected > limit => {
                Err(RunError::TooManyRejected { rejected, limit, path: self.letters.path() })
            }
            _ => Ok(()),
        }
    }

    pub(super) fn stop_after_max_batches(&self) {
        let written = self.monitor.batches.load(Ordering::Relaxed);
        if self.max_batches.is_some_and(|most| written >= most) {
            self.control.update(|command| command.stopping = true);
        }
    }

    pub(super) async fn sync_letters(&self) -> Result<(), RunError> {
        let path = || self.letters.path().unwrap_or_default();
        self.letters.sync().await.map_err(|error: io::Error| RunError::DeadLetters { path: path(), error })
    }

    /// Saves what has settled, once the dead letters of it are durable.
    pub(super) async fn save(&self, stores: &mut Stores) -> Result<(), RunError> {
        self.sync_letters().await?;
        let checkpoint = self.settled.checkpoint();
        // Asked for after the checkpoint, so that no letter of a record that it passes is missing.
        let letters = self.settled.dead_letters().pending();
        if !stores.is_empty() {
            stores.save(&checkpoint, &letters).await?;
        }
        self.settled.dead_letters().acknowledge(&letters);
        self.saves.done(&checkpoint);
        *self.counters.saved.lock() = Some(std::time::Instant::now());
        Ok(())
    }
}
