//! The shared open batch: the one piece of state that submitters on any thread and the actor have in common.
//!
//! Invariants, all kept under one lock:
//! - `jobs` and `replies` of the open batch are of one length whenever the lock is free, in the order of acceptance.
//! - `pending` = jobs accepted and not settled ≤ `max_pending`. Nobody waits in line while there is room.
//! - Filling a batch and queueing it are one step, so batches keep their order.
//! - After `close` nothing is accepted.
//!
//! No code of the user's runs under the lock but the flush policy, whose panics are caught. Jobs are weighed before.

use std::{
    collections::VecDeque,
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Weak},
};

use parking_lot::Mutex;
use tokio::time::Instant;
use tracing::{Span, debug, level_filters::LevelFilter, warn};

use crate::{
    ConfigError,
    batch::{Block, Blocks, Origin, Replies, Requester, SlotRef, Trigger, contain, discard, origin},
    bell::Bell,
    config::CollectorConfig,
    dispatch::Sealed,
    error::{Reason, Rejected},
    flush::{Decision, FlushPolicy, Gauge, Strategy, Timing},
    job::{Job, JobId, JobState, Line, Submit},
    observe::Observers,
};

pub(crate) struct Intake<J: Job> {
    state: Mutex<State<J>>,
    bell: Arc<Bell>,
    collector: Arc<str>,
    weigher: Option<Weigher<J>>,
    observers: Observers,
}

/// Says what a job weighs.
pub(crate) type Weigher<J> = Box<dyn Fn(&J) -> u64 + Send + Sync>;

/// What decides when the open batch leaves, as far as it was said: without a policy it is that of the strategy.
pub(crate) struct Flushing<J> {
    pub(crate) policy: Option<Box<dyn FlushPolicy>>,
    pub(crate) weigher: Option<Weigher<J>>,
}

impl<J> Flushing<J> {
    /// A policy that goes by weight is nothing without weights.
    pub(crate) fn check(&self, strategy: Strategy) -> Result<(), ConfigError> {
        let by_weight = self.policy.as_ref().map_or(strategy == Strategy::Weight, FlushPolicy::reads_weight);
        if by_weight && self.weigher.is_none() {
            let allowed =
                "the flush policy goes by weight, so the builder's `.weigh(|job| ..)` has to say what a job weighs";
            return Err(ConfigError::new("weigh", "unset", allowed));
        }
        Ok(())
    }
}

