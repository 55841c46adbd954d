//! Waiting jobs that leave without being sent: late, abandoned, or tried again too late.

use std::{cmp::Reverse, mem};

use tokio::time::Instant;

use super::{
    Dispatch, History, Order,
    ready_batch::{Part, ReadyBatch, divide},
};
use crate::{
    batch::{Batch, JobResults, Replies},
    error::JobError,
    job::Job,
};

impl<J: Job> Dispatch<J> {
    pub(super) fn note_deadline(&mut self, replies: &Replies<J>) {
        let Some(deadline) = replies.deadline() else { return };
        // Deadlines of batches that have left must not pile up.
        if self.deadlines.len() > 2 * self.ready() + Self::SPARE_DEADLINES {
            self.gather_deadlines();
        }
        self.deadlines.push(Reverse(deadline));
    }

    /// Collects the deadlines of the waiting batches, and drops all others.
    pub(super) fn gather_deadlines(&mut self) {
        let waiting = self.ready.iter().chain(self.backing_off.values());
        self.deadlines = waiting.filter_map(|ready| ready.replies.deadline()).map(Reverse).collect();
    }

    /// Settles the waiting jobs whose deadlines have passed.
    pub(super) fn expire(&mut self, now: Instant) {
        for ready in self.ready.take() {
            if let Some(ready) = self.expire_late(ready, now) {
                self.ready.push_back(ready);
            }
        }
        for (at, ready) in mem::take(&mut self.backing_off) {
            if let Some(ready) = self.expire_late(ready, now) {
                self.backing_off.insert(at, ready);
            }
        }
        self.gather_deadlines();
    }

    /// Expires the late jobs of a waiting batch, and returns the rest. Late jobs of a retry get the error of the attempt before.
    pub(super) fn expire_late(&mut self, ready: ReadyBatch<J>, now: Instant) -> Option<ReadyBatch<J>> {
        let Some(late) = ready.replies.late(now) else { return Some(ready) };
        self.settle_marked(ready, &late, |last, jobs| {
            last.unwrap_or_else(|| JobResults::whole(JobError::Expired, jobs))
        })
    }

    /// Settles the marked jobs of a waiting batch, and returns what is left of it. `results` is told what the attempt before said,
    /// if there was one, and how many jobs they are.
    pub(super) fn settle_marked(
        &mut self,
        ready: ReadyBatch<J>,
        marked: &[bool],
        results: impl FnOnce(Option<JobResults<J>>, usize) -> JobResults<J>,
    ) -> Option<ReadyBatch<J>> {
        let ReadyBatch { batch, replies, opened_at, last, attempts, family } = ready;
        let (id, trigger, attempt, priority) = (batch.id(), batch.trigger(), batch.attempt(), batch.priority());
        let (out, kept) = Part { jobs: batch.into_jobs(), replies }.divide(marked);
        let (out_last, kept_last) = last.map(|last| divide(last, marked)).unzip();
        // Wrapped in `JobResults`, both can be dropped even if dropping an error panics.
        let (out_last, last) = (out_last.map(JobResults::of), kept_last.map(JobResults::of));
        let results = results(out_last, out.jobs.len());
        let history = History { batch: id, attempts, accepted_at: opened_at };
        self.orders.push_back(Order::Settle { replies: out.replies, results, jobs: out.jobs, history });
        if kept.jobs.is_empty() {
            return None;
        }
        let batch = Batch::new(kept.jobs, id, trigger, attempt, priority);
        Some(ReadyBatch { batch, replies: kept.replies, opened_at, last, attempts, family })
    }

    /// Settles the first ready batch if it is a retry that would start too late.
    pub(super) fn settle_late_retry(&mut self, now: Instant) -> bool {
        let Some(first) = self.ready.front() else { return false };
        if self.latest_start(first).is_none_or(|at| now <= at) {
            return false;
        }
        let Some(ReadyBatch { batch, replies, opened_at, last: Some(results), attempts, .. }) = self.ready.pop_front()
        else {
            return false;
        };
        let history = History { batch: batch.id(), attempts, accepted_at: opened_at };
        self.orders.push_back(Order::Settle { replies, results, jobs: batch.into_jobs(), history });
        true
    }

    /// The latest time at which a retry may start.
    pub(super) fn latest_start(&self, ready: &ReadyBatch<J>) -> Option<Instant> {
        let retry = self.rules.retry.as_ref().filter(|_| ready.last.is_some())?;
        retry.latest_start(ready.opened_at)
    }

    /// Settles the waiting jobs whose callers have gone, because others need their room.
    pub(crate) fn sweep_abandoned(&mut self) {
        if !self.rules.skip_abandoned {
            return;
        }
        for ready in self.ready.take() {
            if let Some(ready) = self.without_abandoned(ready) {
                self.ready.push_back(ready);
            }
        }
        for (at, ready) in mem::take(&mut self.backing_off) {
            if let Some(ready) = self.without_abandoned(ready) {
                self.backing_off.insert(at, ready);
            }
        }
    }

    fn without_abandoned(&mut self, ready: ReadyBatch<J>) -> Option<ReadyBatch<J>> {
        let Some(abandoned) = ready.replies.abandoned() else { return Some(ready) };
        self.settle_marked(ready, &abandoned, |_, jobs| JobResults::whole(JobError::Abandoned, jobs))
    }

    /// Settles those jobs of the first ready batch whose callers have gone. Returns whether there were any.
    pub(super) fn skip_abandoned(&mut self) -> bool {
        if !self.rules.skip_abandoned {
            return false;
        }
        let Some(abandoned) = self.ready.front().and_then(|ready| ready.replies.abandoned()) else { return false };
        let Some(ready) = self.ready.pop_front() else { return false };
        if let Some(kept) =
            self.settle_marked(ready, &abandoned, |_, jobs| JobResults::whole(JobError::Abandoned, jobs))
        {
            self.ready.push_front(kept);
        }
        true
    }
}
