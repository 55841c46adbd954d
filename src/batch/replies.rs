//! Where replies wait: slots in arrival blocks, and the runs of slots that a batch answers to.
//!
//! Invariants:
//! - A slot never moves and is settled exactly once. Whoever settles it owns the [`Replies`] that cover it; there is no other.
//! - `Replies` that are dropped unsettled settle themselves as [`JobError::Lost`].
//! - No code of the user's runs under a block's lock: wakers, senders and results leave it first, as [`Deliveries`].

use std::{
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
};

use actix::dev::OneshotSender;
use parking_lot::Mutex;
use smallvec::SmallVec;

use crate::{
    JobError,
    job::{Job, JobId, JobResult},
    observe::Failures,
};

/// The reply slots of up to [`Block::SLOTS`] consecutive jobs.
pub(crate) struct Block<J: Job> {
    first: u64,
    slots: Mutex<Box<[Slot<J>]>>,
    /// How many slots were abandoned: a hint, read without the lock.
    abandoned: AtomicUsize,
}

/// One job's reply, and who waits for it.
pub(crate) enum Slot<J: Job> {
    /// Nobody has asked yet.
    Open,
    /// A `Submit` waits.
    Polled(Waker),
    /// The sender of an actix request.
    Message(OneshotSender<JobResult<J>>),
    /// A `do_send`: nobody waits, and nobody has gone.
    Silent,
    /// The `Submit` was dropped.
    Abandoned,
    /// The reply, not yet fetched.
    Settled(JobResult<J>),
    /// The reply has left.
    Answered,
}

impl<J: Job> Block<J> {
    /// How many jobs share a block.
    pub(crate) const SLOTS: u32 = 256;

    /// A block whose first slot is that of job `first`.
    pub(crate) fn new(first: u64) -> Arc<Self> {
        let slots = (0..Self::SLOTS).map(|_| Slot::Open).collect();
        Arc::new(Self { first, slots: Mutex::new(slots), abandoned: AtomicUsize::new(0) })
    }

    pub(crate) fn id(&self, at: u32) -> JobId {
        JobId(self.first + u64::from(at))
    }

    pub(crate) fn plant(&self, at: u32, slot: Slot<J>) {
        self.slots.lock()[at as usize] = slot;
    }
}

/// One slot, as its `Submit` holds it.
pub(crate) struct SlotRef<J: Job> {
    block: Arc<Block<J>>,
    at: u32,
}

impl<J: Job> SlotRef<J> {
    pub(crate) fn new(block: Arc<Block<J>>, at: u32) -> Self {
        Self { block, at }
    }

    pub(crate) fn id(&self) -> JobId {
        self.block.id(self.at)
    }

    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Poll<JobResult<J>> {
        let mut slots = self.block.slots.lock();
        let slot = &mut slots[self.at as usize];
        match slot {
            Slot::Polled(waker) if waker.will_wake(cx.waker()) => Poll::Pending,
            Slot::Open => {
                *slot = Slot::Polled(cx.waker().clone());
                Poll::Pending
            }
            Slot::Polled(_) => {
                let previous = mem::replace(slot, Slot::Polled(cx.waker().clone()));
                drop(slots);
                drop(previous);
                Poll::Pending
            }
            _ => match mem::replace(slot, Slot::Answered) {
                Slot::Settled(reply) => Poll::Ready(reply),
                _ => Poll::Ready(Err(JobError::Lost)),
            },
        }
    }

    /// The caller has gone: whatever comes reaches nobody.
    pub(crate) fn abandon(&self) {
        let mut slots = self.block.slots.lock();
        let slot = &mut slots[self.at as usize];
        let next = match slot {
            Slot::Open | Slot::Polled(_) => Slot::Abandoned,
            _ => Slot::Answered,
        };
        let previous = mem::replace(slot, next);
        drop(slots);
        if matches!(previous, Slot::Open | Slot::Polled(_)) {
            self.block.abandoned.fetch_add(1, Ordering::Relaxed);
        }
        drop(previous);
    }
}

/// Consecutive slots of one block.
struct Run<J: Job> {
    block: Arc<Block<J>>,
    at: u32,
    len: u32,
}

/// The slots that a batch answers to, in the order of its jobs.
pub(crate) struct Replies<J: Job> {
    runs: SmallVec<[Run<J>; 2]>,
    len: usize,
}

impl<J: Job> Default for Replies<J> {
    fn default() -> Self {
        Self { runs: SmallVec::new(), len: 0 }
    }
}

impl<J: Job> Replies<J> {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Adds a slot at the end; neighbours share a run.
    pub(crate) fn push(&mut self, block: &Arc<Block<J>>, at: u32) {
        self.len += 1;
        match self.runs.last_mut() {
            Some(last) if last.at + last.len == at && Arc::ptr_eq(&last.block, block) => last.len += 1,
            _ => self.runs.push(Run { block: Arc::clone(block), at, len: 1 }),
        }
    }

