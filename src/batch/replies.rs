//! The replies that a batch owes. The reply to a handle waits in a slot of a block; the reply to a message waits in actix's sender.
//!
//! Invariants:
//! - A slot never moves. Exactly one [`Replies`] covers each unsettled slot, and its owner gives the reply exactly once.
//! - `Replies` that are dropped unsettled settle themselves as [`JobError::Lost`].
//! - No user code runs under a block's lock: wakers, senders and results leave it first, as [`Deliveries`].

use std::{mem, sync::Arc};

use actix::dev::OneshotSender;
use smallvec::SmallVec;
use tokio::time::Instant;
use tracing::Span;

use super::{
    BatchMetadata, Block, CallerWatch, Deliveries, Metadata, Tally,
    callers::{BatchCallers, Callers},
    run::Run,
    slot::Slot,
};
use crate::{
    error::JobError,
    job::{Job, JobId, JobIds, JobResult},
    panics::contain,
};

/// actix's sender for the reply to a message; `None` after a `do_send`.
pub(crate) type Requester<J> = Option<OneshotSender<JobResult<J>>>;

/// The replies that a batch owes, in the order of its jobs.
pub(crate) struct Replies<J: Job> {
    runs: SmallVec<[Run<J>; 2]>,
    requesters: Vec<Requester<J>>,
    len: usize,
    /// The metadata of the jobs that have any.
    metadata: Option<Box<BatchMetadata>>,
}

impl<J: Job> Default for Replies<J> {
    fn default() -> Self {
        Self::with_buffer(Vec::new())
    }
}

impl<J: Job> Replies<J> {
    /// No replies yet. Requesters will be kept in this emptied buffer.
    pub(crate) fn with_buffer(requesters: Vec<Requester<J>>) -> Self {
        Self { runs: SmallVec::new(), requesters, len: 0, metadata: None }
    }

    /// The reply of one job.
    pub(crate) fn of_slot(block: &Arc<Block<J>>, at: u32) -> Self {
        let mut replies = Self::default();
        replies.push_slot(block, at);
        replies
    }

    /// The reply of one request.
    pub(crate) fn of_requester(job: JobId, requester: Requester<J>) -> Self {
        let mut replies = Self::default();
        replies.push_requester(job, requester);
        replies
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Gives up these slots without settling them, because they have another owner.
    pub(crate) fn forget(mut self) {
        self.runs.clear();
    }

    /// The buffer for requesters, if there are no replies left.
    pub(crate) fn take_buffer(&mut self) -> Vec<Requester<J>> {
        if self.len == 0 { mem::take(&mut self.requesters) } else { Vec::new() }
    }

    /// Adds a slot at the end. Neighbouring slots share a run.
    #[inline]
    pub(crate) fn push_slot(&mut self, block: &Arc<Block<J>>, at: u32) {
        self.len += 1;
        match self.runs.last_mut() {
            Some(Run::Slots { block: last, at: first, len }) if *first + *len == at && Arc::ptr_eq(last, block) => {
                *len += 1;
            }
            _ => self.begin_run(Run::Slots { block: Arc::clone(block), at, len: 1 }),
        }
    }

    #[cold]
    fn begin_run(&mut self, run: Run<J>) {
        self.runs.push(run);
    }

    /// Adds a requester at the end.
    #[inline]
    pub(crate) fn push_requester(&mut self, job: JobId, requester: Requester<J>) {
        self.len += 1;
        self.requesters.push(requester);
        match self.runs.last_mut() {
            Some(Run::Requesters { first, len }) if *first + u64::from(*len) == job.0 => *len += 1,
            _ => self.begin_run(Run::Requesters { first: job.0, len: 1 }),
        }
    }

    /// Adds the metadata of the job that was added last.
    #[cold]
    pub(crate) fn push_metadata(&mut self, job: JobId, metadata: Box<Metadata>) {
        self.metadata.get_or_insert_default().push(job, metadata);
    }

    /// The callers, for the processor to watch. `followed` says that other jobs may follow these.
    pub(crate) fn callers(&self, followed: bool) -> Arc<dyn CallerWatch> {
        let runs = self.runs.iter().map(|run| match run {
            Run::Slots { block, at, len } => Callers::Slots { block: Arc::clone(block), at: *at, len: *len },
            Run::Requesters { first, len } => Callers::Messages { first: *first, len: *len },
        });
        Arc::new(BatchCallers { runs: runs.collect(), followed })
    }

    /// The spans that the jobs were submitted in, each once.
    #[inline]
    pub(crate) fn spans(&self) -> Vec<Span> {
        self.metadata.as_ref().map_or_else(Vec::new, |metadata| metadata.spans())
    }

    /// The earliest deadline of these jobs.
    #[inline]
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.metadata.as_ref().and_then(|metadata| metadata.deadline())
    }

