//! The state that submitters and the actor share, under one lock.
//!
//! Invariants, whenever the lock is free:
//! - `jobs` and `replies` of an open batch have the same length and order.
//! - `pending` is the number of jobs that are accepted and not settled, and at most `max_pending`. No job waits while there is
//!   room for it.
//! - The job that fills a batch seals it in the same step, so batches keep their order.
//! - Once `closed` is set, no job is accepted.
//! - The current open batch is the common one. The others are parked in `lanes`.

use std::{mem, sync::Arc, time::Duration};

use tokio::time::Instant;

mod admission;
mod batches;
mod following;

pub(crate) use admission::{Admitted, Candidate, Entry, KnownReply};

use super::{
    Buffers, RejectedSends, View,
    lanes::{Lanes, Open},
    room::Room,
    sequences::Sequences,
    sharing::Sharing,
    wait_queue::WaitQueue,
};
use crate::{
    batch::{Block, Blocks, Departures, Replies, Requester, Sealed, Trigger},
    clock::Clock,
    error::RejectReason,
    flush::{Decision, PolicyState},
    job::{Job, JobId, Priority},
    observe::IntakeCounts,
};

pub(super) struct State<J: Job> {
    /// The current open batch.
    open: Open<J>,
    pub(super) policy: PolicyState,
    /// The other open batches, parked.
    lanes: Lanes<J>,
    max_partitions: usize,
    /// How much longer an open batch waits for a free worker than one of the next higher priority does.
    ageing: Duration,
    sequences: Option<Box<Sequences<J>>>,
    pub(super) sharing: Option<Box<Sharing<J>>>,
    /// Batches that have left, for the actor to take.
    pub(super) sealed: Vec<Sealed<J>>,
    /// Jobs in dispatch whose batches are to get a higher priority.
    raised: Vec<(JobId, Priority)>,
    /// Emptied buffers, for the next batches.
    spare: Vec<Buffers<J>>,

    clock: Arc<Clock>,
    /// Reply slots for the next jobs.
    blocks: Blocks<J>,

    // Admission.
    pub(super) max_pending: usize,
    /// `None`: the number of jobs is the only bound.
    pub(super) room: Option<Box<Room>>,
    pub(super) wait_queue: WaitQueue<J>,
    /// A shutdown was requested: jobs from handles are rejected.
    pub(super) rejects_submits: bool,
    /// The shutdown has begun: all jobs are rejected.
    pub(super) closed: bool,
    pub(super) rejected_sends: Option<Box<RejectedSends<J>>>,
    pub(super) counts: IntakeCounts,

    /// When the actor looks again without being woken.
    pub(super) alarm: Option<Instant>,
}

/// How jobs are gathered, beyond size and time.
pub(super) struct Gathering<J: Job> {
    pub(super) max_partitions: usize,
    pub(super) ageing: Duration,
    pub(super) sequences: Option<Box<Sequences<J>>>,
    pub(super) sharing: Option<Box<Sharing<J>>>,
    pub(super) room: Option<Box<Room>>,
}

impl<J: Job> State<J> {
    /// How many buffers are kept for reuse.
    const SPARE: usize = 16;

    pub(super) fn new(
        max_pending: usize,
        policy: PolicyState,
        gathering: Gathering<J>,
        departures: Arc<Departures>,
        clock: Arc<Clock>,
    ) -> Self {
        let Gathering { max_partitions, ageing, sequences, sharing, room } = gathering;
        Self {
            open: Open::default(),
            policy,
            lanes: Lanes::default(),
            max_partitions,
            ageing,
            sequences,
            sharing,
            sealed: Vec::new(),
            raised: Vec::new(),
            spare: Vec::new(),
            clock,
            blocks: Blocks::new(departures),
            max_pending,
            room,
            wait_queue: WaitQueue::default(),
            rejects_submits: false,
            closed: false,
            rejected_sends: None,
            counts: IntakeCounts::default(),
            alarm: None,
        }
    }

    /// Why a job cannot be accepted now, if it cannot. Counts the job as rejected.
    pub(super) fn reason_to_reject(&mut self, closed: bool) -> Option<RejectReason> {
        let reason = if closed {
            RejectReason::ShutDown
        } else if self.is_full() {
            RejectReason::Overloaded
        } else {
            return None;
        };
        self.counts.rejected.count(reason, 1);
        Some(reason)
    }

    /// Counts a rejected `do_send`. Returns the job if it is not kept, to be dropped once the lock is free.
    pub(super) fn rejected_send(&mut self, job: J, reason: RejectReason, keep: bool) -> Option<J> {
        self.counts.rejected_sends += 1;
        let rejected =
            self.rejected_sends.get_or_insert_with(|| Box::new(RejectedSends { count: 0, jobs: Vec::new() }));
        rejected.count += 1;
        if !keep || rejected.jobs.len() >= RejectedSends::<J>::MOST {
            return Some(job);
        }
        rejected.jobs.push((job, reason));
        None
    }

