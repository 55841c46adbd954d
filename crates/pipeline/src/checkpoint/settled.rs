//! How far each range of a run has settled, shared by the run and the sink's workers.

use std::sync::Arc;

use parking_lot::Mutex;

use super::{Checkpoint, RangeCheckpoint};
use crate::dead_letters::DeadLetterQueue;

/// How far each range has settled: the run moves it forward, and a transactional sink stores it with its rows.
///
/// It only ever says what is durable once the rows of the batch at hand are: records that were rejected are in the dead letters before
/// the prefix passes them, or in the [queue](Self::dead_letters) for a sink that stores them with the prefix.
#[derive(Debug)]
pub struct Settled {
    state: Mutex<State>,
    dead_letters: Arc<DeadLetterQueue>,
}

#[derive(Debug)]
struct State {
    checkpoint: Checkpoint,
    /// Counts the changes, so that a worker stores the prefix only when it has moved.
    version: u64,
}

impl Settled {
    /// What the run begins with.
    pub fn new(checkpoint: Checkpoint) -> Self {
        Self { state: Mutex::new(State { checkpoint, version: 0 }), dead_letters: Arc::default() }
    }

    /// The checkpoint as of now.
    pub fn checkpoint(&self) -> Checkpoint {
        self.state.lock().checkpoint.clone()
    }

    /// The state of the ranges, if it has moved since `seen`, which is brought up to date. Begin with [`u64::MAX`].
    pub fn moved_since(&self, seen: &mut u64) -> Option<Checkpoint> {
        let state = self.state.lock();
        if state.version == *seen {
            return None;
        }
        *seen = state.version;
        Some(state.checkpoint.clone())
    }

    /// The dead letters for a sink that keeps them beside its rows. Ask for the prefix first: then the letters before it are among these.
    pub fn dead_letters(&self) -> &Arc<DeadLetterQueue> {
        &self.dead_letters
    }

    /// Moves one range forward. The run calls it; the test of a transactional sink may too.
    pub fn update(&self, range: u32, change: impl FnOnce(&mut RangeCheckpoint)) {
        let mut state = self.state.lock();
        if let Some(found) = state.checkpoint.ranges.iter_mut().find(|known| known.range == range) {
            change(found);
            let record = found.record;
            found.beyond.forget_before(record);
            state.version += 1;
        }
    }
}