    /// The deadlines of these jobs, in no order.
    pub(crate) fn deadlines(&self) -> impl Iterator<Item = Instant> + '_ {
        self.metadata.iter().flat_map(|metadata| metadata.deadlines())
    }

    /// Whether each job's deadline has passed, in order; `None` if none has.
    pub(crate) fn late(&self, now: Instant) -> Option<Vec<bool>> {
        self.deadline().filter(|deadline| *deadline <= now)?;
        let late = self.metadata.as_ref()?.late(now);
        Some(self.ids().iter().map(|job| late.contains(&job)).collect())
    }

    /// Gives every job its reply. A job without a result gets `Lost`. Messages are answered at once; the wakers of other
    /// callers are left in `deliveries`, to be woken once the locks are free.
    #[inline]
    pub(crate) fn settle(
        mut self,
        mut results: impl Iterator<Item = JobResult<J>>,
        tally: &mut Tally,
        deliveries: &mut Deliveries<J>,
    ) {
        let mut forgotten = 0;
        let mut buffer = mem::take(&mut self.requesters);
        let mut requesters = buffer.drain(..);
        for run in mem::take(&mut self.runs) {
            match run {
                Run::Slots { block, at, len } => {
                    let mut slots = block.slots.lock();
                    for slot in &mut slots[at as usize..(at + len) as usize] {
                        deliveries.fill(slot, next_reply::<J>(&mut results, tally));
                    }
                }
                Run::Requesters { len, .. } => {
                    for requester in requesters.by_ref().take(len as usize) {
                        let reply = next_reply::<J>(&mut results, tally);
                        forgotten += u64::from(requester.is_none() && reply.is_err());
                        answer::<J>(requester, reply);
                    }
                }
            }
        }
        drop(requesters);
        self.len = 0;
        tally.forgotten += forgotten;
        deliveries.spare = buffer;
    }

    /// Gives every job the same error.
    pub(crate) fn fail(self, error: &JobError<J::Error>, tally: &mut Tally, deliveries: &mut Deliveries<J>) {
        self.settle(std::iter::repeat_with(|| Err(error.clone())), tally, deliveries);
    }

    /// The numbers of the jobs.
    pub(crate) fn ids(&self) -> JobIds {
        JobIds::of_runs(self.runs.iter().map(Run::ids))
    }

    /// Whether a reply of a job before this number is one of them.
    pub(crate) fn holds_before(&self, number: u64) -> bool {
        self.runs.iter().any(|run| run.ids().start < number)
    }

    /// Whether this job's reply is one of them.
    pub(crate) fn contains(&self, job: JobId) -> bool {
        self.runs.iter().any(|run| run.ids().contains(&job.0))
    }

    /// Whether each job's caller has gone, in order; `None` if no caller has.
    pub(crate) fn abandoned(&self) -> Option<Vec<bool>> {
        if !self.runs.iter().any(Run::may_be_abandoned) {
            return None;
        }
        let mut abandoned = Vec::with_capacity(self.len);
        for run in &self.runs {
            match run {
                Run::Slots { block, at, len } => {
                    let slots = block.slots.lock();
                    let slots = &slots[*at as usize..(at + len) as usize];
                    abandoned.extend(slots.iter().map(Slot::is_abandoned));
                }
                Run::Requesters { len, .. } => abandoned.resize(abandoned.len() + *len as usize, false),
            }
        }
        abandoned.contains(&true).then_some(abandoned)
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

/// The next job's reply, counted.
#[expect(clippy::inline_always, reason = "a call would cost every job as much as the rest of its settling")]
#[inline(always)]
fn next_reply<J: Job>(results: &mut impl Iterator<Item = JobResult<J>>, tally: &mut Tally) -> JobResult<J> {
    let reply = results.next().unwrap_or(Err(JobError::Lost));
    tally.count(&reply);
    reply
}

/// Answers a message. If the reply is not received, it is dropped here, and a panic of the user's `Drop` is contained.
#[inline]
fn answer<J: Job>(requester: Requester<J>, reply: JobResult<J>) {
    contain(|| match requester {
        Some(sender) => drop(sender.send(reply)),
        None => drop(reply),
    });
}

mod rearrange;
#[cfg(test)]
mod tests;
