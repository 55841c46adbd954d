//! The doors: `submit`, `try_submit`, and messages. Each has a fast path for jobs without metadata while there is room; every other
//! job goes through [`admit`](Intake::admit).
//!
//! The fast path takes the lock once and allocates nothing. It stays in these three functions, inlined into their callers.

use std::sync::{Arc, Weak};

use tracing::{debug, level_filters::LevelFilter};

use super::{
    Intake, Submit,
    admit::{ReplyTo, Submission},
};
use crate::{
    batch::{Metadata, Requester, SlotRef},
    error::{RejectReason, Rejected},
    job::{Job, JobId},
    observe::{log_submit, notify_submit},
    panics::contain,
};

impl<J: Job> Intake<J> {
    /// Accepts the job, or lets it wait in the wait queue.
    #[inline]
    pub(crate) fn submit(self: &Arc<Self>, job: J, metadata: Option<Box<Metadata>>) -> Submit<J> {
        if let Some(metadata) = self.needed(metadata) {
            return *self.submit_slow(job, metadata);
        }
        let weight = self.weigh(&job);
        let mut state = self.state.lock();
        if state.rejects_submits || state.is_full() {
            drop(state);
            return *self.submit_slow(job, Box::default());
        }
        let (block, at) = state.take_slot();
        let wake = state.accept_slot(job, weight, &block, at);
        drop(state);
        self.accepted(SlotRef::new(block, at), wake)
    }

    #[cold]
    #[expect(clippy::unnecessary_box_returns, reason = "so that the `Submit` of an accepted job stays in registers")]
    fn submit_slow(self: &Arc<Self>, job: J, metadata: Box<Metadata>) -> Box<Submit<J>> {
        let Submission { slot, waits, is_answered, accepted } =
            self.admit(job, metadata, ReplyTo::Slot { may_wait: true });
        Box::new(match accepted {
            Ok(_) if is_answered => Submit::answered(slot),
            Ok(_) if waits => self.waiting(slot),
            Ok(_) => Submit::accepted(slot),
            Err(Rejected { reason, .. }) => Submit::rejected(reason),
        })
    }

    /// Accepts the job, or hands it back.
    #[inline]
    pub(crate) fn try_submit(&self, job: J, metadata: Option<Box<Metadata>>) -> Result<Submit<J>, Rejected<J>> {
        if let Some(metadata) = self.needed(metadata) {
            return self.try_submit_slow(job, metadata);
        }
        let weight = self.weigh(&job);
        let mut state = self.state.lock();
        let closed = state.rejects_submits;
        if let Some(reason) = state.reason_to_reject(closed) {
            drop(state);
            return Err(self.rejected(job, reason));
        }
        let (block, at) = state.take_slot();
        let wake = state.accept_slot(job, weight, &block, at);
        drop(state);
        Ok(self.accepted(SlotRef::new(block, at), wake))
    }

    #[cold]
    fn try_submit_slow(&self, job: J, metadata: Box<Metadata>) -> Result<Submit<J>, Rejected<J>> {
        let Submission { slot, is_answered, accepted, .. } =
            self.admit(job, metadata, ReplyTo::Slot { may_wait: false });
        accepted.map(|_| if is_answered { Submit::answered(slot) } else { Submit::accepted(slot) })
    }

    /// Accepts the job of a message, or answers the message at once. Returns whether the actor has been woken.
    #[inline]
    pub(crate) fn message(&self, job: J, metadata: Option<Box<Metadata>>, requester: Requester<J>) -> bool {
        if let Some(metadata) = self.needed(metadata) {
            return self.message_slow(job, metadata, requester);
        }
        let weight = self.weigh(&job);
        let mut state = self.state.lock();
        let closed = state.closed;
        if let Some(reason) = state.reason_to_reject(closed) {
            drop(state);
            return self.reject_message(job, reason, requester);
        }
        let (id, wake) = state.accept_request(job, weight, requester);
        drop(state);
        self.announce(id, wake);
        wake
    }

    /// Rejects the job of a message. Panics are contained, because this runs in the actor's handler, and a panic would end the
    /// actor.
    #[cold]
    fn reject_message(&self, job: J, reason: RejectReason, requester: Requester<J>) -> bool {
        let is_send = requester.is_none();
        if let Some(sender) = requester {
            let _ = sender.send(Err(reason.into()));
        }
        contain(|| {
            let Rejected { job, reason } = self.rejected(job, reason);
            if is_send {
                self.rejected_send(job, reason);
            }
        });
        self.ring(is_send);
        false
    }

    /// Counts a rejected `do_send`, and keeps its job for the dead-letter queue if there is one.
    fn rejected_send(&self, job: J, reason: RejectReason) {
        let mut state = self.state.lock();
        let dropped = state.rejected_send(job, reason, self.keeps_rejected);
        drop(state);
        drop(dropped);
    }

    #[cold]
    fn message_slow(&self, job: J, metadata: Box<Metadata>, requester: Requester<J>) -> bool {
        let is_send = requester.is_none();
        let Submission { accepted, .. } = self.admit(job, metadata, ReplyTo::Requester(requester));
        match accepted {
            Ok(wake) => wake,
            Err(Rejected { job, reason }) => {
                contain(|| if is_send { self.rejected_send(job, reason) } else { drop(job) });
                self.ring(is_send);
                false
            }
        }
    }

    /// The metadata for admission; `None` if the job has none and needs none.
    #[inline]
    fn needed(&self, metadata: Option<Box<Metadata>>) -> Option<Box<Metadata>> {
        if metadata.is_none() && self.takes_all_steps { Some(Box::default()) } else { metadata }
    }

    #[inline]
    fn accepted(&self, slot: SlotRef<J>, wake: bool) -> Submit<J> {
        self.announce(slot.id(), wake);
        Submit::accepted(slot)
    }

    /// Tells the log and the observers that a job was accepted, and wakes the actor if it has to look.
    #[inline]
    pub(super) fn announce(&self, job: JobId, wake: bool) {
        if debug_is_logged() {
            self.log_accepted(job);
        }
        if self.observers.any() {
            notify_submit(|| self.observers.notify(|observer, collector| observer.accepted(collector, job)));
        }
        self.ring(wake);
    }

    #[cold]
    fn log_accepted(&self, job: JobId) {
        log_submit(|| debug!(collector = &*self.collector, job = job.get(), "accepted"));
    }

    #[cold]
    fn waiting(self: &Arc<Self>, slot: SlotRef<J>) -> Submit<J> {
        log_submit(|| debug!(collector = &*self.collector, job = slot.id().get(), "waits for room"));
        let intake: Weak<Self> = Arc::downgrade(self);
        Submit::waiting(slot, intake)
    }
}

/// Whether a subscriber or a logger wants debug events. This costs two loads; the event itself would cost ten times as much.
#[inline]
fn debug_is_logged() -> bool {
    LevelFilter::current() >= LevelFilter::DEBUG || log::max_level() >= log::LevelFilter::Debug
}
