//! The future that a caller holds.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Weak,
    task::{Context, Poll},
};

use crate::{
    batch::SlotRef,
    error::Reason,
    job::{Job, JobId, JobResult},
};

/// Where a submitter waits while the collector is full.
pub(crate) trait Line: Send + Sync {
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
    state: State<J>,
    /// The line that this job joined when it arrived; it may have left it since.
    line: Option<Weak<dyn Line>>,
}

enum State<J: Job> {
    Accepted(SlotRef<J>),
    Refused(Reason),
    Answered,
}

impl<J: Job> Submit<J> {
    pub(crate) fn accepted(slot: SlotRef<J>) -> Self {
        Self { state: State::Accepted(slot), line: None }
    }

    pub(crate) fn in_line(slot: SlotRef<J>, line: Weak<dyn Line>) -> Self {
        Self { state: State::Accepted(slot), line: Some(line) }
    }

    pub(crate) fn refused(reason: Reason) -> Self {
        Self { state: State::Refused(reason), line: None }
    }

    /// The job's number; `None` where the collector refused the job, and after the reply.
    pub fn id(&self) -> Option<JobId> {
        match &self.state {
            State::Accepted(slot) => Some(slot.id()),
            State::Refused(_) | State::Answered => None,
        }
    }
}

impl<J: Job> Future for Submit<J> {
    type Output = JobResult<J>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let reply = match &self.state {
            State::Accepted(slot) => match slot.poll(cx) {
                Poll::Ready(reply) => reply,
                Poll::Pending => return Poll::Pending,
            },
            State::Refused(reason) => Err((*reason).into()),
            State::Answered => Err(crate::JobError::Lost),
        };
        self.state = State::Answered;
        Poll::Ready(reply)
    }
}

impl<J: Job> Drop for Submit<J> {
    fn drop(&mut self) {
        let State::Accepted(slot) = &self.state else { return };
        slot.abandon();
        if let Some(line) = self.line.as_ref().and_then(Weak::upgrade) {
            line.leave(slot.id());
        }
    }
}

impl<J: Job> fmt::Debug for Submit<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Submit").field("id", &self.id()).finish_non_exhaustive()
    }
}
