//! The intake: where jobs come in and gather. It is the one piece of state that submitters on any thread and the actor share.
//!
//! A job without metadata joins the common open batch, under one lock and in a few steps. A job with metadata – a priority, a
//! deadline, a span, a key – goes through the whole of admission, [`State::enter`].
//!
//! No user code runs under the lock except the flush policy and the comparison of keys, whose panics are caught. Weights, keys
//! and cached outputs are computed before.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Weak},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::Instant;
use tracing::{debug, level_filters::LevelFilter, warn};

use crate::{
    batch::{Deliveries, Departures, Metadata, Replies, Requester, SlotRef, Tally},
    bell::Bell,
    config::CollectorConfig,
    error::{ConfigError, JobError, RejectReason, Rejected},
    flush::{FlushPolicy, PolicyState, Strategy},
    job::{Job, JobId, JobResult},
    observe::{IntakeCounts, Observers},
    panics::{contain, discard},
};

mod actor_side;
mod caching;
mod keys;
mod lanes;
mod sequences;
mod sharing;
mod state;
mod submit;
mod wait_queue;

#[cfg(feature = "cache")]
pub(crate) use caching::ResultCache;
pub(crate) use keys::{Keying, Remembered, SharingRules};
use sequences::Sequences;
use state::{Candidate, Entry, Gathering, KnownReply, State};
pub use submit::Submit;
use wait_queue::Waiting;

pub(crate) struct Intake<J: Job> {
    state: Mutex<State<J>>,
    bell: Arc<Bell>,
    collector: Arc<str>,
    weigher: Option<Weigher<J>>,
    /// `None`: no key is needed.
    keying: Option<Box<Keying<J>>>,
    observers: Observers,
    /// Whether refused `do_send`s are kept for the dead letters.
    keeps_refused: bool,
    departures: Arc<Departures>,
}

/// Computes a job's weight.
pub(crate) type Weigher<J> = Box<dyn Fn(&J) -> u64 + Send + Sync>;

/// What decides when the open batch leaves. Without a policy of the user's it is the strategy's.
pub(crate) struct Flushing<J> {
    pub(crate) policy: Option<Box<dyn FlushPolicy>>,
    pub(crate) weigher: Option<Weigher<J>>,
    /// How much longer an open batch waits for a free worker than one of the next higher priority.
    pub(crate) ageing: Duration,
}

impl<J> Flushing<J> {
    /// Refuses a policy that needs weights where none are computed.
    pub(crate) fn validate(&self, strategy: Strategy) -> Result<(), ConfigError> {
        let by_weight = self.policy.as_ref().map_or(strategy == Strategy::Weight, FlushPolicy::reads_weight);
        if by_weight && self.weigher.is_none() {
            let allowed = "set, because the flush policy goes by weight: `.weigh(|job| ..)` computes a job's weight";
            return Err(ConfigError::new("weigh", "unset", allowed));
        }
        Ok(())
    }
}

/// The emptied buffers of a batch, to be used again.
pub(crate) struct Buffers<J: Job> {
    pub(crate) jobs: Vec<J>,
    pub(crate) requesters: Vec<Requester<J>>,
}

/// Refused jobs that came by `do_send`. Where there are dead letters, the first [`MOST`](Self::MOST) jobs are kept for them until
/// the actor looks.
pub(crate) struct RefusedSends<J> {
    pub(crate) count: u64,
    pub(crate) jobs: Vec<(J, RejectReason)>,
}

impl<J> RefusedSends<J> {
    const MOST: usize = 1024;
}

/// What the actor sees when it looks.
pub(crate) struct View {
    /// When the next open batch leaves by time.
    pub(crate) due: Option<Instant>,
    pub(crate) counts: IntakeCounts,
    /// Whether there is no room, or jobs wait for it.
    pub(crate) is_tight: bool,
    /// Whether `do_send`s were refused since the last call of `take_refused_sends`.
    pub(crate) refused_sends: bool,
}

/// How an admitted job will be answered.
enum ReplyTo<J: Job> {
    /// In a slot, which a [`Submit`] holds. If there is no room, the job may wait.
    Slot { may_wait: bool },
    /// Through actix's sender.
    Requester(Requester<J>),
}

