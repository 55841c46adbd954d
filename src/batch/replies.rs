//! Where replies wait: a handle's in slots of blocks, a message's in actix's own sender; and the runs of them that a batch answers
//! to.
//!
//! Invariants:
//! - A slot never moves. A reply is given exactly once, by the owner of the [`Replies`] that cover it; there are no others.
//! - `Replies` that are dropped unsettled settle themselves as [`JobError::Lost`].
//! - No code of the user's runs under a block's lock: wakers, senders and results leave it first, as [`Deliveries`].

use std::{
    mem,
    sync::{Arc, atomic::Ordering},
};

use actix::dev::OneshotSender;

use smallvec::SmallVec;
use tokio::time::Instant;
use tracing::Span;

use super::{
    BatchMetadata, Block, Deliveries, Metadata, Tally, Watch,
    callers::{BatchCallers, Callers},
    slot::Slot,
};
use crate::{
    error::JobError,
    job::{Job, JobId, JobIds, JobResult},
    panics::contain,
};

/// actix's sender for the reply to a message; `None` after a `do_send`.
pub(crate) type Requester<J> = Option<OneshotSender<JobResult<J>>>;

/// Replies that wait in one place, in the order of their jobs.
enum Run<J: Job> {
    /// Consecutive slots of one block.
    Slots { block: Arc<Block<J>>, at: u32, len: u32 },
    /// The next so many requesters, of consecutive jobs.
    Requesters { first: u64, len: u32 },
}

/// Where one reply waits.
enum Place<'r, J: Job> {
    Slot(&'r Arc<Block<J>>, u32),
    Requester(JobId, Requester<J>),
}

/// The replies that a batch answers to, in the order of its jobs.
pub(crate) struct Replies<J: Job> {
    runs: SmallVec<[Run<J>; 2]>,
    requesters: Vec<Requester<J>>,
    len: usize,
    /// The metadata of those jobs that have any.
    metadata: Option<Box<BatchMetadata>>,
}

impl<J: Job> Default for Replies<J> {
    fn default() -> Self {
        Self::with_buffer(Vec::new())
    }
}

impl<J: Job> Replies<J> {
    /// None yet; requesters will be kept in this emptied buffer.
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

    /// Adds others at the end, and their metadata.
    pub(crate) fn append(&mut self, mut others: Self) {
        let mut requesters = mem::take(&mut others.requesters).into_iter();
        for run in mem::take(&mut others.runs) {
            for offset in 0..run.len() {
                match &run {
                    Run::Slots { block, at, .. } => self.push_slot(block, at + offset),
                    Run::Requesters { first, .. } => {
                        self.push_requester(JobId(first + u64::from(offset)), requesters.next().flatten());
                    }
                }
            }
        }
        others.len = 0;
        if let Some(metadata) = others.metadata.take() {
            self.metadata.get_or_insert_default().append(*metadata);
        }
    }

    /// Gives up these slots without replies: another owner has them.
    pub(crate) fn forget(mut self) {
        self.runs.clear();
    }

    /// The buffer of requesters, where there are none left.
    pub(crate) fn take_buffer(&mut self) -> Vec<Requester<J>> {
        if self.len == 0 { mem::take(&mut self.requesters) } else { Vec::new() }
    }

    /// Adds a slot at the end; neighbours share a run.
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

    /// Adds the metadata of the last job.
    #[cold]
    pub(crate) fn push_metadata(&mut self, job: JobId, metadata: Box<Metadata>) {
        self.metadata.get_or_insert_default().push(job, metadata);
    }

