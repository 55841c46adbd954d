//! The shared open batch: the one piece of state that submitters on any thread and the actor have in common.
//!
//! Invariants, all kept under one lock:
//! - `jobs` and `replies` of the open batch are of one length whenever the lock is free, in the order of acceptance.
//! - `pending` = jobs accepted and not settled ≤ `max_pending`. Nobody waits in line while there is room.
//! - Filling a batch and queueing it are one step, so batches keep their order.
//! - After `close` nothing is accepted.
//!
//! No code of the user's runs under the lock but the flush policy, whose panics are caught.

use std::{
    collections::VecDeque,
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Weak},
};

use parking_lot::Mutex;
use tokio::time::Instant;
use tracing::{debug, level_filters::LevelFilter};

use crate::{
    batch::{Block, Blocks, Replies, Requester, SlotRef, Trigger},
    bell::Bell,
    config::CollectorConfig,
    dispatch::Sealed,
    error::{Reason, Rejected},
    flush::{Decision, FlushPolicy, OpenBatch},
    job::{Job, JobId, Line, Submit},
};

pub(crate) struct Intake<J: Job> {
    state: Mutex<State<J>>,
    bell: Arc<Bell>,
    collector: Arc<str>,
}

struct State<J: Job> {
    // The open batch.
    jobs: Vec<J>,
    replies: Replies<J>,
    opened_at: Option<Instant>,
    policy: Box<dyn FlushPolicy>,
    max_size: usize,
    /// Batches that have left it, for the actor to take.
    sealed: Vec<Sealed<J>>,
    /// Emptied buffers, to be filled again.
    spare: Vec<Buffers<J>>,

    /// Slots for the jobs to come.
    blocks: Blocks<J>,

    // Admission.
    max_pending: usize,
    pending: usize,
    line: VecDeque<InLine<J>>,
    left_line: usize,
    closed: bool,
    accepted: u64,
    rejected: u64,

    /// When the actor will look at the time by itself.
    alarm: Option<Instant>,
}

/// What a batch was kept in.
pub(crate) struct Buffers<J: Job> {
    pub(crate) jobs: Vec<J>,
    pub(crate) requesters: Vec<Requester<J>>,
}

/// A job whose submitter waits for room. `None`: the submitter has gone.
struct InLine<J: Job> {
    id: JobId,
    job: Option<J>,
    block: Arc<Block<J>>,
    at: u32,
}

/// Whether the actor should be told.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum News {
    None,
    /// A batch is ready, or the alarm is to be set earlier.
    Some,
}

/// What the actor sees when it looks.
pub(crate) struct View {
    /// When the open batch leaves by time.
    pub(crate) due: Option<Instant>,
    /// Jobs accepted and not settled.
    pub(crate) pending: usize,
    pub(crate) waiting: usize,
    pub(crate) accepted: u64,
    pub(crate) rejected: u64,
}

impl<J: Job> Intake<J> {
    pub(crate) fn new(config: &CollectorConfig, collector: Arc<str>, bell: Arc<Bell>) -> Self {
        let state = State {
            jobs: Vec::new(),
            replies: Replies::default(),
            opened_at: None,
            policy: config.policy(),
            max_size: config.max_size,
            sealed: Vec::new(),
            spare: Vec::new(),
            blocks: Blocks::default(),
            max_pending: config.max_pending,
            pending: 0,
            line: VecDeque::new(),
            left_line: 0,
            closed: false,
            accepted: 0,
            rejected: 0,
            alarm: None,
        };
        Self { state: Mutex::new(state), bell, collector }
    }

    /// Accepts the job, or puts it in line.
    pub(crate) fn submit(self: &Arc<Self>, job: J) -> Submit<J> {
        let mut state = self.state.lock();
        if state.closed {
            state.rejected += 1;
            drop(state);
            return Submit::refused(Reason::ShutDown);
        }
        let (block, at) = state.take_slot();
        if state.is_full() {
            state.wait_in_line(job, Arc::clone(&block), at);
            drop(state);
            let line: Weak<Self> = Arc::downgrade(self);
            let slot = SlotRef::new(block, at);
            debug!(collector = &*self.collector, job = slot.id().get(), "waits in line");
            return Submit::in_line(slot, line);
        }
        state.replies.push_slot(&block, at);
        let news = state.join(job);
        drop(state);
        self.accepted(SlotRef::new(block, at), news)
    }

