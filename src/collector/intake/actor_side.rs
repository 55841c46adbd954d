//! The intake as the actor uses it: look for batches, settle, close.

use std::mem;

use tokio::time::Instant;
use tracing::warn;

use super::{Buffers, Intake, RejectedSends, View, sequences::Joining};
use crate::{
    batch::{Sealed, Trigger},
    error::RejectReason,
    flush::Timing,
    job::{Job, JobId, JobIds, JobState},
    panics::drop_each,
};

impl<J: Job> Intake<J> {
    /// Sends the batches that are due, or one that a free worker may take (`worker_waits`), and moves all batches that have left to
    /// `sealed`. The actor looks again at `alarm`, or at the view's `due` if that is earlier.
    pub(crate) fn look(
        &self,
        now: Instant,
        alarm: Option<Instant>,
        worker_waits: bool,
        sealed: &mut Vec<Sealed<J>>,
    ) -> View {
        let mut state = self.lock();
        let late = state.look(now, worker_waits);
        mem::swap(&mut state.sealed, sealed);
        let due = state.next_look();
        state.alarm = [alarm, due].into_iter().flatten().min();
        let (view, panics) = (state.view(due), state.policy.take_panics());
        drop(state);
        if panics > 0 {
            warn!(collector = &*self.collector, panics, "the flush policy panicked: the open batch was sent");
        }
        if !late.is_empty() {
            self.waiting_expired(late);
        }
        view
    }

    /// Whether callers have gone while other jobs need room, so that the abandoned jobs must be found and settled. A full collector
    /// has no open batch, so the abandoned jobs are with dispatch.
    pub(crate) fn must_reclaim_room(&self, view: &View) -> bool {
        self.departures.take(view.needs_room)
    }

    /// Tells the flush policy that a worker has answered a batch.
    pub(crate) fn answered(&self, timing: &Timing) {
        self.lock().policy.on_done(timing);
    }

    /// The view, `max_pending`, and whether a job waits for which there is room. Changes nothing.
    #[cfg(feature = "test-util")]
    pub(crate) fn peek(&self) -> (View, usize, bool) {
        let state = self.lock();
        (state.view(None), state.max_pending, state.room_is_idle())
    }

    /// The state of a job that the actor has not taken yet, or `None`.
    pub(crate) fn find(&self, job: JobId) -> Option<JobState> {
        self.lock().find(job)
    }

    /// Whether handles are refused.
    pub(crate) fn is_closed(&self) -> bool {
        self.lock().rejects_submits
    }

    /// The number that the next job gets: all jobs that were accepted have smaller ones.
    pub(crate) fn next_number(&self) -> u64 {
        self.lock().next_number()
    }

    /// Whether a job before this number has been accepted and has not been sent.
    pub(crate) fn holds_before(&self, number: u64) -> bool {
        self.lock().holds_before(number)
    }

    /// Sends every open batch. Returns how many jobs they held.
    pub(crate) fn flush(&self) -> usize {
        self.lock().flush(Trigger::Manual)
    }

    /// Whether the intake must be told which jobs are settled: if jobs with the same key are processed in order, and if the room is
    /// bounded by more than their number.
    pub(crate) fn needs_ids(&self) -> bool {
        self.takes_all_steps
            && (self.has_limits || self.keying.as_ref().is_some_and(|keying| keying.sequence.is_some()))
    }

    /// Whether a failed job fails those that are held behind it.
    pub(crate) fn fails_following(&self) -> bool {
        self.keying.as_ref().is_some_and(|keying| keying.fail_following && keying.sequence.is_some())
    }

    /// Takes the jobs that are held behind these jobs, which have failed, to be failed with them.
    pub(crate) fn take_behind(&self, failed: &[JobId]) -> Vec<Sealed<J>> {
        let behind = self.lock().take_behind(failed);
        let sealed = |Joining { job, lane, accepted_at, replies, .. }: Joining<J>| Sealed {
            jobs: vec![job],
            replies,
            trigger: Trigger::Drain,
            opened_at: accepted_at,
            priority: lane.priority,
        };
        behind.into_iter().map(sealed).collect()
    }

    /// Whether jobs have keys, so that what becomes of one may concern others.
    #[inline]
    pub(crate) fn has_keys(&self) -> bool {
        self.keying.is_some()
    }

    /// Forgets the remembered outcome for this job's key.
    pub(crate) fn forget(&self, job: &J) {
        let Some(key) = self.keying.as_ref().and_then(|keying| (keying.sharing()?.key)(job)) else { return };
        let mut state = self.lock();
        let Some(sharing) = &mut state.sharing else { return };
        sharing.forget(&key);
        let mut forgotten = sharing.take_forgotten();
        drop(state);
        drop_each(&mut forgotten);
    }

    /// Frees the room of `jobs` settled jobs and admits waiting jobs. The buffers of the settled batch are used again.
    pub(crate) fn settled(&self, jobs: usize, followers: usize, ids: Option<&JobIds>, buffers: Buffers<J>) {
        let mut state = self.lock();
        state.reuse(buffers);
        state.settled(jobs, followers, ids);
        self.admit_waiting(state);
    }

    /// Rejects jobs from handles from now on. Messages that were sent before are still accepted.
    pub(crate) fn reject_submits(&self) {
        self.lock().rejects_submits = true;
    }

    /// Rejects all jobs from now on.
    pub(crate) fn reject_all(&self) {
        let mut state = self.lock();
        state.rejects_submits = true;
        state.closed = true;
    }

    /// The jobs sent by `do_send` that were rejected since the last call.
    pub(crate) fn take_rejected_sends(&self) -> Option<RejectedSends<J>> {
        Some(*self.lock().rejected_sends.take()?)
    }

    /// Rejects all jobs from now on, sends the open batches, and rejects the jobs in the wait queue.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.rejects_submits = true;
        state.closed = true;
        state.flush(Trigger::Drain);
        let waiting = state.wait_queue.leave_all();
        state.counts.rejected.count(RejectReason::ShutDown, waiting.len() as u64);
        drop(state);
        for waiting in waiting {
            self.reject_waiting(waiting.into_parts(), RejectReason::ShutDown);
        }
    }

    /// Releases the jobs that are held for their order, because all jobs are about to be settled.
    pub(crate) fn release_sequences(&self) {
        self.lock().release_sequences();
    }
}