/// What became of a job that went through the whole of admission.
struct Admission<J: Job> {
    slot: SlotRef<J>,
    waits: bool,
    /// It has its reply already.
    is_answered: bool,
    /// Whether the actor was woken; or the job, handed back.
    accepted: Result<bool, Rejected<J>>,
}

impl<J: Job> Intake<J> {
    pub(crate) fn new(
        config: &CollectorConfig,
        flushing: Flushing<J>,
        keying: Keying<J>,
        collector: Arc<str>,
        bell: Arc<Bell>,
        observers: Observers,
        keeps_refused: bool,
    ) -> Self {
        let policy = flushing.policy.unwrap_or_else(|| config.policy());
        let policy = PolicyState::new(policy, config.max_size, flushing.weigher.is_some(), Instant::now());
        let gathering = Gathering {
            max_partitions: keying.max_partitions,
            ageing: flushing.ageing,
            sequences: keying.sequence.as_ref().map(|_| Box::new(Sequences::default())),
            sharing: keying.new_sharing(),
        };
        let departures = Arc::new(Departures::new(Arc::clone(&bell)));
        let state = State::new(config.max_pending, policy, gathering, Arc::clone(&departures));
        let keying = if keying.is_off() { None } else { Some(Box::new(keying)) };
        Self {
            state: Mutex::new(state),
            bell,
            collector,
            weigher: flushing.weigher,
            keying,
            observers,
            keeps_refused,
            departures,
        }
    }

    /// Accepts the job, or lets it wait for room.
    #[inline]
    pub(crate) fn submit(self: &Arc<Self>, job: J, metadata: Option<Box<Metadata>>) -> Submit<J> {
        if let Some(metadata) = self.needed(metadata) {
            return *self.submit_special(job, metadata);
        }
        let weight = self.weigh(&job);
        let mut state = self.state.lock();
        if state.refuses_submits || state.is_full() {
            drop(state);
            return *self.submit_special(job, Box::default());
        }
        let (block, at) = state.take_slot();
        let wake = state.accept_slot(job, weight, &block, at);
        drop(state);
        self.accepted(SlotRef::new(block, at), wake)
    }