    pub(super) fn is_full(&self) -> bool {
        self.counts.pending >= self.max_pending
    }

    /// Whether a job waits for which there is room.
    pub(super) fn room_is_idle(&self) -> bool {
        self.wait_queue.peek().is_some_and(|next| self.has_room_for_waiting(next))
    }

    #[inline]
    pub(super) fn take_slot(&mut self) -> (Arc<Block<J>>, u32) {
        let (block, at) = self.blocks.take_slot();
        (Arc::clone(block), at)
    }

    /// Accepts a job whose reply goes to a slot. Returns whether the actor has to be woken.
    #[inline]
    pub(super) fn accept_slot(&mut self, job: J, weight: u64, block: &Arc<Block<J>>, at: u32) -> bool {
        let decision = self.decide(weight);
        self.open.replies.push_slot(block, at);
        self.count();
        self.join(job, decision)
    }

    /// Accepts a job that came by message. Returns its number, and whether the actor has to be woken.
    #[inline]
    pub(super) fn accept_request(&mut self, job: J, weight: u64, requester: Requester<J>) -> (JobId, bool) {
        let (block, at) = self.blocks.take_slot();
        let id = block.id(at);
        let decision = self.decide(weight);
        self.open.replies.push_requester(id, requester);
        self.count();
        (id, self.join(job, decision))
    }

    /// Counts an accepted job.
    #[inline]
    fn count(&mut self) {
        self.counts.pending += 1;
        self.counts.accepted += 1;
    }

    /// Asks the policy about a job of this weight. The open batch may leave before the job joins.
    #[inline]
    fn decide(&mut self, weight: u64) -> Decision {
        match self.policy.on_job(weight, || self.clock.now()) {
            Decision::SendThenAdd(trigger) => self.send_first(trigger),
            decision => decision,
        }
    }

    #[cold]
    fn send_first(&mut self, trigger: Trigger) -> Decision {
        if self.policy.is_empty() {
            return Decision::Add;
        }
        self.seal(trigger);
        self.policy.on_same_job()
    }

    /// Adds the job to the open batch, which already has its reply. The batch may leave with it.
    #[inline]
    fn join(&mut self, job: J, decision: Decision) -> bool {
        self.open.jobs.push(job);
        (!self.policy.joined(decision) || self.is_full()) && self.send_or_open(decision)
    }

    /// Sends the open batch with this job, or opens it with this job as its first.
    #[cold]
    fn send_or_open(&mut self, decision: Decision) -> bool {
        let left = self.policy.leaves(decision);
        match left {
            Some(trigger) => self.seal(trigger),
            None => self.policy.opened(|| self.clock.now()),
        }
        if self.is_full() {
            self.seal_all(Trigger::Full);
        }
        // A batch may have left before this job joined, too.
        !self.sealed.is_empty() || self.opened()
    }

    /// Whether the actor must be woken for a batch that has its first job: for a free worker, or because its alarm would be too
    /// late.
    fn opened(&mut self) -> bool {
        if self.policy.leaves_when_free() {
            return true;
        }
        self.due().is_some_and(|due| self.wakes_at(due))
    }

    /// Whether the actor must be woken in order to look at that time.
    fn wakes_at(&self, due: Instant) -> bool {
        self.alarm.is_none_or(|alarm| alarm > due)
    }

    /// When the current open batch leaves by time.
    fn due(&mut self) -> Option<Instant> {
        [self.policy.due(), self.open.leave_at].into_iter().flatten().min()
    }

    /// Sends the current open batch: it is sealed, and the actor takes it when it looks.
    fn seal(&mut self, trigger: Trigger) {
        if self.open.jobs.is_empty() {
            return;
        }
        let (jobs, requesters) = self.spare.pop().map_or_else(Default::default, |spare| (spare.jobs, spare.requesters));
        let jobs = mem::replace(&mut self.open.jobs, jobs);
        let replies = mem::replace(&mut self.open.replies, Replies::with_buffer(requesters));
        let opened_at = self.policy.left().unwrap_or_else(|| self.clock.now());
        self.open.leave_at = None;
        let priority = mem::replace(&mut self.open.priority, self.open.lane.priority);
        self.sealed.push(Sealed { jobs, replies, trigger, opened_at, priority });
    }

    /// Keeps emptied buffers for a later batch.
    pub(super) fn reuse(&mut self, buffers: Buffers<J>) {
        debug_assert!(buffers.jobs.is_empty() && buffers.requesters.is_empty());
        if self.spare.len() < Self::SPARE {
            self.spare.push(buffers);
        }
    }

    pub(super) fn view(&self, due: Option<Instant>) -> View {
        let pending_weight = self.room.as_ref().map_or(0, |room| room.weight());
        let counts = IntakeCounts { waiting: self.wait_queue.len(), pending_weight, ..self.counts };
        let needs_room = self.is_full() || counts.waiting > 0;
        View { due, counts, needs_room, rejected_sends: self.rejected_sends.is_some() }
    }
}
