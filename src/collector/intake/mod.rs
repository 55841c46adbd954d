//! The shared open batch: the one piece of state that submitters on any thread and the actor have in common.
//!
//! A job that brings nothing along joins the common open batch, under one lock and in a few steps. One that does – a priority, a
//! deadline, a span, a key – goes the longer way through [`State::enter`].
//!
//! No code of the user's runs under the lock but the flush policy and the comparison of keys, whose panics are caught. Jobs are
//! weighed, and their keys told, before.

use std::{
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Weak},
    time::Duration,
};

use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;
use tracing::{debug, level_filters::LevelFilter, warn};

use crate::{
    batch::{Deliveries, Metadata, Replies, Requester, Sealed, SlotRef, Tally, Trigger},
    bell::Bell,
    config::CollectorConfig,
    error::{ConfigError, JobError, RejectReason, Rejected, Rejections},
    flush::{FlushPolicy, PolicyState, Strategy, Timing},
    job::{Job, JobId, JobIds, JobResult, JobState},
    observe::Observers,
    panics::{contain, discard, drop_each},
};

mod keep;
mod keys;
mod lanes;
mod sequences;
mod sharing;
mod state;
mod submit;
mod wait_queue;

#[cfg(feature = "cache")]
pub(crate) use keep::Keep;
pub(crate) use keys::{Keying, Remembered, SharingRules};
use sequences::Sequences;
use state::{Candidate, Entry, Gathering, Ready, State};
pub use submit::Submit;
use wait_queue::Waiting;

pub(crate) struct Intake<J: Job> {
    state: Mutex<State<J>>,
    bell: Arc<Bell>,
    collector: Arc<str>,
    weigher: Option<Weigher<J>>,
    /// `None`: nobody asks for keys.
    keying: Option<Box<Keying<J>>>,
    observers: Observers,
}

/// Says what a job weighs.
pub(crate) type Weigher<J> = Box<dyn Fn(&J) -> u64 + Send + Sync>;

/// What decides when the open batch leaves, as far as it was said: without a policy it is that of the strategy.
pub(crate) struct Flushing<J> {
    pub(crate) policy: Option<Box<dyn FlushPolicy>>,
    pub(crate) weigher: Option<Weigher<J>>,
    /// Of the open batches of several priorities, how long a lower one waits for a free worker.
    pub(crate) ageing: Duration,
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

/// What a batch was kept in.
pub(crate) struct Buffers<J: Job> {
    pub(crate) jobs: Vec<J>,
    pub(crate) requesters: Vec<Requester<J>>,
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
    pub(crate) rejected: Rejections,
    pub(crate) coalesced: u64,
    pub(crate) replayed: u64,
    pub(crate) cache_hits: u64,
}

impl<J: Job> Intake<J> {
    pub(crate) fn new(
        config: &CollectorConfig,
        flushing: Flushing<J>,
        keying: Keying<J>,
        collector: Arc<str>,
        bell: Arc<Bell>,
        observers: Observers,
    ) -> Self {
        let policy = flushing.policy.unwrap_or_else(|| config.policy());
        let policy = PolicyState::new(policy, config.max_size, flushing.weigher.is_some(), Instant::now());
        let gathering = Gathering {
            max_partitions: keying.max_partitions,
            ageing: flushing.ageing,
            sequences: keying.sequence.as_ref().map(|_| Box::new(Sequences::default())),
            sharing: keying.new_sharing(),
        };
        let state = State::new(config.max_pending, policy, gathering);
        let keying = if keying.is_off() { None } else { Some(Box::new(keying)) };
        Self { state: Mutex::new(state), bell, collector, weigher: flushing.weigher, keying, observers }
    }

    /// Accepts the job, or puts it in line.
    #[inline]
    pub(crate) fn submit(self: &Arc<Self>, job: J, metadata: Option<Box<Metadata>>) -> Submit<J> {
        if let Some(metadata) = self.special(metadata) {
            return *self.submit_on(job, metadata);
        }
        let weight = self.weigh(&job);
        let mut state = self.state.lock();
        if state.closed || state.is_full() {
            return *self.not_now(state, job, weight);
        }
        let (block, at) = state.take_slot();
        let news = state.accept_slot(job, weight, &block, at);
        drop(state);
        self.accepted(SlotRef::new(block, at), news)
    }

