//! What submitters and the actor share, all of it under one lock.
//!
//! Invariants, whenever the lock is free:
//! - `jobs` and `replies` of each open batch are of one length, in the order of acceptance.
//! - `pending` = jobs accepted and not settled ≤ `max_pending`. Nobody waits in line while there is room.
//! - Filling a batch and queueing it are one step, so batches keep their order.
//! - After `close` nothing is accepted.
//! - The open batch in hand is the common one; the others are put aside in `lanes`.

use std::{mem, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    Buffers, News, View,
    lanes::{Lane, Lanes, Open, Parked},
    sequences::{Joining, Sequences, Turn},
    sharing::{Known, Shared, Sharing},
    wait_queue::{WaitQueue, Waiting},
};
use crate::{
    batch::{Block, Blocks, Metadata, Replies, Requester, Sealed, Trigger},
    error::{RejectReason, Rejections},
    flush::{Decision, PolicyState},
    job::{Job, JobId, JobIds, JobState, Key},
};

pub(super) struct State<J: Job> {
    /// The open batch in hand.
    open: Open<J>,
    pub(super) policy: PolicyState,
    /// The other open batches.
    lanes: Lanes<J>,
    max_partitions: usize,
    /// By how much longer an open batch waits for a free worker than one of the next higher priority before it goes first.
    ageing: Duration,
    sequences: Option<Box<Sequences<J>>>,
    pub(super) sharing: Option<Box<Sharing<J>>>,
    /// Batches that have left, for the actor to take.
    pub(super) sealed: Vec<Sealed<J>>,
    /// Emptied buffers, to be filled again.
    spare: Vec<Buffers<J>>,

    /// Slots for the jobs to come.
    blocks: Blocks<J>,

    // Admission.
    pub(super) max_pending: usize,
    pending: usize,
    pub(super) wait_queue: WaitQueue<J>,
    pub(super) closed: bool,
    accepted: u64,
    pub(super) rejected: Rejections,
    coalesced: u64,
    replayed: u64,
    cache_hits: u64,

    /// When the actor will look at the time by itself.
    pub(super) alarm: Option<Instant>,
}

/// A job that brings something along, with its one reply.
pub(super) struct Candidate<J: Job> {
    pub(super) id: JobId,
    pub(super) job: J,
    pub(super) weight: u64,
    pub(super) metadata: Box<Metadata>,
    pub(super) replies: Replies<J>,
    /// The output that was kept of an earlier job with its key.
    pub(super) hit: Option<J::Output>,
}

/// What becomes of it.
pub(super) enum Entry<J: Job> {
    Accepted(News),
    /// It is accepted and rides on another: the job itself is not needed.
    Rides(J, News),
    /// There is no room.
    Full(Candidate<J>),
    Refused(Candidate<J>, RejectReason),
    /// Its reply is known already.
    Answered(Candidate<J>, Ready<J>),
}

/// A reply that is known already.
pub(super) enum Ready<J: Job> {
    /// Others get it, too: it is to be copied.
    Shared(Shared<J>),
    /// A copy of what was kept.
    Kept(J::Output),
}

/// What has become of those in line, when there was room.
pub(super) struct Admitted<J: Job> {
    pub(super) jobs: Vec<JobId>,
    /// Jobs that nobody needs, because they ride on others.
    pub(super) riding: Vec<J>,
    pub(super) answered: Vec<(Candidate<J>, Ready<J>)>,
    pub(super) refused: Vec<(Candidate<J>, RejectReason)>,
}

impl<J: Job> Default for Admitted<J> {
    fn default() -> Self {
        Self { jobs: Vec::new(), riding: Vec::new(), answered: Vec::new(), refused: Vec::new() }
    }
}

/// How jobs are gathered beyond size and time.
pub(super) struct Gathering<J: Job> {
    pub(super) max_partitions: usize,
    pub(super) ageing: Duration,
    pub(super) sequences: Option<Box<Sequences<J>>>,
    pub(super) sharing: Option<Box<Sharing<J>>>,
}

impl<J: Job> State<J> {
    /// Buffers kept for reuse.
    const SPARE: usize = 16;

