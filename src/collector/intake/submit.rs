//! `Submit`, the future that a caller holds.

use std::{
    fmt,
    future::Future,
    pin::{Pin, pin},
    sync::Weak,
    task::{Context, Poll, ready},
};

use tokio::task::coop::consume_budget;

use crate::{
    batch::SlotRef,
    error::{JobError, RejectReason},
    job::{Job, JobId, JobResult},
};

/// The wait queue, as a waiting caller sees it.
pub(crate) trait LeaveQueue: Send + Sync {
    /// Removes the job, whose caller has gone.
    fn leave(&self, id: JobId);
}

/// A submitted job's reply, to be awaited.
///
/// The job is submitted when `submit` returns, even if this future is never polled: it is in the open batch or, while the collector
/// is full, in the wait queue.
///
/// Dropping the future abandons the job. A job in the wait queue leaves it, a job whose batch has not started is skipped, and the
/// result of any other job is dropped.
///
/// A future that is polled again after its reply returns [`JobError::Lost`](crate::JobError::Lost).
#[must_use = "dropping a `Submit` abandons the job: await it, or use the message door's `do_send` to forget the reply"]
pub struct Submit<J: Job> {
    /// `None` after the reply, and for a rejected job.
    slot: Option<SlotRef<J>>,
    /// `None` for a job that was accepted at once: the fast path.
    detour: Option<Box<Detour>>,
}

enum Detour {
    /// The intake whose wait queue the job joined. The job may have been admitted since.
    Waiting(Weak<dyn LeaveQueue>),
    Rejected(RejectReason),
    /// The reply is in the slot already.
    Answered,
}

impl<J: Job> Submit<J> {
    #[inline]
    pub(crate) fn accepted(slot: SlotRef<J>) -> Self {
        Self { slot: Some(slot), detour: None }
    }

    pub(crate) fn waiting(slot: SlotRef<J>, queue: Weak<dyn LeaveQueue>) -> Self {
        Self { slot: Some(slot), detour: Some(Box::new(Detour::Waiting(queue))) }
    }

    pub(crate) fn answered(slot: SlotRef<J>) -> Self {
        Self { slot: Some(slot), detour: Some(Box::new(Detour::Answered)) }
    }

    pub(crate) fn rejected(reason: RejectReason) -> Self {
        Self { slot: None, detour: Some(Box::new(Detour::Rejected(reason))) }
    }

    /// The job's number; `None` if the job was rejected, and after the reply.
    pub fn id(&self) -> Option<JobId> {
        self.slot.as_ref().map(SlotRef::id)
    }

    /// Spends tokio's cooperative budget if the reply is there at once, so that a loop over such jobs lets other tasks run.
    #[cold]
    fn spend_budget(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(Detour::Rejected(_) | Detour::Answered) = self.detour.as_deref() {
            ready!(pin!(consume_budget()).poll(cx));
        }
        Poll::Ready(())
    }

    /// The reply of a `Submit` without a slot.
    #[cold]
    fn without_slot(&mut self) -> JobError<J::Error> {
        match self.detour.take().as_deref() {
            Some(Detour::Rejected(reason)) => (*reason).into(),
            Some(Detour::Waiting(_) | Detour::Answered) | None => JobError::Lost,
        }
    }

    /// Abandons the job: the caller goes before the reply has come.
    #[cold]
    fn abandon(&self, slot: &SlotRef<J>) {
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
        if self.detour.is_some() {
            ready!(self.spend_budget(cx));
        }
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
            self.abandon(slot);
        }
    }
}

impl<J: Job> fmt::Debug for Submit<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Submit").field("id", &self.id()).finish_non_exhaustive()
    }
}