    /// Refuses the job, or puts it in line.
    #[cold]
    #[expect(
        clippy::unnecessary_box_returns,
        reason = "so that the `Submit` of a job that is accepted stays in registers"
    )]
    fn not_now(self: &Arc<Self>, mut state: MutexGuard<'_, State<J>>, job: J, weight: u64) -> Box<Submit<J>> {
        if state.closed {
            state.rejected.count(RejectReason::ShutDown, 1);
            drop(state);
            return Box::new(self.refused(RejectReason::ShutDown));
        }
        let (block, at) = state.take_slot();
        state.wait_queue.join(Waiting { id: block.id(at), job, weight, metadata: None, block: Arc::clone(&block), at });
        drop(state);
        Box::new(self.in_line(SlotRef::new(block, at)))
    }

    /// Accepts the job, or hands it back.
    #[inline]
    pub(crate) fn try_submit(&self, job: J, metadata: Option<Box<Metadata>>) -> Result<Submit<J>, Rejected<J>> {
        if let Some(metadata) = self.special(metadata) {
            return self.try_submit_on(job, metadata);
        }
        let weight = self.weigh(&job);
        let mut state = self.state.lock();
        if let Some(reason) = state.refusal() {
            drop(state);
            return Err(self.rejected(job, reason));
        }
        let (block, at) = state.take_slot();
        let news = state.accept_slot(job, weight, &block, at);
        drop(state);
        Ok(self.accepted(SlotRef::new(block, at), news))
    }

    /// Accepts a request's job, or answers at once. Returns whether the actor has news.
    #[inline]
    pub(crate) fn message(&self, job: J, metadata: Option<Box<Metadata>>, requester: Requester<J>) -> News {
        if let Some(metadata) = self.special(metadata) {
            return self.message_on(job, metadata, requester);
        }
        let weight = self.weigh(&job);
        let mut state = self.state.lock();
        if let Some(reason) = state.refusal() {
            drop(state);
            // This is the actor's handler: a panic here would be its end.
            contain(|| drop(self.rejected(job, reason)));
            if let Some(sender) = requester {
                let _ = sender.send(Err(reason.into()));
            }
            return News::None;
        }
        let (id, news) = state.accept_request(job, weight, requester);
        drop(state);
        self.announce(id, news);
        news
    }

    /// What a job brings along, if it brings anything, or somebody wants to know its keys.
    #[inline]
    fn special(&self, metadata: Option<Box<Metadata>>) -> Option<Box<Metadata>> {
        if metadata.is_none() && self.keying.is_some() { Some(Box::default()) } else { metadata }
    }

    #[cold]
    #[expect(clippy::unnecessary_box_returns, reason = "as `not_now`")]
    fn submit_on(self: &Arc<Self>, job: J, metadata: Box<Metadata>) -> Box<Submit<J>> {
        let (weight, metadata, hit) = (self.weigh(&job), self.told(&job, metadata), self.hit(&job));
        let mut state = self.state.lock();
        let (block, at) = state.take_slot();
        let (id, replies) = (block.id(at), Replies::of_slot(&block, at));
        let slot = SlotRef::new(Arc::clone(&block), at);
        match state.enter(Candidate { id, job, weight, metadata, replies, hit }, Instant::now()) {
            Entry::Full(Candidate { job, metadata, replies, .. }) => {
                replies.forget();
                let news = state.wait_in_line(Waiting { id, job, weight, metadata: Some(metadata), block, at });
                drop(state);
                self.ring(news);
                Box::new(self.in_line(slot))
            }
            entry => {
                drop(state);
                Box::new(match self.entered(id, entry) {
                    Ok(_) => Submit::accepted(slot),
                    Err(Rejected { reason, .. }) => Submit::refused(reason),
                })
            }
        }
    }

    #[cold]
    fn try_submit_on(&self, job: J, metadata: Box<Metadata>) -> Result<Submit<J>, Rejected<J>> {
        let (weight, metadata, hit) = (self.weigh(&job), self.told(&job, metadata), self.hit(&job));
        let mut state = self.state.lock();
        let (block, at) = state.take_slot();
        let (id, replies) = (block.id(at), Replies::of_slot(&block, at));
        let entry = state.enter(Candidate { id, job, weight, metadata, replies, hit }, Instant::now());
        drop(state);
        self.entered(id, entry).map(|_| Submit::accepted(SlotRef::new(block, at)))
    }

    #[cold]
    fn message_on(&self, job: J, metadata: Box<Metadata>, requester: Requester<J>) -> News {
        let (weight, metadata, hit) = (self.weigh(&job), self.told(&job, metadata), self.hit(&job));
        let mut state = self.state.lock();
        let (block, at) = state.take_slot();
        let id = block.id(at);
        let replies = Replies::of_requester(id, requester);
        let entry = state.enter(Candidate { id, job, weight, metadata, replies, hit }, Instant::now());
        drop(state);
        let entered = self.entered(id, entry);
        let news = *entered.as_ref().unwrap_or(&News::None);
        contain(|| drop(entered));
        news
    }

    /// What follows, once the lock is free, from what became of a job. A refused one has its reply then, too.
    fn entered(&self, id: JobId, entry: Entry<J>) -> Result<News, Rejected<J>> {
        match entry {
            Entry::Accepted(news) => {
                self.announce(id, news);
                Ok(news)
            }
            Entry::Rides(job, news) => {
                contain(|| drop(job));
                self.announce(id, news);
                Ok(news)
            }
            Entry::Answered(candidate, reply) => {
                self.answer(candidate, reply);
                Ok(News::None)
            }
            Entry::Full(candidate) => Err(self.turned_down(candidate, RejectReason::Overloaded)),
            Entry::Refused(candidate, reason) => Err(self.turned_down(candidate, reason)),
        }
    }

    fn turned_down(&self, candidate: Candidate<J>, reason: RejectReason) -> Rejected<J> {
        self.state.lock().rejected.count(reason, 1);
        contain(|| drop(candidate.hit));
        reply(candidate.replies, Err(reason.into()));
        self.rejected(candidate.job, reason)
    }

    /// Gives a job the reply that another one has got.
    fn answer(&self, candidate: Candidate<J>, ready: Ready<J>) {
        contain(|| drop(candidate.job));
        let result = match ready {
            Ready::Shared(shared) => {
                let copy = self.copy(&shared.lock());
                contain(|| drop(shared));
                copy
            }
            Ready::Kept(output) => Ok(output),
        };
        reply(candidate.replies, result);
    }

    fn copy(&self, reply: &JobResult<J>) -> JobResult<J> {
        self.keying.as_ref().map_or(Err(JobError::Lost), |keying| keying.copy(reply))
    }

    /// The job's keys join what it brings along.
    fn told(&self, job: &J, mut metadata: Box<Metadata>) -> Box<Metadata> {
        if let Some(keying) = &self.keying {
            metadata.keys = keying.keys(job, &metadata);
        }
        metadata
    }

    fn refused(&self, reason: RejectReason) -> Submit<J> {
        self.observers.tell(|observer, collector| observer.rejected(collector, reason));
        Submit::refused(reason)
    }

    fn rejected(&self, job: J, reason: RejectReason) -> Rejected<J> {
        self.observers.tell(|observer, collector| observer.rejected(collector, reason));
        Rejected { job, reason }
    }

    #[cold]
    fn in_line(self: &Arc<Self>, slot: SlotRef<J>) -> Submit<J> {
        debug!(collector = &*self.collector, job = slot.id().get(), "waits in line");
        let line: Weak<Self> = Arc::downgrade(self);
        Submit::in_line(slot, line)
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
        self.ring(news);
    }

    #[inline]
    fn ring(&self, news: News) {
        if news == News::Some {
            self.bell.ring();
        }
    }

    #[cold]
    fn say_accepted(&self, job: JobId) {
        debug!(collector = &*self.collector, job = job.get(), "accepted");
    }

    /// The actor looks: sends what is due, or what a free worker – `idle` – may have; and takes all that has left. It will look
    /// again at `alarm`; where the answer's `due` is earlier, it must look then.
    pub(crate) fn look(&self, now: Instant, alarm: Option<Instant>, idle: bool, sealed: &mut Vec<Sealed<J>>) -> View {
        let mut state = self.state.lock();
        let late = state.look(now, idle);
        mem::swap(&mut state.sealed, sealed);
        let due = state.next_look();
        state.alarm = [alarm, due].into_iter().flatten().min();
        let (view, panics) = (state.view(due), state.policy.take_panics());
        drop(state);
        if panics > 0 {
            warn!(collector = &*self.collector, panics, "the flush policy panicked: what was open was sent");
        }
        for waiting in late {
            self.turn_away(waiting.turned_away(), RejectReason::Expired);
        }
        view
    }

    /// Somebody who was never accepted is not any more.
    fn turn_away(&self, (job, replies): (J, Replies<J>), reason: RejectReason) {
        reply(replies, Err(reason.into()));
        contain(|| drop(self.rejected(job, reason)));
    }

    /// A worker has answered a batch: the policy may learn from it.
    pub(crate) fn answered(&self, timing: &Timing) {
        self.state.lock().policy.on_done(timing);
    }

    /// What the actor would see if it looked, and `max_pending`; without touching anything.
    #[cfg(feature = "test-util")]
    pub(crate) fn peek(&self) -> (View, usize) {
        let state = self.state.lock();
        (state.view(None), state.max_pending)
    }

    /// Where a job is that has not left the open batch, or that the actor has not taken yet.
    pub(crate) fn find(&self, job: JobId) -> Option<JobState> {
        self.state.lock().find(job)
    }

    /// Sends every open batch, whatever is in it. Returns how many jobs they had.
    pub(crate) fn flush(&self) -> usize {
        self.state.lock().flush(Trigger::Manual)
    }

    /// Whether it has to be told which jobs are settled.
    pub(crate) fn follows_jobs(&self) -> bool {
        self.keying.as_ref().is_some_and(|keying| keying.sequence.is_some())
    }

    /// Whether jobs share replies.
    pub(crate) fn shares(&self) -> bool {
        self.keying.as_ref().is_some_and(|keying| keying.shares())
    }

    /// These jobs are about to get these replies. From now on nobody rides on them; those who do get copies, and what is to be
    /// remembered is.
    pub(crate) fn share(&self, jobs: &JobIds, results: &[JobResult<J>]) -> Vec<(Replies<J>, Vec<JobResult<J>>)> {
        let Some(keying) = &self.keying else { return Vec::new() };
        // Copying and dropping are the user's code: not under the lock.
        let remembered: Vec<_> = {
            let state = self.state.lock();
            let Some(sharing) = &state.sharing else { return Vec::new() };
            let leaders = jobs.iter().zip(results).filter(|(job, _)| sharing.leads(*job));
            leaders.map(|(job, result)| (job, result, sharing.remembers(result))).collect()
        };
        let share = |(job, result, remember): (_, _, bool)| (job, result, remember.then(|| keying.share(result)));
        let shared: Vec<_> = remembered.into_iter().map(share).collect();
        let (riders, mut forgotten): (Vec<_>, _) = {
            let (mut state, now) = (self.state.lock(), Instant::now());
            let Some(sharing) = &mut state.sharing else { return Vec::new() };
            let settled = |(job, result, copy)| Some((sharing.settled(job, copy, now)?, result));
            let parties = shared.into_iter().filter_map(settled).filter(|(riders, _)| riders.len() > 0).collect();
            (parties, sharing.take_forgotten())
        };
        drop_each(&mut forgotten);
        let with_copies = |(riders, result): (Replies<J>, _)| {
            let copies = (0..riders.len()).map(|_| keying.copy(result)).collect();
            (riders, copies)
        };
        riders.into_iter().map(with_copies).collect()
    }

    /// So many jobs have been settled: the room is given to those in line. Emptied buffers come with them.
    pub(crate) fn settled(&self, jobs: usize, ids: Option<&JobIds>, buffers: Buffers<J>) {
        let mut state = self.state.lock();
        state.reuse(buffers);
        let admitted = state.settled(jobs, ids);
        drop(state);
        if self.observers.listen() {
            for job in admitted.jobs {
                self.observers.tell(|observer, collector| observer.accepted(collector, job));
            }
        }
        admitted.riding.into_iter().for_each(|job| contain(|| drop(job)));
        admitted.answered.into_iter().for_each(|(candidate, ready)| self.answer(candidate, ready));
        for (candidate, reason) in admitted.refused {
            let refused = self.turned_down(candidate, reason);
            contain(|| drop(refused));
        }
    }

    /// Accepts nothing from now on.
    pub(crate) fn refuse(&self) {
        self.state.lock().closed = true;
    }

    /// Accepts nothing from now on, sends the open batches, and turns away those in line.
    pub(crate) fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        state.flush(Trigger::Drain);
        let mut line = Vec::new();
        while let Some(waiting) = state.wait_queue.next() {
            state.rejected.count(RejectReason::ShutDown, 1);
            line.push(waiting);
        }
        drop(state);
        for waiting in line {
            self.turn_away(waiting.turned_away(), RejectReason::ShutDown);
        }
    }

    /// Nobody waits for those before him any more: all that is here leaves.
    pub(crate) fn give_up_sequences(&self) {
        self.state.lock().give_up_sequences();
    }
}

/// Gives this one reply, which nobody counts, outside of any lock.
fn reply<J: Job>(replies: Replies<J>, result: JobResult<J>) {
    let mut deliveries = Deliveries::default();
    replies.settle(std::iter::once(result), &mut Tally::default(), &mut deliveries);
    deliveries.deliver();
}

/// Whether a subscriber or a logger wants debug events: two loads, where the event itself would cost ten times that per job.
#[inline]
fn somebody_listens() -> bool {
    LevelFilter::current() >= LevelFilter::DEBUG || log::max_level() >= log::LevelFilter::Debug
}

impl<J: Job> submit::WaitQueue for Intake<J> {
    fn leave(&self, id: JobId) {
        let waiting = self.state.lock().wait_queue.leave(id);
        drop(waiting);
    }
}
