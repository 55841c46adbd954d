//! What becomes of jobs in the wait queue: they are admitted, expire, are rejected, or their callers go.

use super::{Intake, Locked, admit::reply, state::Admitted, submit::LeaveQueue, wait_queue::Waiting};
use crate::{
    batch::Replies,
    error::RejectReason,
    job::{Job, JobId},
    observe::notify_submit,
    panics::contain,
};

impl<J: Job> Intake<J> {
    /// Admits jobs from the wait queue while there is room.
    pub(super) fn admit_waiting(&self, mut state: Locked<'_, J>) {
        let mut admitted = Admitted::default();
        if self.caches() {
            drop(state);
            self.admit_uncached(&mut admitted);
        } else {
            state.admit_waiting(&mut admitted);
            drop(state);
        }
        if self.observers.any() {
            for job in admitted.jobs {
                notify_submit(|| self.observers.notify(|observer, collector| observer.accepted(collector, job)));
            }
        }
        admitted.followers.into_iter().for_each(|job| contain(|| drop(job)));
        admitted.answered.into_iter().for_each(|(candidate, reply)| self.answer(candidate, reply));
        for (candidate, reason) in admitted.rejected {
            contain(|| drop(self.reject_candidate(candidate, reason)));
        }
    }

    /// The same if results are cached. The cache may have learned the jobs' keys while they waited; it is asked without the lock, because
    /// copying an output runs user code.
    #[cold]
    fn admit_uncached(&self, admitted: &mut Admitted<J>) {
        loop {
            let next = self.lock().next_waiting();
            let Some(waiting) = next else { return self.lock().seal_for_waiting() };
            let cached = self.cached(&waiting.job);
            let mut state = self.lock();
            if cached.is_none() && !state.has_room_for_waiting(&waiting) {
                // Another job has come first: this one goes on waiting, at its place.
                state.wait(waiting);
                return;
            }
            state.admit(waiting, cached, self.clock.now(), admitted);
        }
    }

    /// These jobs were waiting when their deadline passed.
    #[cold]
    pub(super) fn waiting_expired(&self, late: Vec<Waiting<J>>) {
        for waiting in late {
            self.reject_waiting(waiting.into_parts(), RejectReason::Expired);
        }
        self.admit_next();
    }

    /// The first job of the wait queue waits no more: there may be room for those behind it.
    pub(super) fn admit_next(&self) {
        if self.has_limits {
            self.admit_waiting(self.lock());
            self.bell.ring();
        }
    }

    /// Rejects a job that was still waiting for admission.
    pub(super) fn reject_waiting(&self, (job, replies): (J, Replies<J>), reason: RejectReason) {
        reply(replies, Err(reason.into()));
        contain(|| drop(self.rejected(job, reason)));
    }
}

impl<J: Job> LeaveQueue for Intake<J> {
    fn leave(&self, id: JobId) {
        let waiting = self.lock().wait_queue.leave(id);
        if waiting.is_some() {
            drop(waiting);
            self.admit_next();
        }
    }
}