    /// Accepts the job, or hands it back.
    pub(crate) fn try_submit(&self, job: J) -> Result<Submit<J>, Rejected<J>> {
        let mut state = self.state.lock();
        if let Some(reason) = state.refusal() {
            drop(state);
            return Err(Rejected { job, reason });
        }
        let (block, at) = state.take_slot();
        state.replies.push_slot(&block, at);
        let news = state.join(job);
        drop(state);
        Ok(self.accepted(SlotRef::new(block, at), news))
    }

    /// Accepts a request's job, or answers at once. Returns whether the actor has news.
    pub(crate) fn message(&self, job: J, requester: Requester<J>) -> News {
        let mut state = self.state.lock();
        if let Some(reason) = state.refusal() {
            drop(state);
            if let Some(sender) = requester {
                let _ = sender.send(Err(reason.into()));
            }
            return News::None;
        }
        let (block, at) = state.blocks.take_slot();
        let id = block.id(at);
        state.replies.push_requester(requester);
        let news = state.join(job);
        drop(state);
        self.announce(id, news);
        news
    }

    fn accepted(&self, slot: SlotRef<J>, news: News) -> Submit<J> {
        self.announce(slot.id(), news);
        Submit::accepted(slot)
    }

    #[inline]
    fn announce(&self, job: JobId, news: News) {
        if somebody_listens() {
            self.say_accepted(job);
        }
        if news == News::Some {
            self.bell.ring();
        }
    }

    #[cold]
    fn say_accepted(&self, job: JobId) {
        debug!(collector = &*self.collector, job = job.get(), "accepted");
    }

    /// The actor looks: sends the open batch if it is due, and takes all that has left. It will look again at `alarm`; where
    /// the answer's `due` is earlier, it must look then.
    pub(crate) fn look(&self, now: Instant, alarm: Option<Instant>, sealed: &mut Vec<Sealed<J>>) -> View {
        let mut state = self.state.lock();
        if state.due().is_some_and(|due| due <= now) {
            state.seal(Trigger::Interval);
        }
        mem::swap(&mut state.sealed, sealed);
        let due = state.due();
        state.alarm = [alarm, due].into_iter().flatten().min();
        state.view(due)
    }

    /// What the actor would see if it looked, and `max_pending`; without touching anything.
    #[cfg(feature = "test-util")]
    pub(crate) fn peek(&self) -> (View, usize) {
        let state = self.state.lock();
        (state.view(None), state.max_pending)
    }

    /// Sends the open batch, whatever is in it. Returns how many jobs it had.
    pub(crate) fn flush(&self) -> usize {
        let mut state = self.state.lock();
        let jobs = state.jobs.len();
        state.seal(Trigger::Manual);
        jobs
    }

    /// So many jobs have been settled: the room is given to those in line. Emptied buffers come with them.
    pub(crate) fn settled(&self, jobs: usize, buffers: Buffers<J>) {
        debug_assert!(buffers.jobs.is_empty() && buffers.requesters.is_empty());
        let mut state = self.state.lock();
        state.pending -= jobs;
        if state.spare.len() < State::<J>::SPARE {
            state.spare.push(buffers);
        }
        state.admit();
    }

    /// Accepts nothing from now on.
    pub(crate) fn refuse(&self) {
        self.state.lock().closed = true;
    }

    /// Accepts nothing from now on, sends the open batch, and hands back those in line.
    pub(crate) fn close(&self) -> Vec<(Option<J>, Replies<J>)> {
        let mut state = self.state.lock();
        state.closed = true;
        state.seal(Trigger::Drain);
        let line = mem::take(&mut state.line);
        state.rejected += line.iter().filter(|waiting| waiting.job.is_some()).count() as u64;
        line.into_iter()
            .map(|waiting| {
                let mut replies = Replies::default();
                replies.push_slot(&waiting.block, waiting.at);
                (waiting.job, replies)
            })
            .collect()
    }
}

/// Whether a subscriber or a logger wants debug events: two loads, where the event itself would cost ten times that per job.
#[inline]
fn somebody_listens() -> bool {
    LevelFilter::current() >= LevelFilter::DEBUG || log::max_level() >= log::LevelFilter::Debug
}

