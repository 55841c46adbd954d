//! What the stored checkpoint holds, for readers that acknowledge: they may tell their source only what is stored.

use std::collections::HashMap;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::checkpoint::Checkpoint;

/// How far the stored checkpoint is, and who wants another one.
#[derive(Debug, Default)]
pub(super) struct Saves {
    records: Mutex<HashMap<u32, u64>>,
    asked: Notify,
    saved: Notify,
}

impl Saves {
    /// How many records of a range the stored checkpoint has settled.
    pub(super) fn saved(&self, range: u32) -> u64 {
        self.records.lock().get(&range).copied().unwrap_or(0)
    }

    /// Asks for a checkpoint soon.
    pub(super) fn ask(&self) {
        self.asked.notify_one();
    }

    /// Resolves when a checkpoint is wanted.
    pub(super) async fn asked(&self) {
        self.asked.notified().await;
    }

    /// This checkpoint is stored.
    pub(super) fn done(&self, checkpoint: &Checkpoint) {
        let records = checkpoint.ranges.iter().map(|range| (range.range, range.record));
        *self.records.lock() = records.collect();
        self.saved.notify_waiters();
    }

    /// Asks for a checkpoint, and waits until it holds so many records of a range.
    pub(super) async fn wait_for(&self, range: u32, record: u64) {
        self.wait_until(|| self.saved(range) >= record).await;
    }

    /// Asks for a checkpoint, and waits until one is stored.
    pub(super) async fn next(&self) {
        let saved = self.saved.notified();
        self.ask();
        saved.await;
    }

    /// Asks for checkpoints until this is so.
    pub(super) async fn wait_until(&self, is_so: impl Fn() -> bool) {
        loop {
            let mut saved = std::pin::pin!(self.saved.notified());
            saved.as_mut().enable();
            if is_so() {
                return;
            }
            self.ask();
            saved.await;
        }
    }
}