    #[cold]
    #[expect(
        clippy::unnecessary_box_returns,
        reason = "so that the `Submit` of a job that is accepted stays in registers"
    )]
    fn submit_special(self: &Arc<Self>, job: J, metadata: Box<Metadata>) -> Box<Submit<J>> {
        let Admission { slot, waits, is_answered, accepted } =
            self.admit(job, metadata, ReplyTo::Slot { may_wait: true });
        Box::new(match accepted {
            Ok(_) if is_answered => Submit::answered(slot),
            Ok(_) if waits => self.waiting(slot),
            Ok(_) => Submit::accepted(slot),
            Err(Rejected { reason, .. }) => Submit::refused(reason),
        })
    }

    /// Accepts the job, or hands it back.
    #[inline]
    pub(crate) fn try_submit(&self, job: J, metadata: Option<Box<Metadata>>) -> Result<Submit<J>, Rejected<J>> {
        if let Some(metadata) = self.needed(metadata) {
            return self.try_submit_special(job, metadata);
        }
        let weight = self.weigh(&job);
        let mut state = self.state.lock();
        let refuses = state.refuses_submits;
        if let Some(reason) = state.refusal(refuses) {
            drop(state);
            return Err(self.rejected(job, reason));
        }
        let (block, at) = state.take_slot();
        let wake = state.accept_slot(job, weight, &block, at);
        drop(state);
        Ok(self.accepted(SlotRef::new(block, at), wake))
    }

    #[cold]
    fn try_submit_special(&self, job: J, metadata: Box<Metadata>) -> Result<Submit<J>, Rejected<J>> {
        let Admission { slot, is_answered, accepted, .. } =
            self.admit(job, metadata, ReplyTo::Slot { may_wait: false });
        accepted.map(|_| if is_answered { Submit::answered(slot) } else { Submit::accepted(slot) })
    }

    /// Accepts the job of a message, or answers it at once. Returns whether the actor has to be woken.
    #[inline]
    pub(crate) fn message(&self, job: J, metadata: Option<Box<Metadata>>, requester: Requester<J>) -> bool {
        if let Some(metadata) = self.needed(metadata) {
            return self.message_special(job, metadata, requester);
        }
        let weight = self.weigh(&job);
        let mut state = self.state.lock();
        let refuses = state.closed;
        if let Some(reason) = state.refusal(refuses) {
            drop(state);
            return self.refuse_message(job, reason, requester);
        }
        let (id, wake) = state.accept_request(job, weight, requester);
        drop(state);
        self.announce(id, wake);
        wake
    }

    /// Returns whether the actor has to be woken. This runs in the actor's handler, which a panic would end.
    #[cold]
    fn refuse_message(&self, job: J, reason: RejectReason, requester: Requester<J>) -> bool {
        let is_send = requester.is_none();
        if let Some(sender) = requester {
            let _ = sender.send(Err(reason.into()));
        }
        contain(|| {
            let Rejected { job, reason } = self.rejected(job, reason);
            if is_send {
                self.refused_send(job, reason);
            }
        });
        self.ring(is_send);
        false
    }

    fn refused_send(&self, job: J, reason: RejectReason) {
        let mut state = self.state.lock();
        let dropped = state.refused_send(job, reason, self.keeps_refused);
        drop(state);
        drop(dropped);
    }

    #[cold]
    fn message_special(&self, job: J, metadata: Box<Metadata>, requester: Requester<J>) -> bool {
        let is_send = requester.is_none();
        let Admission { accepted, .. } = self.admit(job, metadata, ReplyTo::Requester(requester));
        match accepted {
            Ok(wake) => wake,
            Err(Rejected { job, reason }) => {
                contain(|| if is_send { self.refused_send(job, reason) } else { drop(job) });
                self.ring(is_send);
                false
            }
        }
    }

    /// The metadata that admission needs; `None` where the job has none and no key is asked for.
    #[inline]
    fn needed(&self, metadata: Option<Box<Metadata>>) -> Option<Box<Metadata>> {
        if metadata.is_none() && self.keying.is_some() { Some(Box::default()) } else { metadata }
    }

    /// The one way in for a job with metadata, whichever door it came by.
    fn admit(&self, job: J, metadata: Box<Metadata>, reply_to: ReplyTo<J>) -> Admission<J> {
        let (weight, metadata, cached) = (self.weigh(&job), self.with_keys(&job, metadata), self.cached(&job));
        let mut state = self.state.lock();
        let (block, at) = state.take_slot();
        let (id, slot) = (block.id(at), SlotRef::new(Arc::clone(&block), at));
        let (replies, may_wait, closed) = match reply_to {
            ReplyTo::Slot { may_wait } => (Replies::of_slot(&block, at), may_wait, state.refuses_submits),
            ReplyTo::Requester(requester) => (Replies::of_requester(id, requester), false, state.closed),
        };
        let candidate = Candidate { id, job, weight, metadata, replies, cached };
        let entry = if closed {
            Entry::Refused(candidate, RejectReason::ShutDown)
        } else {
            state.enter(candidate, Instant::now())
        };
        match entry {
            Entry::Full(Candidate { job, metadata, replies, .. }) if may_wait => {
                replies.forget();
                let wake = state.wait(Waiting { id, job, weight, metadata: Some(metadata), block, at });
                drop(state);
                self.ring(wake);
                Admission { slot, waits: true, is_answered: false, accepted: Ok(wake) }
            }
            entry => {
                drop(state);
                let is_answered = matches!(entry, Entry::Answered(..));
                Admission { slot, waits: false, is_answered, accepted: self.entered(id, entry) }
            }
        }
    }

    /// Once the lock is free: tells what became of a job, and answers one that was refused or whose reply is known.
    fn entered(&self, id: JobId, entry: Entry<J>) -> Result<bool, Rejected<J>> {
        match entry {
            Entry::Accepted { wake } => {
                self.announce(id, wake);
                Ok(wake)
            }
            Entry::Follows { job, wake } => {
                contain(|| drop(job));
                self.announce(id, wake);
                Ok(wake)
            }
            Entry::Answered(candidate, reply) => {
                self.answer(candidate, reply);
                Ok(false)
            }
            Entry::Full(candidate) => Err(self.refuse_candidate(candidate, RejectReason::Overloaded)),
            Entry::Refused(candidate, reason) => Err(self.refuse_candidate(candidate, reason)),
        }
    }

    fn refuse_candidate(&self, candidate: Candidate<J>, reason: RejectReason) -> Rejected<J> {
        self.state.lock().counts.rejected.count(reason, 1);
        contain(|| drop(candidate.cached));
        reply(candidate.replies, Err(reason.into()));
        self.rejected(candidate.job, reason)
    }

    /// Gives a job a reply that is known already.
    fn answer(&self, candidate: Candidate<J>, known: KnownReply<J>) {
        contain(|| drop(candidate.job));
        let result = match known {
            KnownReply::Shared(shared) => {
                let copy = self.copy(&shared.lock());
                contain(|| drop(shared));
                copy
            }
            KnownReply::Cached(output) => Ok(output),
        };
        reply(candidate.replies, result);
    }

    fn copy(&self, reply: &JobResult<J>) -> JobResult<J> {
        self.keying.as_ref().map_or(Err(JobError::Lost), |keying| keying.copy(reply))
    }

    /// Adds the job's keys to its metadata.
    fn with_keys(&self, job: &J, mut metadata: Box<Metadata>) -> Box<Metadata> {
        if let Some(keying) = &self.keying {
            metadata.keys = keying.keys(job, &metadata);
        }
        metadata
    }

    fn rejected(&self, job: J, reason: RejectReason) -> Rejected<J> {
        self.observers.notify(|observer, collector| observer.rejected(collector, reason));
        Rejected { job, reason }
    }

    #[cold]
    fn waiting(self: &Arc<Self>, slot: SlotRef<J>) -> Submit<J> {
        debug!(collector = &*self.collector, job = slot.id().get(), "waits for room");
        let intake: Weak<Self> = Arc::downgrade(self);
        Submit::waiting(slot, intake)
    }

    #[inline]
    fn weigh(&self, job: &J) -> u64 {
        match &self.weigher {
            Some(weigher) => self.weigh_by(weigher, job),
            None => 0,
        }
    }

    /// If the user's code panics, the job counts as the heaviest: it goes alone.
    #[inline(never)]
    fn weigh_by(&self, weigher: &Weigher<J>, job: &J) -> u64 {
        catch_unwind(AssertUnwindSafe(|| weigher(job))).unwrap_or_else(|panic| {
            discard(panic);
            warn!(collector = &*self.collector, "weighing a job panicked: it counts as the heaviest");
            u64::MAX
        })
    }

    #[inline]
    fn accepted(&self, slot: SlotRef<J>, wake: bool) -> Submit<J> {
        self.announce(slot.id(), wake);
        Submit::accepted(slot)
    }

    /// Tells that a job was accepted, and wakes the actor if it has to look.
    #[inline]
    fn announce(&self, job: JobId, wake: bool) {
        if debug_is_logged() {
            self.log_accepted(job);
        }
        self.observers.notify(|observer, collector| observer.accepted(collector, job));
        self.ring(wake);
    }

    #[inline]
    fn ring(&self, wake: bool) {
        if wake {
            self.bell.ring();
        }
    }

    #[cold]
    fn log_accepted(&self, job: JobId) {
        debug!(collector = &*self.collector, job = job.get(), "accepted");
    }
}

/// Gives one reply, which is not counted. Must not be called under a lock.
fn reply<J: Job>(replies: Replies<J>, result: JobResult<J>) {
    let mut deliveries = Deliveries::default();
    replies.settle(std::iter::once(result), &mut Tally::default(), &mut deliveries);
    deliveries.deliver();
}

/// Whether a subscriber or a logger wants debug events. Two loads, where the event itself would cost ten times that for each job.
#[inline]
fn debug_is_logged() -> bool {
    LevelFilter::current() >= LevelFilter::DEBUG || log::max_level() >= log::LevelFilter::Debug
}

impl<J: Job> submit::LeaveQueue for Intake<J> {
    fn leave(&self, id: JobId) {
        let waiting = self.state.lock().wait_queue.leave(id);
        drop(waiting);
    }
}