impl<J: Job> Line for Intake<J> {
    fn leave(&self, id: JobId) {
        let job = self.state.lock().leave_line(id);
        drop(job);
    }
}

impl<J: Job> State<J> {
    /// Buffers kept for reuse.
    const SPARE: usize = 16;

    fn refusal(&mut self) -> Option<Reason> {
        let reason = if self.closed {
            Reason::ShutDown
        } else if self.is_full() {
            Reason::Overloaded
        } else {
            return None;
        };
        self.rejected += 1;
        Some(reason)
    }

    fn is_full(&self) -> bool {
        self.pending >= self.max_pending
    }

    #[inline]
    fn take_slot(&mut self) -> (Arc<Block<J>>, u32) {
        let (block, at) = self.blocks.take_slot();
        (Arc::clone(block), at)
    }

    /// The job joins the open batch, where its reply waits already. The batch may leave with it.
    #[inline]
    fn join(&mut self, job: J) -> News {
        let open = self.open();
        // A policy that panics means "send now".
        let decision = catch_unwind(AssertUnwindSafe(|| self.policy.on_job(&open))).unwrap_or(Decision::AddAndSend);
        self.jobs.push(job);
        self.pending += 1;
        self.accepted += 1;
        let send = decision == Decision::AddAndSend || self.jobs.len() >= self.max_size || self.is_full();
        if send || open.opened_at.is_none() { self.turn(send) } else { News::None }
    }

    /// The open batch begins or leaves.
    #[cold]
    fn turn(&mut self, send: bool) -> News {
        if send {
            let full = self.is_full() && self.jobs.len() < self.max_size;
            self.seal(if full { Trigger::Full } else { Trigger::Size });
            return News::Some;
        }
        // The clock is read once per batch.
        self.opened_at = Some(Instant::now());
        self.opened()
    }

    /// The open batch has its first job: the actor must look in time.
    fn opened(&self) -> News {
        match (self.due(), self.alarm) {
            (None, _) => News::None,
            (Some(due), Some(alarm)) if alarm <= due => News::None,
            _ => News::Some,
        }
    }

    fn open(&self) -> OpenBatch {
        OpenBatch { jobs: self.jobs.len(), opened_at: self.opened_at }
    }

    fn due(&self) -> Option<Instant> {
        let opened_at = self.opened_at?;
        catch_unwind(AssertUnwindSafe(|| self.policy.due(&self.open()))).unwrap_or(Some(opened_at))
    }

    fn seal(&mut self, trigger: Trigger) {
        if self.jobs.is_empty() {
            return;
        }
        let (jobs, requesters) = self.spare.pop().map_or_else(Default::default, |spare| (spare.jobs, spare.requesters));
        let jobs = mem::replace(&mut self.jobs, jobs);
        let replies = mem::replace(&mut self.replies, Replies::with_buffer(requesters));
        let opened_at = self.opened_at.take().unwrap_or_else(Instant::now);
        self.sealed.push(Sealed { jobs, replies, trigger, opened_at });
    }

    fn wait_in_line(&mut self, job: J, block: Arc<Block<J>>, at: u32) {
        self.line.push_back(InLine { id: block.id(at), job: Some(job), block, at });
    }

    /// Gives room to those in line, first come, first served.
    fn admit(&mut self) {
        while !self.is_full() {
            let Some(InLine { job, block, at, .. }) = self.line.pop_front() else { return };
            match job {
                Some(job) => {
                    self.replies.push_slot(&block, at);
                    self.join(job);
                }
                None => self.left_line -= 1,
            }
        }
    }

    fn leave_line(&mut self, id: JobId) -> Option<J> {
        let position = self.line.binary_search_by_key(&id, |waiting| waiting.id).ok()?;
        let job = self.line[position].job.take()?;
        self.left_line += 1;
        // Gaps are closed when they are half of the line, so leaving is cheap and nothing piles up.
        if self.left_line * 2 > self.line.len() {
            self.line.retain(|waiting| waiting.job.is_some());
            self.left_line = 0;
        }
        Some(job)
    }

    fn view(&self, due: Option<Instant>) -> View {
        View {
            due,
            pending: self.pending,
            waiting: self.line.len() - self.left_line,
            accepted: self.accepted,
            rejected: self.rejected,
        }
    }
}