    pub(super) fn new(max_pending: usize, policy: PolicyState, gathering: Gathering<J>) -> Self {
        let Gathering { max_partitions, ageing, sequences, sharing } = gathering;
        Self {
            open: Open::default(),
            policy,
            lanes: Lanes::default(),
            max_partitions,
            ageing,
            sequences,
            sharing,
            sealed: Vec::new(),
            spare: Vec::new(),
            blocks: Blocks::default(),
            max_pending,
            pending: 0,
            wait_queue: WaitQueue::default(),
            closed: false,
            accepted: 0,
            rejected: Rejections::default(),
            coalesced: 0,
            replayed: 0,
            cache_hits: 0,
            alarm: None,
        }
    }

    pub(super) fn refusal(&mut self) -> Option<RejectReason> {
        let reason = if self.closed {
            RejectReason::ShutDown
        } else if self.is_full() {
            RejectReason::Overloaded
        } else {
            return None;
        };
        self.rejected.count(reason, 1);
        Some(reason)
    }

    pub(super) fn is_full(&self) -> bool {
        self.pending >= self.max_pending
    }

    #[inline]
    pub(super) fn take_slot(&mut self) -> (Arc<Block<J>>, u32) {
        let (block, at) = self.blocks.take_slot();
        (Arc::clone(block), at)
    }

    /// A job is accepted whose reply waits in a slot.
    #[inline]
    pub(super) fn accept_slot(&mut self, job: J, weight: u64, block: &Arc<Block<J>>, at: u32) -> News {
        let decision = self.decide(weight);
        self.open.replies.push_slot(block, at);
        self.count();
        self.join(job, decision)
    }

    /// A job is accepted that somebody requested.
    #[inline]
    pub(super) fn accept_request(&mut self, job: J, weight: u64, requester: Requester<J>) -> (JobId, News) {
        let (block, at) = self.blocks.take_slot();
        let id = block.id(at);
        let decision = self.decide(weight);
        self.open.replies.push_requester(id, requester);
        self.count();
        (id, self.join(job, decision))
    }

    /// One more job is accepted.
    #[inline]
    fn count(&mut self) {
        self.pending += 1;
        self.accepted += 1;
    }

