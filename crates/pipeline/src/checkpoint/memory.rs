//! Checkpoints in memory, for tests.

use std::{future::ready, sync::Arc};

use parking_lot::Mutex;

use super::{Checkpoint, CheckpointError, CheckpointErrorKind, Store, StoreFuture};

/// Keeps the checkpoint in memory. Clones share it, and only one of them holds the lease.
#[derive(Debug, Default)]
pub struct MemoryStore {
    checkpoint: Arc<Mutex<Option<Checkpoint>>>,
    lease: Arc<Mutex<Option<Arc<()>>>>,
    held: Option<Arc<()>>,
}

impl MemoryStore {
    /// What was saved last.
    pub fn checkpoint(&self) -> Option<Checkpoint> {
        self.checkpoint.lock().clone()
    }
}

impl Clone for MemoryStore {
    fn clone(&self) -> Self {
        Self { checkpoint: Arc::clone(&self.checkpoint), lease: Arc::clone(&self.lease), held: None }
    }
}

impl Store for MemoryStore {
    fn lease(&mut self) -> StoreFuture<'_, ()> {
        let mut lease = self.lease.lock();
        if lease.as_ref().is_some_and(|held| Arc::strong_count(held) > 1) {
            let message = "another run of this pipeline is going on";
            return Box::pin(ready(Err(CheckpointError::new(CheckpointErrorKind::Leased, message))));
        }
        let held = Arc::new(());
        *lease = Some(Arc::clone(&held));
        drop(lease);
        self.held = Some(held);
        Box::pin(ready(Ok(())))
    }

    fn load(&mut self) -> StoreFuture<'_, Option<Checkpoint>> {
        let checkpoint = self.checkpoint();
        Box::pin(ready(Ok(checkpoint)))
    }

    fn save<'a>(&'a mut self, checkpoint: &'a Checkpoint) -> StoreFuture<'a, ()> {
        *self.checkpoint.lock() = Some(checkpoint.clone());
        Box::pin(ready(Ok(())))
    }

    fn clear(&mut self) -> StoreFuture<'_, ()> {
        *self.checkpoint.lock() = None;
        Box::pin(ready(Ok(())))
    }
}
