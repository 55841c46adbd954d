//! Batches that wait for their turn: by priority, and by age.
//!
//! Each priority has a queue of its own. Of the first ones of each, that goes next whose first job was accepted earliest – a lower
//! priority counting as accepted later, by `ageing` for each step below the highest. So what is accepted later than a batch by more
//! than that cannot overtake it.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

use super::ready_batch::ReadyBatch;
use crate::job::{Job, JobId, Priority};

pub(super) struct ReadyQueue<J: Job> {
    /// The highest priority first.
    queues: [VecDeque<ReadyBatch<J>>; Priority::ALL.len()],
    ageing: Duration,
}

impl<J: Job> ReadyQueue<J> {
    pub(super) fn new(ageing: Duration) -> Self {
        Self { queues: [VecDeque::new(), VecDeque::new(), VecDeque::new()], ageing }
    }

    fn of(&mut self, ready: &ReadyBatch<J>) -> &mut VecDeque<ReadyBatch<J>> {
        &mut self.queues[ready.batch.priority().rank() as usize]
    }

    /// It waits behind those of its priority.
    pub(super) fn push_back(&mut self, ready: ReadyBatch<J>) {
        self.of(&ready).push_back(ready);
    }

    /// It is the next of its priority.
    pub(super) fn push_front(&mut self, ready: ReadyBatch<J>) {
        self.of(&ready).push_front(ready);
    }

    pub(super) fn front(&self) -> Option<&ReadyBatch<J>> {
        self.queues.iter().filter_map(VecDeque::front).min_by_key(|ready| self.turn(ready))
    }

    pub(super) fn pop_front(&mut self) -> Option<ReadyBatch<J>> {
        let queue = self.front()?.batch.priority().rank();
        self.queues[queue as usize].pop_front()
    }

    /// The earlier, the sooner.
    fn turn(&self, ready: &ReadyBatch<J>) -> Instant {
        ready.batch.priority().turn(ready.opened_at, self.ageing)
    }

    /// The batch with this job gets a higher priority, and the place there that its age asks for.
    pub(super) fn raise(&mut self, job: JobId, priority: Priority) {
        let lower = (priority.rank() + 1) as usize;
        for queue in lower..self.queues.len() {
            let Some(at) = self.queues[queue].iter().position(|ready| ready.replies.contains(job)) else { continue };
            let Some(mut ready) = self.queues[queue].remove(at) else { continue };
            ready.batch.set_priority(priority);
            let raised = &mut self.queues[priority.rank() as usize];
            let place = raised.partition_point(|other| other.opened_at <= ready.opened_at);
            raised.insert(place, ready);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.queues.iter().map(VecDeque::len).sum()
    }

    /// All of them, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &ReadyBatch<J>> {
        self.queues.iter().flatten()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queues.iter().all(VecDeque::is_empty)
    }

    /// All of them, the next ones first within each priority.
    pub(super) fn take(&mut self) -> Vec<ReadyBatch<J>> {
        self.queues.iter_mut().flat_map(std::mem::take).collect()
    }
}
