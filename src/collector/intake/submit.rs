//! The future that a caller holds.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Weak,
    task::{Context, Poll, ready},
};

use crate::{
    batch::SlotRef,
    error::{JobError, RejectReason},
    job::{Job, JobId, JobResult},
};

/// Where a submitter waits while the collector is full.
pub(crate) trait LeaveQueue: Send + Sync {
    /// The submitter of this job has gone.
    fn leave(&self, id: JobId);
}

/// A submitted job's reply, to be awaited.
///
/// The job is on its way from the moment `submit` was called, whether this future is polled or not: it is in the open batch,
/// or – while the collector is full – first in, first out in the waiting line. Dropping the future abandons the job: it leaves
/// the line; it is skipped if its batch has not started; otherwise its result reaches nobody. Polled again after it has
/// answered, it answers [`JobError::Lost`](crate::JobError::Lost).
#[must_use = "dropping a `Submit` abandons the job: await it, or use the message door's `do_send` to forget the reply"]
pub struct Submit<J: Job> {
    /// `None` after the reply, and where there is none to wait for.
    slot: Option<SlotRef<J>>,
    /// `None` for all those that are accepted at once: they are faster without what the others need.
    detour: Option<Box<Detour>>,
}

enum Detour {
    /// The line that this job joined when it arrived; it may have left it since.
    Waiting(Weak<dyn LeaveQueue>),
    Refused(RejectReason),
}

impl<J: Job> Submit<J> {
    #[inline]
    pub(crate) fn accepted(slot: SlotRef<J>) -> Self {
        Self { slot: Some(slot), detour: None }
    }

    pub(crate) fn waiting(slot: SlotRef<J>, queue: Weak<dyn LeaveQueue>) -> Self {
        Self { slot: Some(slot), detour: Some(Box::new(Detour::Waiting(queue))) }
    }

    pub(crate) fn refused(reason: RejectReason) -> Self {
        Self { slot: None, detour: Some(Box::new(Detour::Refused(reason))) }
    }

    /// The job's number; `None` where the collector refused the job, and after the reply.
    pub fn id(&self) -> Option<JobId> {
        self.slot.as_ref().map(SlotRef::id)
    }

    /// What a `Submit` without a slot answers.
    #[cold]
    fn without_slot(&mut self) -> JobError<J::Error> {
        match self.detour.take().as_deref() {
            Some(Detour::Refused(reason)) => (*reason).into(),
            Some(Detour::Waiting(_)) | None => JobError::Lost,
        }
    }

    /// The caller goes before the reply has come.
    #[cold]
    fn give_up(&self, slot: &SlotRef<J>) {
        slot.abandon();
        if let Some(Detour::Waiting(queue)) = self.detour.as_deref()
            && let Some(queue) = queue.upgrade()
        {
            queue.leave(slot.id());
        }
    }
}

impl<J: Job> Future for Submit<J> {
    type Output = JobResult<J>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(slot) = &self.slot else { return Poll::Ready(Err(self.without_slot())) };
        let reply = ready!(slot.poll(cx));
        self.slot = None;
        Poll::Ready(reply)
    }
}

impl<J: Job> Drop for Submit<J> {
    #[inline]
    fn drop(&mut self) {
        if let Some(slot) = &self.slot {
            self.give_up(slot);
        }
    }
}

impl<J: Job> fmt::Debug for Submit<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Submit").field("id", &self.id()).finish_non_exhaustive()
    }
}