    /// The policy decides about a job of this weight. The open batch may leave before it.
    #[inline]
    fn decide(&mut self, weight: u64) -> Decision {
        match self.policy.on_job(weight, Instant::now) {
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

    /// The job joins the open batch, where its reply waits already. The batch may leave with it.
    #[inline]
    fn join(&mut self, job: J, decision: Decision) -> News {
        self.open.jobs.push(job);
        if self.policy.joined(decision) && !self.is_full() { News::None } else { self.turn(decision) }
    }

    /// The open batch leaves or begins.
    #[cold]
    fn turn(&mut self, decision: Decision) -> News {
        let left = self.policy.leaves(decision);
        match left {
            Some(trigger) => self.seal(trigger),
            None => self.policy.opened(Instant::now),
        }
        if self.is_full() {
            self.seal_all(Trigger::Full);
        }
        // What has left before it is news, too.
        if self.sealed.is_empty() { self.opened() } else { News::Some }
    }

    /// The open batch has its first job: the actor must look in time, or now if a worker is waiting for it.
    fn opened(&mut self) -> News {
        if self.policy.leaves_when_free() {
            return News::Some;
        }
        self.due().map_or(News::None, |due| self.news_at(due))
    }

    /// Whether the actor would look too late.
    fn news_at(&self, due: Instant) -> News {
        if self.alarm.is_some_and(|alarm| alarm <= due) { News::None } else { News::Some }
    }

    /// When the open batch in hand leaves by time.
    fn due(&mut self) -> Option<Instant> {
        [self.policy.due(), self.open.leave_at].into_iter().flatten().min()
    }

    fn seal(&mut self, trigger: Trigger) {
        if self.open.jobs.is_empty() {
            return;
        }
        let (jobs, requesters) = self.spare.pop().map_or_else(Default::default, |spare| (spare.jobs, spare.requesters));
        let jobs = mem::replace(&mut self.open.jobs, jobs);
        let replies = mem::replace(&mut self.open.replies, Replies::with_buffer(requesters));
        let opened_at = self.policy.left().unwrap_or_else(Instant::now);
        self.open.leave_at = None;
        self.sealed.push(Sealed { jobs, replies, trigger, opened_at, priority: self.open.lane.priority });
    }

    /// Every open batch leaves, the most urgent first.
    fn seal_all(&mut self, trigger: Trigger) {
        let common = self.open.lane.priority;
        while let Some((_, lane)) = self.lanes.most_urgent().filter(|(priority, _)| *priority > common) {
            self.in_lane(lane, |state| state.seal(trigger));
        }
        self.seal(trigger);
        while let Some((_, lane)) = self.lanes.most_urgent() {
            self.in_lane(lane, |state| state.seal(trigger));
        }
    }

    /// Does something to another open batch.
    fn in_lane(&mut self, number: u64, act: impl FnOnce(&mut Self)) {
        if let Some(parked) = self.lanes.take(number) {
            self.with_current(parked, act);
        }
    }

    /// Takes another open batch in hand, does something to it, and puts it aside again.
    fn with_current<R>(&mut self, mut parked: Parked<J>, act: impl FnOnce(&mut Self) -> R) -> R {
        mem::swap(&mut self.open, &mut parked.open);
        self.policy.exchange(&mut parked.seen);
        let result = act(self);
        let due = self.due();
        mem::swap(&mut self.open, &mut parked.open);
        self.policy.exchange(&mut parked.seen);
        if parked.open.jobs.is_empty() {
            let Open { jobs, mut replies, .. } = parked.open;
            self.reuse(Buffers { jobs, requesters: replies.take_buffer() });
        } else {
            parked.due = due;
            self.lanes.put(parked);
        }
        result
    }

    /// There is no room for a job that brings something along.
    pub(super) fn wait_in_line(&mut self, waiting: Waiting<J>) -> News {
        self.wait_queue.join(waiting);
        self.wait_queue.due().map_or(News::None, |due| self.news_at(due))
    }

    /// A job that brings something along.
    #[cold]
    pub(super) fn enter(&mut self, mut candidate: Candidate<J>, now: Instant) -> Entry<J> {
        if self.closed {
            return Entry::Refused(candidate, RejectReason::ShutDown);
        }
        if let Some(output) = candidate.hit.take() {
            self.cache_hits += 1;
            return Entry::Answered(candidate, Ready::Kept(output));
        }
        match self.known(&candidate, now) {
            Known::Conflict => Entry::Refused(candidate, RejectReason::KeyConflict),
            Known::Reply(reply) => {
                self.replayed += 1;
                Entry::Answered(candidate, Ready::Shared(reply))
            }
            Known::Nothing | Known::OnItsWay(_) if self.is_full() => Entry::Full(candidate),
            Known::OnItsWay(job) => self.ride(candidate, job),
            Known::Nothing => Entry::Accepted(self.accept(candidate, now)),
        }
    }

    fn known(&mut self, candidate: &Candidate<J>, now: Instant) -> Known<J> {
        match (&mut self.sharing, &candidate.metadata.keys.shared) {
            (Some(sharing), Some(shared)) => sharing.ask(shared, now),
            _ => Known::Nothing,
        }
    }

    fn ride(&mut self, candidate: Candidate<J>, on: JobId) -> Entry<J> {
        let Some(riders) = self.sharing.as_mut().and_then(|sharing| sharing.riders(on)) else {
            return Entry::Full(candidate);
        };
        riders.append(candidate.replies);
        self.coalesced += 1;
        self.count();
        Entry::Rides(candidate.job, self.after_special(News::None))
    }

    fn accept(&mut self, candidate: Candidate<J>, now: Instant) -> News {
        let Candidate { id, job, weight, mut metadata, mut replies, .. } = candidate;
        let (lane, keys) = (Lane::of(&metadata), mem::take(&mut metadata.keys));
        replies.push_metadata(id, metadata);
        if let (Some(sharing), Some(shared)) = (&mut self.sharing, keys.shared) {
            sharing.lead(id, shared);
        }
        self.count();
        let turn = keys.sequence.map_or(Turn::First, |key| self.turn_of(id, key, &lane));
        let joining = Joining { id, job, weight, lane, accepted_at: now, replies, follows: turn == Turn::Follows };
        let news = if turn == Turn::Later { self.hold(joining) } else { self.add(joining, now) };
        self.after_special(news)
    }

    /// Whether the job has its turn in its sequence.
    fn turn_of(&mut self, id: JobId, key: Key, lane: &Lane) -> Turn {
        let (lanes, same) = (&self.lanes, lane.partition.as_ref() == Some(&key));
        let together = |first| same && lanes.has(lane, first);
        self.sequences.as_mut().map_or(Turn::First, |sequences| sequences.accepted(id, key, together))
    }

    /// The job waits for those before it.
    fn hold(&mut self, job: Joining<J>) -> News {
        let Some(sequences) = &mut self.sequences else { return News::None };
        sequences.hold(job);
        sequences.due().map_or(News::None, |due| self.news_at(due))
    }

    /// A full collector sends what it has, whatever a job did to it. What has left is news.
    fn after_special(&mut self, news: News) -> News {
        if self.is_full() {
            self.seal_all(Trigger::Full);
        }
        if self.sealed.is_empty() { news } else { News::Some }
    }

    /// An accepted job joins its open batch.
    fn add(&mut self, joining: Joining<J>, now: Instant) -> News {
        if joining.lane.is_common() {
            return self.add_here(joining, now);
        }
        let parked = self.open_lane(&joining.lane);
        self.with_current(parked, |state| state.add_here(joining, now))
    }

    /// The open batch that is there, or a new one; then another one may have to leave.
    fn open_lane(&mut self, lane: &Lane) -> Parked<J> {
        if let Some(parked) = self.lanes.find(lane).and_then(|number| self.lanes.take(number)) {
            return parked;
        }
        if self.lanes.len() >= self.max_partitions
            && let Some(other) = self.lanes.least_recently_used()
        {
            self.in_lane(other, |state| state.seal(Trigger::Full));
        }
        self.lanes.open(lane.clone())
    }

    fn add_here(&mut self, joining: Joining<J>, now: Instant) -> News {
        let decision = match self.policy.on_job(joining.weight, Instant::now) {
            Decision::SendThenAdd(trigger) if joining.follows => {
                // Those before it leave without it, and it must not overtake them.
                self.seal(trigger);
                return self.hold(joining);
            }
            Decision::SendThenAdd(trigger) => self.send_first(trigger),
            decision => decision,
        };
        let Joining { job, accepted_at, replies, .. } = joining;
        if let Some(deadline) = replies.deadline() {
            self.open.leave_before(deadline, now);
        }
        self.open.replies.append(replies);
        self.policy.waits_since(accepted_at);
        let news = self.join(job, decision);
        match self.open.leave_at {
            Some(leave_at) if news == News::None => self.news_at(leave_at),
            _ => news,
        }
    }

    /// So many jobs have been settled, these: others may have their turn, and those in line have room.
    pub(super) fn settled(&mut self, jobs: usize, ids: Option<&JobIds>) -> Admitted<J> {
        self.pending -= jobs;
        if let (Some(ids), Some(sequences)) = (ids, &mut self.sequences) {
            let queues = sequences.settled(ids);
            for queue in &queues {
                self.give_turn(*queue);
            }
            if self.closed && !queues.is_empty() {
                self.seal_all(Trigger::Drain);
            }
        }
        let mut admitted = Admitted::default();
        self.admit(&mut admitted);
        admitted
    }

    /// The first job of a sequence has its turn; and those behind it, as long as they share its open batch.
    #[cold]
    fn give_turn(&mut self, queue: u64) {
        let now = Instant::now();
        for place in 0.. {
            let (lanes, Some(sequences)) = (&self.lanes, &mut self.sequences) else { return };
            let together = |lane: &Lane, first| lanes.has(lane, first);
            let Some(next) = sequences.next(queue, place, together) else { return };
            self.add(next, now);
        }
    }

    /// Gives room to those in line, first come, first served.
    fn admit(&mut self, admitted: &mut Admitted<J>) {
        while !self.is_full() {
            let Some(Waiting { id, job, weight, metadata, block, at }) = self.wait_queue.next() else { return };
            let Some(metadata) = metadata else {
                self.accept_slot(job, weight, &block, at);
                admitted.jobs.push(id);
                continue;
            };
            let replies = Replies::of_slot(&block, at);
            match self.enter(Candidate { id, job, weight, metadata, replies, hit: None }, Instant::now()) {
                Entry::Accepted(_) => admitted.jobs.push(id),
                Entry::Rides(job, _) => {
                    admitted.jobs.push(id);
                    admitted.riding.push(job);
                }
                Entry::Answered(candidate, reply) => admitted.answered.push((candidate, reply)),
                Entry::Full(candidate) => admitted.refused.push((candidate, RejectReason::Overloaded)),
                Entry::Refused(candidate, reason) => admitted.refused.push((candidate, reason)),
            }
        }
    }

    /// Sends what is due, or what a free worker may take; and lets go of whoever has waited beyond his deadline.
    pub(super) fn look(&mut self, now: Instant, idle: bool) -> Vec<Waiting<J>> {
        // What has left already will take the free worker.
        self.policy.set_idle(idle && self.sealed.is_empty());
        self.seal_if_due(now);
        for lane in self.lanes.due(now) {
            self.in_lane(lane, |state| state.seal_if_due(now));
        }
        self.seal_for_free_worker();
        self.let_go_late(now);
        let late = self.wait_queue.late(now);
        self.rejected.count(RejectReason::Expired, late.len() as u64);
        late
    }

    fn seal_if_due(&mut self, now: Instant) {
        if self.policy.due().is_some_and(|due| due <= now) {
            self.seal(Trigger::Interval);
        } else if self.open.leave_at.is_some_and(|leave_at| leave_at <= now) {
            self.seal(Trigger::Deadline);
        }
    }

    /// The most urgent open batch leaves if a worker is free and the policy wants that. The others get older, and so more urgent.
    fn seal_for_free_worker(&mut self) {
        if !self.policy.is_idle() {
            return;
        }
        let common = self.policy.opened_at().map(|opened_at| self.open.lane.urgency(opened_at, self.ageing));
        let other = self
            .lanes
            .next_for_worker(self.ageing)
            .filter(|(urgency, _)| common.is_none_or(|common| *urgency < common));
        match other {
            Some((_, lane)) => self.in_lane(lane, Self::seal_if_wanted),
            None => self.seal_if_wanted(),
        }
    }

    fn seal_if_wanted(&mut self) {
        if self.policy.leaves_when_free() {
            self.seal(Trigger::Idle);
        }
    }

    /// Jobs whose turn comes too late go to dispatch, which settles them.
    fn let_go_late(&mut self, now: Instant) {
        let late = self.sequences.as_mut().map_or_else(Vec::new, |sequences| sequences.late(now));
        self.let_go(late, Trigger::Deadline);
    }

    /// Nobody waits for his turn any more: everything is about to be settled.
    pub(super) fn give_up_sequences(&mut self) {
        let held = self.sequences.as_mut().map_or_else(Vec::new, |sequences| sequences.give_up());
        self.let_go(held, Trigger::Drain);
    }

    fn let_go(&mut self, jobs: Vec<Joining<J>>, trigger: Trigger) {
        self.sealed.extend(jobs.into_iter().map(|Joining { job, lane, accepted_at, replies, .. }| Sealed {
            jobs: vec![job],
            replies,
            trigger,
            opened_at: accepted_at,
            priority: lane.priority,
        }));
    }

    /// When the actor must look again.
    pub(super) fn next_look(&mut self) -> Option<Instant> {
        let sequences = self.sequences.as_ref().and_then(|sequences| sequences.due());
        [self.due(), self.lanes.next_due(), sequences, self.wait_queue.due()].into_iter().flatten().min()
    }

    /// Sends every open batch. Returns how many jobs they had.
    pub(super) fn flush(&mut self, trigger: Trigger) -> usize {
        let jobs = self.open.jobs.len() + self.lanes.iter().map(|open| open.jobs.len()).sum::<usize>();
        self.seal_all(trigger);
        jobs
    }

    /// Emptied buffers, for a batch to come.
    pub(super) fn reuse(&mut self, buffers: Buffers<J>) {
        debug_assert!(buffers.jobs.is_empty() && buffers.requesters.is_empty());
        if self.spare.len() < Self::SPARE {
            self.spare.push(buffers);
        }
    }

    /// Where a job is that the actor has not taken yet.
    pub(super) fn find(&self, job: JobId) -> Option<JobState> {
        let open = self.lanes.iter().chain([&self.open]).map(|open| &open.replies);
        let left = self.sealed.iter().map(|sealed| &sealed.replies);
        let held = || self.sequences.as_ref().is_some_and(|sequences| sequences.holds(job));
        let rides = || self.sharing.as_ref().is_some_and(|sharing| sharing.carries(job));
        if open.chain(left).any(|replies| replies.ids().contains(job)) || held() || rides() {
            return Some(JobState::Buffered);
        }
        self.wait_queue.contains(job).then_some(JobState::Waiting)
    }

    pub(super) fn view(&self, due: Option<Instant>) -> View {
        View {
            due,
            pending: self.pending,
            waiting: self.wait_queue.len(),
            accepted: self.accepted,
            rejected: self.rejected,
            coalesced: self.coalesced,
            replayed: self.replayed,
            cache_hits: self.cache_hits,
        }
    }
}
