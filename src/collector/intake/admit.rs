//! Admission, around the lock: what is computed before it is taken, and who is told after it is free.

use std::sync::Arc;

use super::{
    Intake,
    state::{Candidate, Entry, KnownReply},
    wait_queue::Waiting,
};
use crate::{
    batch::{Deliveries, Metadata, Replies, Requester, SlotRef, Tally},
    error::{JobError, RejectReason, Rejected},
    job::{Job, JobId, JobResult},
    observe::notify_submit,
    panics::contain,
    reentry::copy_once,
};

/// How an admitted job will be answered.
pub(super) enum ReplyTo<J: Job> {
    /// In a slot, which a [`Submit`](super::Submit) holds. With `may_wait`, the job waits while the collector is full.
    Slot { may_wait: bool },
    /// Through actix's sender.
    Requester(Requester<J>),
}

/// A submitted job after admission: its slot, and what became of it.
pub(super) struct Submission<J: Job> {
    pub(super) slot: SlotRef<J>,
    /// It waits for room.
    pub(super) waits: bool,
    /// Its reply is in the slot already.
    pub(super) is_answered: bool,
    /// Whether the actor has been woken; or the job, handed back.
    pub(super) accepted: Result<bool, Rejected<J>>,
}

impl<J: Job> Intake<J> {
    /// The one way in for a job with metadata, and for any job that finds no room, whichever door it came by.
    pub(super) fn admit(&self, job: J, mut metadata: Box<Metadata>, reply_to: ReplyTo<J>) -> Submission<J> {
        metadata.deadline = metadata.deadline.map(|deadline| self.clock.translate(deadline));
        let (weight, metadata, cached) = (self.weigh(&job), self.with_keys(&job, metadata), self.cached(&job));
        let mut state = self.lock();
        let (block, at) = state.take_slot();
        let (id, slot) = (block.id(at), SlotRef::new(Arc::clone(&block), at));
        let (replies, may_wait, closed) = match reply_to {
            ReplyTo::Slot { may_wait } => (Replies::of_slot(&block, at), may_wait, state.rejects_submits),
            ReplyTo::Requester(requester) => (Replies::of_requester(id, requester), false, state.closed),
        };
        let candidate = Candidate { id, job, weight, metadata, replies, cached, has_waited: false };
        let now = self.clock.now();
        let entry =
            if closed { Entry::Rejected(candidate, RejectReason::ShutDown) } else { state.enter(candidate, now) };
        match entry {
            Entry::Full(Candidate { job, metadata, replies, .. }) if may_wait => {
                replies.forget();
                let place = state.place(&metadata, now);
                let wake = state.wait(Waiting { id, job, weight, metadata, block, at, place });
                drop(state);
                self.ring(wake);
                Submission { slot, waits: true, is_answered: false, accepted: Ok(wake) }
            }
            entry => {
                // With this job its partition may be full, so that it is the turn of others that wait.
                let room_is_idle = self.has_limits && state.room_is_idle();
                drop(state);
                if room_is_idle {
                    self.admit_next();
                }
                let is_answered = matches!(entry, Entry::Answered(..));
                Submission { slot, waits: false, is_answered, accepted: self.entered(id, entry) }
            }
        }
    }

    /// Tells observers what became of a job, and answers a job that was rejected or whose reply is known. Needs the lock to be
    /// free.
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
            Entry::Full(candidate) => Err(self.reject_candidate(candidate, RejectReason::Overloaded)),
            Entry::Rejected(candidate, reason) => Err(self.reject_candidate(candidate, reason)),
        }
    }

    pub(super) fn reject_candidate(&self, candidate: Candidate<J>, reason: RejectReason) -> Rejected<J> {
        self.lock().counts.rejected.count(reason, 1);
        contain(|| drop(candidate.cached));
        reply(candidate.replies, Err(reason.into()));
        self.rejected(candidate.job, reason)
    }

    /// Answers a job whose reply is known before it is processed.
    pub(super) fn answer(&self, candidate: Candidate<J>, known: KnownReply<J>) {
        contain(|| drop(candidate.job));
        let result = match known {
            KnownReply::Shared(shared) => {
                let copy = copy_once(|| self.copy(&shared.lock())).unwrap_or(Err(JobError::Lost));
                contain(|| drop(shared));
                copy
            }
            KnownReply::Cached(output) => Ok(output),
        };
        reply(candidate.replies, result);
    }

    /// A copy of a reply that several callers get.
    fn copy(&self, reply: &JobResult<J>) -> JobResult<J> {
        self.keying.as_ref().map_or(Err(JobError::Lost), |keying| keying.copy(reply))
    }

    /// Computes the job's keys and adds them to its metadata.
    fn with_keys(&self, job: &J, mut metadata: Box<Metadata>) -> Box<Metadata> {
        if let Some(keying) = &self.keying {
            metadata.keys = keying.keys(job);
        }
        metadata
    }

    /// Tells observers that a job was rejected.
    pub(super) fn rejected(&self, job: J, reason: RejectReason) -> Rejected<J> {
        if self.observers.any() {
            notify_submit(|| self.observers.notify(|observer, collector| observer.rejected(collector, reason)));
        }
        Rejected { job, reason }
    }
}

/// Gives one reply, which is not counted. Needs the lock to be free, because it wakes the caller.
pub(super) fn reply<J: Job>(replies: Replies<J>, result: JobResult<J>) {
    let mut deliveries = Deliveries::default();
    replies.settle(std::iter::once(result), &mut Tally::default(), &mut deliveries);
    deliveries.deliver();
}