struct State<J: Job> {
    // The open batch.
    jobs: Vec<J>,
    replies: Replies<J>,
    gauge: Gauge,
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
    weight: u64,
    block: Arc<Block<J>>,
    at: u32,
    origin: Origin,
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
    pub(crate) fn new(
        config: &CollectorConfig,
        flushing: Flushing<J>,
        collector: Arc<str>,
        bell: Arc<Bell>,
        observers: Observers,
    ) -> Self {
        let policy = flushing.policy.unwrap_or_else(|| config.policy());
        let state = State {
            jobs: Vec::new(),
            replies: Replies::default(),
            gauge: Gauge::new(policy, config.max_size, flushing.weigher.is_some(), Instant::now()),
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
        Self { state: Mutex::new(state), bell, collector, weigher: flushing.weigher, observers }
    }

    /// Accepts the job, or puts it in line.
    pub(crate) fn submit(self: &Arc<Self>, job: J) -> Submit<J> {
        match origin() {
            None => self.submit_from(job, || None),
            Some(span) => self.submit_in(span, job),
        }
    }

    #[cold]
    #[inline(never)]
    fn submit_in(self: &Arc<Self>, span: Box<Span>, job: J) -> Submit<J> {
        self.submit_from(job, || Some(span))
    }

    /// Made twice, so that nothing of a span is left where there is none.
    #[inline]
    fn submit_from(self: &Arc<Self>, job: J, origin: impl FnOnce() -> Origin) -> Submit<J> {
        let weight = self.weigh(&job);
        let mut state = self.state.lock();
        if state.closed {
            state.rejected += 1;
            drop(state);
            self.observers.tell(|observer, collector| observer.rejected(collector, Reason::ShutDown));
            return Submit::refused(Reason::ShutDown);
        }
        let (block, at) = state.take_slot();
        if state.is_full() {
            let waiting =
                InLine { id: block.id(at), job: Some(job), weight, block: Arc::clone(&block), at, origin: origin() };
            state.line.push_back(waiting);
            drop(state);
            let line: Weak<Self> = Arc::downgrade(self);
            let slot = SlotRef::new(block, at);
            debug!(collector = &*self.collector, job = slot.id().get(), "waits in line");
            return Submit::in_line(slot, line);
        }
        let decision = state.decide(weight);
        state.replies.push_slot(&block, at);
        if let Some(span) = origin() {
            state.replies.push_origin(block.id(at), span);
        }
        let news = state.join(job, decision);
        drop(state);
        self.accepted(SlotRef::new(block, at), news)
    }

    /// Accepts the job, or hands it back.
    pub(crate) fn try_submit(&self, job: J) -> Result<Submit<J>, Rejected<J>> {
        match origin() {
            None => self.try_submit_from(job, || None),
            Some(span) => self.try_submit_in(span, job),
        }
    }

    #[cold]
    #[inline(never)]
    fn try_submit_in(&self, span: Box<Span>, job: J) -> Result<Submit<J>, Rejected<J>> {
        self.try_submit_from(job, || Some(span))
    }

    #[inline]
    fn try_submit_from(&self, job: J, origin: impl FnOnce() -> Origin) -> Result<Submit<J>, Rejected<J>> {
        let weight = self.weigh(&job);
        let mut state = self.state.lock();
        if let Some(reason) = state.refusal() {
            drop(state);
            self.observers.tell(|observer, collector| observer.rejected(collector, reason));
            return Err(Rejected { job, reason });
        }
        let (block, at) = state.take_slot();
        let decision = state.decide(weight);
        state.replies.push_slot(&block, at);
        if let Some(span) = origin() {
            state.replies.push_origin(block.id(at), span);
        }
        let news = state.join(job, decision);
        drop(state);
        Ok(self.accepted(SlotRef::new(block, at), news))
    }

    /// Accepts a request's job, or answers at once. Returns whether the actor has news.
    pub(crate) fn message(&self, job: J, origin: Origin, requester: Requester<J>) -> News {
        let weight = self.weigh(&job);
        let mut state = self.state.lock();
        if let Some(reason) = state.refusal() {
            drop(state);
            self.observers.tell(|observer, collector| observer.rejected(collector, reason));
            if let Some(sender) = requester {
                let _ = sender.send(Err(reason.into()));
            }
            // This is the actor's handler: a panic here would be its end.
            contain(|| drop(job));
            return News::None;
        }
        let (block, at) = state.blocks.take_slot();
        let id = block.id(at);
        let decision = state.decide(weight);
        state.replies.push_requester(id, requester);
        if let Some(span) = origin {
            state.replies.push_origin(id, span);
        }
        let news = state.join(job, decision);
        drop(state);
        self.announce(id, news);
        news
    }

    /// What the job weighs.
    #[inline]
    fn weigh(&self, job: &J) -> u64 {
        match &self.weigher {
            Some(weigher) => self.weigh_by(weigher, job),
            None => 0,
        }
    }

    /// A panic of the user's code makes the job the heaviest: it goes alone.
    #[inline(never)]
    fn weigh_by(&self, weigher: &Weigher<J>, job: &J) -> u64 {
        catch_unwind(AssertUnwindSafe(|| weigher(job))).unwrap_or_else(|panic| {
            discard(panic);
            warn!(collector = &*self.collector, "weighing a job panicked: it counts as the heaviest");
            u64::MAX
        })
    }

    #[inline]
    fn accepted(&self, slot: SlotRef<J>, news: News) -> Submit<J> {
        self.announce(slot.id(), news);
        Submit::accepted(slot)
    }

    #[inline]
    fn announce(&self, job: JobId, news: News) {
        if somebody_listens() {
            self.say_accepted(job);
        }
        self.observers.tell(|observer, collector| observer.accepted(collector, job));
        if news == News::Some {
            self.bell.ring();
        }
    }

    #[cold]
    fn say_accepted(&self, job: JobId) {
        debug!(collector = &*self.collector, job = job.get(), "accepted");
    }

    /// The actor looks: sends the open batch if it is due, or a worker is free – `idle` – and the policy wants that; and takes
    /// all that has left. It will look again at `alarm`; where the answer's `due` is earlier, it must look then.
    pub(crate) fn look(&self, now: Instant, alarm: Option<Instant>, idle: bool, sealed: &mut Vec<Sealed<J>>) -> View {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        // What has left already will take the free worker.
        state.gauge.set_idle(idle && state.sealed.is_empty());
        if state.gauge.due().is_some_and(|due| due <= now) {
            state.seal(Trigger::Interval);
        } else if state.gauge.leaves_when_free() {
            state.seal(Trigger::Idle);
        }
        mem::swap(&mut state.sealed, sealed);
        let due = state.gauge.due();
        state.alarm = [alarm, due].into_iter().flatten().min();
        let (view, panics) = (state.view(due), state.gauge.take_panics());
        drop(guard);
        if panics > 0 {
            warn!(collector = &*self.collector, panics, "the flush policy panicked: what was open was sent");
        }
        view
    }

    /// A worker has answered a batch: the policy may learn from it.
    pub(crate) fn answered(&self, timing: &Timing) {
        self.state.lock().gauge.on_done(timing);
    }

    /// What the actor would see if it looked, and `max_pending`; without touching anything.
    #[cfg(feature = "test-util")]
    pub(crate) fn peek(&self) -> (View, usize) {
        let state = self.state.lock();
        (state.view(None), state.max_pending)
    }

    /// Where a job is that has not left the open batch, or that the actor has not taken yet.
    pub(crate) fn find(&self, job: JobId) -> Option<JobState> {
        let state = self.state.lock();
        let left = state.sealed.iter().any(|sealed| sealed.replies.ids().contains(job));
        if left || state.replies.ids().contains(job) {
            return Some(JobState::Buffered);
        }
        let at = state.line.binary_search_by_key(&job, |waiting| waiting.id).ok()?;
        state.line[at].job.is_some().then_some(JobState::Waiting)
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
        let mut admitted = Vec::new();
        state.admit(|job| {
            if self.observers.listen() {
                admitted.push(job);
            }
        });
        drop(state);
        for job in admitted {
            self.observers.tell(|observer, collector| observer.accepted(collector, job));
        }
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
        state.left_line = 0;
        state.rejected += line.iter().filter(|waiting| waiting.job.is_some()).count() as u64;
        line.into_iter()
            .map(|waiting| {
                let mut replies = Replies::default();
                replies.push_slot(&waiting.block, waiting.at);
                if let Some(span) = waiting.origin {
                    replies.push_origin(waiting.id, span);
                }
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

    /// The policy decides about a job of this weight. The open batch may leave before it.
    #[inline]
    fn decide(&mut self, weight: u64) -> Decision {
        match self.gauge.on_job(weight, Instant::now) {
            Decision::SendThenAdd(trigger) => self.send_first(trigger),
            decision => decision,
        }
    }

    #[cold]
    fn send_first(&mut self, trigger: Trigger) -> Decision {
        if self.gauge.is_empty() {
            return Decision::Add;
        }
        self.seal(trigger);
        self.gauge.on_same_job()
    }

    /// The job joins the open batch, where its reply waits already. The batch may leave with it.
    #[inline]
    fn join(&mut self, job: J, decision: Decision) -> News {
        self.jobs.push(job);
        self.pending += 1;
        self.accepted += 1;
        if self.gauge.joined(decision) && !self.is_full() { News::None } else { self.turn(decision) }
    }

    /// The open batch leaves or begins.
    #[cold]
    fn turn(&mut self, decision: Decision) -> News {
        let full = self.is_full().then_some(Trigger::Full);
        if let Some(trigger) = self.gauge.leaves(decision).or(full) {
            self.seal(trigger);
            return News::Some;
        }
        self.gauge.opened(Instant::now);
        // What has left before it is news, too.
        if self.sealed.is_empty() { self.opened() } else { News::Some }
    }

    /// The open batch has its first job: the actor must look in time, or now if a worker is waiting for it.
    fn opened(&mut self) -> News {
        if self.gauge.leaves_when_free() {
            return News::Some;
        }
        match (self.gauge.due(), self.alarm) {
            (None, _) => News::None,
            (Some(due), Some(alarm)) if alarm <= due => News::None,
            _ => News::Some,
        }
    }

    fn seal(&mut self, trigger: Trigger) {
        if self.jobs.is_empty() {
            return;
        }
        let (jobs, requesters) = self.spare.pop().map_or_else(Default::default, |spare| (spare.jobs, spare.requesters));
        let jobs = mem::replace(&mut self.jobs, jobs);
        let replies = mem::replace(&mut self.replies, Replies::with_buffer(requesters));
        let opened_at = self.gauge.left().unwrap_or_else(Instant::now);
        self.sealed.push(Sealed { jobs, replies, trigger, opened_at });
    }

    /// Gives room to those in line, first come, first served.
    fn admit(&mut self, mut admitted: impl FnMut(JobId)) {
        while !self.is_full() {
            let Some(InLine { job, weight, block, at, origin, .. }) = self.line.pop_front() else { return };
            match job {
                Some(job) => {
                    let decision = self.decide(weight);
                    self.replies.push_slot(&block, at);
                    if let Some(span) = origin {
                        self.replies.push_origin(block.id(at), span);
                    }
                    self.join(job, decision);
                    admitted(block.id(at));
                }
                None => self.left_line -= 1,
            }
        }
    }

    fn leave_line(&mut self, id: JobId) -> Option<(J, Origin)> {
        let position = self.line.binary_search_by_key(&id, |waiting| waiting.id).ok()?;
        let waiting = &mut self.line[position];
        let job = waiting.job.take()?;
        let origin = waiting.origin.take();
        self.left_line += 1;
        // Gaps are closed when they are half of the line, so leaving is cheap and nothing piles up.
        if self.left_line * 2 > self.line.len() {
            self.line.retain(|waiting| waiting.job.is_some());
            self.left_line = 0;
        }
        Some((job, origin))
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
