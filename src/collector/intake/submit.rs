//! The future that a caller holds.

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
    /// The caller of this job has gone.
    fn leave(&self, id: JobId);
}

/// A submitted job's reply, to be awaited.
///
/// `submit` has submitted the job, whether this future is polled or not: it is in the open batch, or – while the collector is
/// full – in the wait queue. Dropping the future abandons the job: a waiting job leaves the queue, a job whose batch has not
/// started is skipped, and the result of any other is dropped. Polled again after its reply, the future answers
/// [`JobError::Lost`](crate::JobError::Lost).
#[must_use = "dropping a `Submit` abandons the job: await it, or use the message door's `do_send` to forget the reply"]
pub struct Submit<J: Job> {
    /// `None` after the reply, and for a refused job.
    slot: Option<SlotRef<J>>,
    /// `None` for jobs that were accepted at once, which keeps them fast.
    detour: Option<Box<Detour>>,
}

enum Detour {
    /// The intake whose wait queue the job joined when it arrived; it may have left the queue since.
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

    /// The job's number; `None` where the collector refused the job, and after the reply.
    pub fn id(&self) -> Option<JobId> {
        self.slot.as_ref().map(SlotRef::id)
    }

    /// A reply that is there at once spends tokio's cooperative budget, so that a loop of them lets other tasks run.
    #[cold]
    fn spend_budget(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(Detour::Rejected(_) | Detour::Answered) = self.detour.as_deref() {
            ready!(pin!(consume_budget()).poll(cx));
        }
        Poll::Ready(())
    }

    /// What a `Submit` without a slot answers.
    #[cold]
    fn without_slot(&mut self) -> JobError<J::Error> {
        match self.detour.take().as_deref() {
            Some(Detour::Rejected(reason)) => (*reason).into(),
            Some(Detour::Waiting(_) | Detour::Answered) | None => JobError::Lost,
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
            self.give_up(slot);
        }
    }
}

impl<J: Job> fmt::Debug for Submit<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Submit").field("id", &self.id()).finish_non_exhaustive()
    }
}