    /// The callers, for the processor to watch; `followed`: other callers may follow the jobs.
    pub(crate) fn callers(&self, followed: bool) -> Arc<dyn Watch> {
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

    /// Whether each job's deadline has passed, in order; `None` when none has.
    pub(crate) fn late(&self, now: Instant) -> Option<Vec<bool>> {
        self.deadline().filter(|deadline| *deadline <= now)?;
        let late = self.metadata.as_ref()?.late(now);
        Some(self.ids().iter().map(|job| late.contains(&job)).collect())
    }

    /// Takes the metadata of these jobs out of that of the whole batch.
    fn take_metadata(&mut self, whole: &mut Option<Box<BatchMetadata>>) {
        if let Some(whole) = whole {
            let taken = whole.take(&self.ids());
            self.metadata = if taken.is_empty() { None } else { Some(Box::new(taken)) };
        }
    }

    /// Gives every job its reply. Results that are missing are `Lost`. Requests are answered at once; whom to wake, once the
    /// locks are free, is left in `deliveries`.
    #[inline]
    pub(crate) fn settle(
        mut self,
        mut results: impl Iterator<Item = JobResult<J>>,
        tally: &mut Tally,
        deliveries: &mut Deliveries<J>,
    ) {
        let mut next = || {
            let reply = results.next().unwrap_or(Err(JobError::Lost));
            tally.count(&reply);
            reply
        };
        let mut forgotten = 0;
        let mut buffer = mem::take(&mut self.requesters);
        let mut requesters = buffer.drain(..);
        for run in mem::take(&mut self.runs) {
            match run {
                Run::Slots { block, at, len } => {
                    let mut slots = block.slots.lock();
                    for slot in &mut slots[at as usize..(at + len) as usize] {
                        deliveries.fill(slot, next());
                    }
                }
                Run::Requesters { len, .. } => {
                    for requester in requesters.by_ref().take(len as usize) {
                        let reply = next();
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

    /// The jobs whose replies they are.
    pub(crate) fn ids(&self) -> JobIds {
        JobIds::of_runs(self.runs.iter().map(|run| {
            let first = run.first();
            first..first + u64::from(run.len())
        }))
    }

    /// Whether this job's reply is among them.
    pub(crate) fn contains(&self, job: JobId) -> bool {
        self.runs.iter().any(|run| (run.first()..run.first() + u64::from(run.len())).contains(&job.0))
    }

    /// Whether each job's caller has gone, in order; `None` when no caller has.
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

    /// Divides the replies among batches, by their positions. Each position is in one batch; a reply that is in none is `Lost`.
    pub(crate) fn deal(mut self, batches: &[Vec<usize>]) -> Vec<Self> {
        let runs = mem::take(&mut self.runs);
        let mut metadata = self.metadata.take();
        let mut requesters = mem::take(&mut self.requesters).into_iter();
        let places = runs.iter().flat_map(|run| (0..run.len()).map(move |offset| (run, offset)));
        let mut places: Vec<_> = places
            .map(|(run, offset)| match run {
                Run::Slots { block, at, .. } => Some(Place::Slot(block, at + offset)),
                Run::Requesters { first, .. } => {
                    Some(Place::Requester(JobId(first + u64::from(offset)), requesters.next().flatten()))
                }
            })
            .collect();
        self.len = 0;
        let dealt = batches.iter().map(|batch| {
            let mut replies = Self::default();
            for place in batch.iter().filter_map(|at| places.get_mut(*at)?.take()) {
                replies.push(place);
            }
            replies.take_metadata(&mut metadata);
            replies
        });
        let dealt = dealt.collect();
        places.into_iter().flatten().for_each(|place| self.push(place));
        dealt
    }

    fn push(&mut self, place: Place<'_, J>) {
        match place {
            Place::Slot(block, at) => self.push_slot(block, at),
            Place::Requester(job, requester) => self.push_requester(job, requester),
        }
    }

    /// Divides the replies in two, in order: those for which `take` returns true, and the rest.
    pub(crate) fn partition(mut self, mut take: impl FnMut(usize) -> bool) -> (Self, Self) {
        let (mut taken, mut rest) = (Self::default(), Self::default());
        let mut requesters = mem::take(&mut self.requesters).into_iter();
        let mut position = 0;
        for run in mem::take(&mut self.runs) {
            for offset in 0..run.len() {
                let side = if take(position) { &mut taken } else { &mut rest };
                position += 1;
                match &run {
                    Run::Slots { block, at, .. } => side.push_slot(block, at + offset),
                    Run::Requesters { first, .. } => {
                        side.push_requester(JobId(first + u64::from(offset)), requesters.next().flatten());
                    }
                }
            }
        }
        self.len = 0;
        let mut metadata = self.metadata.take();
        taken.take_metadata(&mut metadata);
        rest.take_metadata(&mut metadata);
        (taken, rest)
    }
}

impl<J: Job> Run<J> {
    fn len(&self) -> u32 {
        match self {
            Self::Slots { len, .. } | Self::Requesters { len, .. } => *len,
        }
    }

    /// The number of its first job.
    fn first(&self) -> u64 {
        match self {
            Self::Slots { block, at, .. } => block.id(*at).0,
            Self::Requesters { first, .. } => *first,
        }
    }

    /// A hint that costs no lock. A requester that has gone is not noticed: actix drops its message unseen before it gets here.
    fn may_be_abandoned(&self) -> bool {
        match self {
            Self::Slots { block, .. } => block.abandoned.load(Ordering::Relaxed) > 0,
            Self::Requesters { .. } => false,
        }
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

/// Answers a message. A panic of the user's `Drop`, for an output that is not received, is contained.
#[inline]
fn answer<J: Job>(requester: Requester<J>, reply: JobResult<J>) {
    contain(|| match requester {
        Some(sender) => drop(sender.send(reply)),
        None => drop(reply),
    });
}

#[cfg(test)]
mod tests;
