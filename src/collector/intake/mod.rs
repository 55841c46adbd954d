//! The intake: where jobs come in and gather. It is the one piece of state that submitters on any thread and the actor share.
//!
//! A job without metadata joins the common open batch under one lock and in a few steps; `doors` has this fast path. A job with
//! metadata – a priority, a deadline, a span, a key – goes through all the steps of admission, in `admit` and [`State::enter`].
//!
//! The only user code that runs under the lock is the flush policy and the comparison of keys; their panics are caught. Weights,
//! keys and cached outputs are computed before the lock is taken.

use std::{
    ops::{Deref, DerefMut},
    sync::Arc,
};

use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;

use crate::{
    batch::{Departures, Requester},
    bell::Bell,
    clock::Clock,
    config::CollectorConfig,
    error::RejectReason,
    flush::PolicyState,
    job::Job,
    observe::{IntakeCounts, Observers},
    reentry::DropsKept,
};

mod actor_side;
mod admit;
mod caching;
mod doors;
mod flushing;
mod following;
mod keys;
mod lanes;
mod room;
mod sequences;
mod sharing;
mod state;
mod submit;
mod wait_queue;
mod waiting;

#[cfg(feature = "cache")]
pub(crate) use caching::ResultCache;
pub(crate) use flushing::{Flushing, Weigher};
pub(crate) use keys::{Keying, MemoryRules, SharingRules};
use room::{Room, RoomLimits};
use sequences::Sequences;
use state::{Gathering, State};
pub use submit::Submit;

pub(crate) struct Intake<J: Job> {
    state: Mutex<State<J>>,
    bell: Arc<Bell>,
    collector: Arc<str>,
    weigher: Option<Weigher<J>>,
    /// `None`: jobs have no keys.
    keying: Option<Box<Keying<J>>>,
    /// Whether a job without metadata takes all steps of admission, too.
    takes_all_steps: bool,
    /// Whether the room is bounded by weight or by partition, too.
    has_limits: bool,
    observers: Observers,
    /// Whether rejected `do_send`s are kept for the dead-letter queue.
    keeps_rejected: bool,
    departures: Arc<Departures>,
    pub(crate) clock: Arc<Clock>,
}

/// The emptied buffers of a batch, for the next one.
pub(crate) struct Buffers<J: Job> {
    pub(crate) jobs: Vec<J>,
    pub(crate) requesters: Vec<Requester<J>>,
}

/// Rejected jobs that were sent by `do_send`. If there is a dead-letter queue, the first [`MOST`](Self::MOST) jobs are kept for it
/// until the actor looks.
pub(crate) struct RejectedSends<J> {
    pub(crate) count: u64,
    pub(crate) jobs: Vec<(J, RejectReason)>,
}

impl<J> RejectedSends<J> {
    const MOST: usize = 1024;
}

/// What the actor sees when it looks.
pub(crate) struct View {
    /// When the next open batch leaves by time.
    pub(crate) due: Option<Instant>,
    pub(crate) counts: IntakeCounts,
    /// Whether the collector is full, or jobs wait for room.
    pub(crate) needs_room: bool,
    /// Whether a `do_send` was rejected since the last call of `take_rejected_sends`.
    pub(crate) rejected_sends: bool,
}

impl<J: Job> Intake<J> {
    pub(crate) fn new(
        config: &CollectorConfig,
        flushing: Flushing<J>,
        keying: Keying<J>,
        collector: Arc<str>,
        bell: Arc<Bell>,
        observers: Observers,
        keeps_rejected: bool,
    ) -> Self {
        let limits = RoomLimits { weight: config.max_pending_weight, per_partition: config.max_pending_per_partition };
        let policy = flushing.policy.unwrap_or_else(|| config.policy());
        let policy = PolicyState::new(policy, config.max_size, flushing.weigher.is_some(), Instant::now());
        let gathering = Gathering {
            max_partitions: keying.max_partitions,
            ageing: flushing.ageing,
            sequences: keying.sequence.as_ref().map(|_| Box::new(Sequences::default())),
            sharing: keying.new_sharing(),
            room: if limits.is_off() { None } else { Some(Box::new(Room::new(limits))) },
        };
        let clock = Arc::new(Clock::default());
        let departures = Arc::new(Departures::new(Arc::clone(&bell), Arc::clone(&collector)));
        let state = State::new(config.max_pending, policy, gathering, Arc::clone(&departures), Arc::clone(&clock));
        let keying = if keying.is_off() { None } else { Some(Box::new(keying)) };
        Self {
            state: Mutex::new(state),
            bell,
            collector,
            weigher: flushing.weigher,
            has_limits: !limits.is_off(),
            takes_all_steps: keying.is_some() || !limits.is_off(),
            keying,
            observers,
            keeps_rejected,
            departures,
            clock,
        }
    }

    /// Takes the lock. Keys that are dropped meanwhile are dropped after it is free, because their `Drop` is user code.
    fn lock(&self) -> Locked<'_, J> {
        let kept = self.keying.as_ref().map(|_| DropsKept::new());
        Locked { state: self.state.lock(), _kept: kept }
    }

    /// Wakes the actor if it has to look.
    #[inline]
    fn ring(&self, wake: bool) {
        if wake {
            self.bell.ring();
        }
    }
}

/// The locked state.
struct Locked<'a, J: Job> {
    /// Dropped first.
    state: MutexGuard<'a, State<J>>,
    _kept: Option<DropsKept>,
}

impl<J: Job> Deref for Locked<'_, J> {
    type Target = State<J>;

    fn deref(&self) -> &State<J> {
        &self.state
    }
}

impl<J: Job> DerefMut for Locked<'_, J> {
    fn deref_mut(&mut self) -> &mut State<J> {
        &mut self.state
    }
}