    /// Gives every job its reply. Results that are missing are `Lost`; who must be told is left in `deliveries`.
    pub(crate) fn settle(
        mut self,
        mut results: impl Iterator<Item = JobResult<J>>,
        tally: &mut Tally,
        deliveries: &mut Deliveries<J>,
    ) {
        for run in mem::take(&mut self.runs) {
            let mut slots = run.block.slots.lock();
            for slot in &mut slots[run.at as usize..(run.at + run.len) as usize] {
                let reply = results.next().unwrap_or(Err(JobError::Lost));
                tally.count(&reply);
                deliveries.answer(slot, reply);
            }
        }
        self.len = 0;
    }

    /// Gives every job the same error.
    pub(crate) fn fail(self, error: &JobError<J::Error>, tally: &mut Tally, deliveries: &mut Deliveries<J>) {
        self.settle(std::iter::repeat_with(|| Err(error.clone())), tally, deliveries);
    }

    /// Whether each job's caller has gone, in order; `None` when no caller has.
    pub(crate) fn abandoned(&self) -> Option<Vec<bool>> {
        if self.runs.iter().all(|run| run.block.abandoned.load(Ordering::Relaxed) == 0) {
            return None;
        }
        let mut abandoned = Vec::with_capacity(self.len);
        for run in &self.runs {
            let slots = run.block.slots.lock();
            let slots = &slots[run.at as usize..(run.at + run.len) as usize];
            abandoned.extend(slots.iter().map(|slot| matches!(slot, Slot::Abandoned)));
        }
        abandoned.contains(&true).then_some(abandoned)
    }

    /// Parts the slots in two, each in order: those that `take` says, and the rest.
    pub(crate) fn partition(mut self, mut take: impl FnMut(usize) -> bool) -> (Self, Self) {
        let (mut taken, mut rest) = (Self::default(), Self::default());
        let slots = mem::take(&mut self.runs).into_iter().flat_map(|run| {
            let Run { block, at, len } = run;
            (at..at + len).map(move |at| (Arc::clone(&block), at))
        });
        for (position, (block, at)) in slots.enumerate() {
            let side = if take(position) { &mut taken } else { &mut rest };
            side.push(&block, at);
        }
        self.len = 0;
        (taken, rest)
    }
}

impl<J: Job> Drop for Replies<J> {
    fn drop(&mut self) {
        if self.runs.is_empty() {
            return;
        }
        let mut deliveries = Deliveries::default();
        mem::take(self).fail(&JobError::Lost, &mut Tally::default(), &mut deliveries);
        deliveries.deliver();
    }
}

/// How settled jobs ended.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) succeeded: u64,
    pub(crate) failed: Failures,
}

impl Tally {
    fn count<T, E>(&mut self, reply: &Result<T, JobError<E>>) {
        match reply {
            Ok(_) => self.succeeded += 1,
            Err(error) => self.failed.count(error),
        }
    }
}

/// Who is still to be told, once the locks are free. Reused from batch to batch.
pub(crate) struct Deliveries<J: Job> {
    wakers: Vec<Waker>,
    messages: Vec<(OneshotSender<JobResult<J>>, JobResult<J>)>,
    unheeded: Vec<JobResult<J>>,
}

impl<J: Job> Default for Deliveries<J> {
    fn default() -> Self {
        Self { wakers: Vec::new(), messages: Vec::new(), unheeded: Vec::new() }
    }
}

impl<J: Job> Deliveries<J> {
    fn answer(&mut self, slot: &mut Slot<J>, reply: JobResult<J>) {
        match slot {
            Slot::Open => *slot = Slot::Settled(reply),
            Slot::Polled(_) => {
                if let Slot::Polled(waker) = mem::replace(slot, Slot::Settled(reply)) {
                    self.wakers.push(waker);
                }
            }
            _ => match mem::replace(slot, Slot::Answered) {
                Slot::Message(sender) => self.messages.push((sender, reply)),
                _ => self.unheeded.push(reply),
            },
        }
    }

    /// Tells them. What panics here is the user's (`Drop` of an output, an exotic waker) and stays with its one reply.
    pub(crate) fn deliver(&mut self) {
        for waker in self.wakers.drain(..) {
            contain(|| waker.wake());
        }
        for (sender, reply) in self.messages.drain(..) {
            contain(|| drop(sender.send(reply)));
        }
        for reply in self.unheeded.drain(..) {
            contain(|| drop(reply));
        }
    }
}

/// Runs `f`; a panic in it ends here.
pub(crate) fn contain(f: impl FnOnce()) {
    let _ = catch_unwind(AssertUnwindSafe(f));
}
