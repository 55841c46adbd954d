//! Between those who record and the thread that writes.
//!
//! Invariants:
//! - Whoever records holds the lock for a push, never for the disk.
//! - The tape is never longer than [`Tape::LONGEST`]; what does not fit is counted.
//! - The writer sleeps while there is nothing to write, and writes at most every [`Tape::PAUSE`]: an idle collector wakes
//!   nobody, and a busy one wakes the writer ten times a second.

use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};
use tokio::time::Instant;

use super::BatchLine;

#[derive(Default)]
pub(super) struct Tape {
    reel: Mutex<Reel>,
    /// The reel is no longer empty, half full, awaited, or at its end.
    for_writer: Condvar,
    /// Everything is written.
    for_waiting: Condvar,
}

#[derive(Default)]
struct Reel {
    piece: Piece,
    /// What did not fit, or could not be written.
    lost: u64,
    /// The writer is with a piece that it has taken.
    writing: bool,
    /// A caller waits until everything is written.
    awaited: bool,
    over: bool,
}

impl Reel {
    /// What there is no room for is counted.
    fn has_room(&mut self) -> bool {
        let has_room = self.piece.len() < Tape::LONGEST && !self.over;
        if !has_room {
            self.lost += 1;
            self.piece.lost += 1;
        }
        has_room
    }
}

/// What is to be written.
#[derive(Default)]
pub(super) struct Piece {
    /// When jobs came, in the order in which they did.
    pub(super) arrivals: Vec<Instant>,
    pub(super) batches: Vec<BatchLine>,
    /// What did not fit since the piece before.
    pub(super) lost: u64,
}

impl Piece {
    fn len(&self) -> usize {
        self.arrivals.len() + self.batches.len()
    }
}

impl Tape {
    /// In jobs and batches; 16 MB for jobs alone.
    const LONGEST: usize = 1 << 20;
    const PAUSE: Duration = Duration::from_millis(100);

    /// The clock is read under the lock, so that times are in order.
    pub(super) fn arrival(&self) {
        let mut reel = self.reel.lock();
        if reel.has_room() {
            reel.piece.arrivals.push(Instant::now());
            self.pushed(&reel);
        }
    }

    pub(super) fn batch(&self, batch: BatchLine) {
        let mut reel = self.reel.lock();
        if reel.has_room() {
            reel.piece.batches.push(batch);
            self.pushed(&reel);
        }
    }

    #[inline]
    fn pushed(&self, reel: &Reel) {
        let len = reel.piece.len();
        if len == 1 || len == Self::LONGEST / 2 {
            self.for_writer.notify_one();
        }
    }

    /// The writer takes what there is, once there is something and the pause is over. `None` at the end.
    pub(super) fn take(&self) -> Option<Piece> {
        let mut reel = self.reel.lock();
        reel.writing = false;
        while reel.piece.len() == 0 {
            self.for_waiting.notify_all();
            reel.awaited = false;
            if reel.over {
                return None;
            }
            self.for_writer.wait(&mut reel);
        }
        if !reel.awaited && !reel.over && reel.piece.len() < Self::LONGEST / 2 {
            self.for_writer.wait_for(&mut reel, Self::PAUSE);
        }
        reel.writing = true;
        Some(std::mem::take(&mut reel.piece))
    }

    /// Lets everything be written, and waits for it, though not for longer than this.
    pub(super) fn catch_up(&self, limit: Duration) {
        let mut reel = self.reel.lock();
        reel.awaited = true;
        self.wait(reel, limit);
    }

    /// Nothing more comes. Waits until everything is written, though not for longer than this.
    pub(super) fn end(&self, limit: Duration) {
        let mut reel = self.reel.lock();
        reel.over = true;
        self.wait(reel, limit);
    }

    fn wait(&self, mut reel: MutexGuard<'_, Reel>, limit: Duration) {
        self.for_writer.notify_one();
        self.for_waiting.wait_while_for(&mut reel, |reel| reel.writing || reel.piece.len() > 0, limit);
    }

    /// The writer gives up: what comes from now on is lost, and so is this.
    pub(super) fn give_up(&self, unwritten: usize) {
        let mut reel = self.reel.lock();
        reel.over = true;
        reel.writing = false;
        let rest = std::mem::take(&mut reel.piece).len();
        reel.lost += (unwritten + rest) as u64;
        self.for_waiting.notify_all();
    }

    pub(super) fn lost(&self) -> u64 {
        self.reel.lock().lost
    }
}
