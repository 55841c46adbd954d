//! Where replies wait: the handle's in slots of arrival blocks, an actix request's in its own sender; and the runs of them that
//! a batch answers to.
//!
//! Invariants:
//! - A slot never moves. A reply is given exactly once. Whoever gives it owns the [`Replies`] that cover it; there are no others.
//! - `Replies` that are dropped unsettled settle themselves as [`JobError::Lost`].
//! - No code of the user's runs under a block's lock: wakers, senders and results leave it first, as [`Deliveries`].

use std::{
    collections::VecDeque,
    mem,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use actix::dev::OneshotSender;
use parking_lot::Mutex;
use smallvec::SmallVec;
use tokio::time::Instant;
use tracing::Span;

use super::{BatchMetadata, Deliveries, Metadata, Tally, slot::Slot};
use crate::{
    error::JobError,
    job::{Job, JobId, JobIds, JobResult},
    panics::contain,
};

/// The reply slots of up to [`Block::SLOTS`] consecutive jobs.
pub(crate) struct Block<J: Job> {
    first: u64,
    slots: Mutex<Box<[Slot<JobResult<J>>]>>,
    /// How many slots were abandoned: a hint, read without the lock.
    abandoned: AtomicUsize,
}

impl<J: Job> Block<J> {
    /// How many jobs share a block.
    pub(crate) const SLOTS: u32 = 256;

    /// A block whose first slot is that of job `first`.
    pub(crate) fn new(first: u64) -> Arc<Self> {
        let slots = (0..Self::SLOTS).map(|_| Slot::open()).collect();
        Arc::new(Self { first, slots: Mutex::new(slots), abandoned: AtomicUsize::new(0) })
    }

    fn reuse(&mut self, first: u64) {
        self.first = first;
        // Whoever left the waiting line was never settled, and its slot says still that it has gone.
        if mem::take(self.abandoned.get_mut()) > 0 {
            self.slots.get_mut().fill_with(Slot::open);
        }
    }

    pub(crate) fn id(&self, at: u32) -> JobId {
        JobId(self.first + u64::from(at))
    }
}

/// Blocks in the order of their use: the open one, and full ones that are used again once nobody holds them.
///
/// Allocating and freeing blocks of this size would also make the allocator tidy up the callers' small ones each time.
pub(crate) struct Blocks<J: Job> {
    open: Arc<Block<J>>,
    next_slot: u32,
    next_id: u64,
    full: VecDeque<Arc<Block<J>>>,
}

impl<J: Job> Default for Blocks<J> {
    fn default() -> Self {
        Self { open: Block::new(0), next_slot: 0, next_id: 0, full: VecDeque::new() }
    }
}

impl<J: Job> Blocks<J> {
    /// How many full blocks are kept: about 1 MiB of them, but at least two.
    const KEPT: usize = {
        let fit = (1 << 20) / (Block::<J>::SLOTS as usize * size_of::<Slot<JobResult<J>>>());
        if fit < 2 { 2 } else { fit }
    };

    /// A number, and a slot, for the next job. A request needs no slot; its place stays empty.
    #[inline]
    pub(crate) fn take_slot(&mut self) -> (&Arc<Block<J>>, u32) {
        if self.next_slot == Block::<J>::SLOTS {
            self.next_block();
        }
        let at = self.next_slot;
        self.next_slot += 1;
        self.next_id += 1;
        (&self.open, at)
    }

    /// The oldest full block, if nobody holds it any more, or a new one. A block that is held for long makes room in the end.
    #[cold]
    fn next_block(&mut self) {
        let oldest = self.full.front_mut().and_then(Arc::get_mut).map(|block| block.reuse(self.next_id)).is_some();
        let next = if oldest { self.full.pop_front() } else { None };
        let next = next.unwrap_or_else(|| Block::new(self.next_id));
        self.full.push_back(mem::replace(&mut self.open, next));
        if self.full.len() > Self::KEPT {
            self.full.pop_front();
        }
        self.next_slot = 0;
    }
}

/// One slot, as its `Submit` holds it.
pub(crate) struct SlotRef<J: Job> {
    block: Arc<Block<J>>,
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
        reply.map(|reply| reply.unwrap_or(Err(JobError::Lost)))
    }

    /// The caller has gone: whatever comes reaches nobody.
    pub(crate) fn abandon(&self) {
        let previous = self.block.slots.lock()[self.at as usize].abandon();
        if previous.is_open() {
            self.block.abandoned.fetch_add(1, Ordering::Relaxed);
        }
        drop(previous);
    }
}

/// Who waits for an actix request's reply; `None` after a `do_send`: nobody waits, and nobody has gone.
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
    /// What some of the jobs brought along.
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

    /// There will be no replies: somebody else has these slots.
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

    /// The job of the last reply came on these metadata.
    #[cold]
    pub(crate) fn push_metadata(&mut self, job: JobId, metadata: Box<Metadata>) {
        self.metadata.get_or_insert_default().push(job, metadata);
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

    /// These jobs go on by themselves, and their metadata with them.
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

    /// Whose replies they are.
    pub(crate) fn ids(&self) -> JobIds {
        JobIds::of_runs(self.runs.iter().map(|run| {
            let first = run.first();
            first..first + u64::from(run.len())
        }))
    }

    /// Whether this job's is among them.
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

    /// Deals the replies out to batches, by their places. Each place is in one batch; one that is in none is `Lost`.
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

    /// Parts the replies in two, each in order: those that `take` says, and the rest.
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

/// What panics here is the user's – `Drop` of an output that nobody receives – and stays with its one reply.
#[inline]
fn answer<J: Job>(requester: Requester<J>, reply: JobResult<J>) {
    contain(|| match requester {
        Some(sender) => drop(sender.send(reply)),
        None => drop(reply),
    });
}

#[cfg(test)]
mod tests;
