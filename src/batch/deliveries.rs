//! Deliveries: the callers to wake and the replies to drop once the locks are free.

use std::{mem, task::Waker};

use super::{replies::Requester, slot::Slot};
use crate::{
    job::{Job, JobResult},
    panics::contain,
};

/// The callers to wake and the undelivered replies to drop once the locks are free, and buffers that go from batch to batch.
pub(crate) struct Deliveries<J: Job> {
    wakers: Vec<Waker>,
    undelivered: Vec<JobResult<J>>,
    pub(super) spare: Vec<Requester<J>>,
}

impl<J: Job> Default for Deliveries<J> {
    fn default() -> Self {
        Self { wakers: Vec::new(), undelivered: Vec::new(), spare: Vec::new() }
    }
}

impl<J: Job> Deliveries<J> {
    /// Puts the reply in its slot. Needs the block's lock.
    #[inline]
    pub(super) fn fill(&mut self, slot: &mut Slot<JobResult<J>>, reply: JobResult<J>) {
        slot.fill(reply, &mut self.wakers, &mut self.undelivered);
    }

    /// The emptied buffer of the batch that was settled last.
    pub(crate) fn take_spare(&mut self) -> Vec<Requester<J>> {
        mem::take(&mut self.spare)
    }

    /// Wakes the callers and drops the undelivered replies. Needs the locks to be free.
    pub(crate) fn deliver(&mut self) {
        for waker in self.wakers.drain(..) {
            contain(|| waker.wake());
        }
        for reply in self.undelivered.drain(..) {
            contain(|| drop(reply));
        }
    }
}
