//! Blocks of reply slots, and a caller's reference to its slot.

use std::{
    collections::VecDeque,
    mem,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
};

use parking_lot::Mutex;

use super::{departures::Departures, slot::Slot};
use crate::{
    error::JobError,
    job::{Job, JobId, JobResult},
    panics::contain,
};

/// The reply slots of up to [`Block::SLOTS`] consecutive jobs.
pub(crate) struct Block<J: Job> {
    first: u64,
    pub(super) slots: Mutex<Box<[Slot<JobResult<J>>]>>,
    /// How many slots were abandoned: a hint that is read without the lock.
    pub(super) abandoned: AtomicUsize,
    /// The processors that wait for callers to go; they are woken when one goes.
    watchers: Mutex<Vec<Waker>>,
    departures: Arc<Departures>,
}

impl<J: Job> Block<J> {
    /// How many slots a block has.
    pub(crate) const SLOTS: u32 = 256;

    /// A block whose first slot belongs to job `first`.
    pub(crate) fn new(first: u64, departures: Arc<Departures>) -> Arc<Self> {
        let slots = (0..Self::SLOTS).map(|_| Slot::open()).collect();
        Arc::new(Self {
            first,
            slots: Mutex::new(slots),
            abandoned: AtomicUsize::new(0),
            watchers: Mutex::default(),
            departures,
        })
    }

    /// Prepares the block for the jobs from `first` on.
    fn reuse(&mut self, first: u64) {
        self.first = first;
        // If a caller left the wait queue, its slot was never settled and is still marked as abandoned.
        if mem::take(self.abandoned.get_mut()) > 0 {
            self.slots.get_mut().fill_with(Slot::open);
        }
    }

    pub(super) fn is_abandoned(&self, at: usize) -> bool {
        self.abandoned.load(Ordering::Relaxed) > 0 && self.slots.lock()[at].is_abandoned()
    }

    /// Whether all slots of this range were abandoned. If not, the waker is woken when another slot is.
    pub(super) fn all_abandoned(&self, at: usize, len: usize, waker: &Waker) -> bool {
        let mut watchers = self.watchers.lock();
        if self.slots.lock()[at..at + len].iter().all(Slot::is_abandoned) {
            return true;
        }
        if !watchers.iter().any(|known| known.will_wake(waker)) {
            watchers.push(waker.clone());
        }
        false
    }

    pub(crate) fn id(&self, at: u32) -> JobId {
        JobId(self.first + u64::from(at))
    }
}

/// Blocks in the order of their use: the open one, and full ones that are used again once they are free.
///
/// Blocks are kept because freeing one of this size makes the allocator consolidate the small allocations of the callers each time.
pub(crate) struct Blocks<J: Job> {
    open: Arc<Block<J>>,
    next_slot: u32,
    next_id: u64,
    full: VecDeque<Arc<Block<J>>>,
    departures: Arc<Departures>,
}

impl<J: Job> Default for Blocks<J> {
    fn default() -> Self {
        Self::new(Arc::default())
    }
}

impl<J: Job> Blocks<J> {
    pub(crate) fn new(departures: Arc<Departures>) -> Self {
        let open = Block::new(0, Arc::clone(&departures));
        Self { open, next_slot: 0, next_id: 0, full: VecDeque::new(), departures }
    }

    /// How many full blocks are kept: about 1 MiB of them, but at least two.
    const KEPT: usize = {
        let fit = (1 << 20) / (Block::<J>::SLOTS as usize * size_of::<Slot<JobResult<J>>>());
        if fit < 2 { 2 } else { fit }
    };

    /// A number and a slot for the next job. A message does not use its slot.
    #[inline]
    /// The number that the next job gets.
    pub(crate) fn next_id(&self) -> u64 {
        self.next_id
    }

    pub(crate) fn take_slot(&mut self) -> (&Arc<Block<J>>, u32) {
        if self.next_slot == Block::<J>::SLOTS {
            self.next_block();
        }
        let at = self.next_slot;
        self.next_slot += 1;
        self.next_id += 1;
        (&self.open, at)
    }

    /// Opens the next block: the oldest full one if it is free, or else a new one. A block that stays in use is no longer kept
    /// once there are too many.
    #[cold]
    fn next_block(&mut self) {
        let oldest = self.full.front_mut().and_then(Arc::get_mut).map(|block| block.reuse(self.next_id)).is_some();
        let next = if oldest { self.full.pop_front() } else { None };
        let next = next.unwrap_or_else(|| Block::new(self.next_id, Arc::clone(&self.departures)));
        self.full.push_back(mem::replace(&mut self.open, next));
        if self.full.len() > Self::KEPT {
            self.full.pop_front();
        }
        self.next_slot = 0;
    }
}

/// A caller's reference to its slot; its `Submit` holds it.
pub(crate) struct SlotRef<J: Job> {
    pub(super) block: Arc<Block<J>>,
    at: u32,
}

impl<J: Job> SlotRef<J> {
    #[inline]
    pub(crate) fn new(block: Arc<Block<J>>, at: u32) -> Self {
        Self { block, at }
    }

    pub(crate) fn id(&self) -> JobId {
        self.block.id(self.at)
    }

    #[inline]
    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Poll<JobResult<J>> {
        let mut displaced = None;
        let reply = self.block.slots.lock()[self.at as usize].poll(cx, &mut displaced);
        if reply.is_pending() {
            self.block.departures.waiting();
        }
        reply.map(|reply| reply.unwrap_or(Err(JobError::Lost)))
    }

    /// Marks the slot as abandoned, because the caller has gone. The reply will be dropped.
    pub(crate) fn abandon(&self) {
        let previous = self.block.slots.lock()[self.at as usize].abandon();
        if previous.is_open() {
            self.block.abandoned.fetch_add(1, Ordering::Relaxed);
            self.block.departures.record();
            let watchers = mem::take(&mut *self.block.watchers.lock());
            for waker in watchers {
                contain(|| waker.wake());
            }
        }
        drop(previous);
    }
}
