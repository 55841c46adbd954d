//! What happens to a batch after an attempt: retry, split, or settle.

use std::mem;

use tokio::time::Instant;

use super::{
    BreakerState, Dispatch, History, Order, Retry,
    ready_batch::{Part, ReadyBatch, divide},
};
use crate::{
    batch::{Batch, JobResults, Trigger},
    error::JobError,
    job::{Job, JobResult},
};

impl<J: Job> Dispatch<J> {
    /// Retry, split, or settle.
    pub(super) fn judge(&mut self, sent: ReadyBatch<J>, results: JobResults<J>, now: Instant) {
        if let JobResults::TooLarge(_) = results {
            return self.shrink(sent);
        }
        if let Some(error) = results.whole_failure() {
            let error = error.clone();
            return self.failed(sent, error, now);
        }
        match &self.rules.retry {
            Some(_) => self.retry_some(sent, results, now),
            None => self.settle(sent, results),
        }
    }

    pub(super) fn settle(&mut self, sent: ReadyBatch<J>, results: JobResults<J>) {
        let history = History { batch: sent.batch.id(), attempts: sent.attempts, accepted_at: sent.opened_at };
        let (replies, jobs) = (sent.replies, sent.batch.into_jobs());
        self.orders.push_back(Order::Settle { replies, results, jobs, history });
    }

    /// The batch failed whole.
    pub(super) fn failed(&mut self, mut sent: ReadyBatch<J>, error: JobError<J::Error>, now: Instant) {
        let retry = self.rules.retry.as_ref().filter(|_| self.rules.is_worth_retrying(&error));
        let next =
            |retry: &Retry<_>| retry.next(sent.batch.attempt(), sent.opened_at, now, retry.asked_delay([&error]));
        if let Some(at) = retry.and_then(next) {
            sent.last = Some(JobResults::whole(error, sent.batch.len()));
            return self.back_off(sent, at);
        }
        let is_open = self.circuit.as_ref().is_some_and(|circuit| circuit.state() == BreakerState::Open);
        if sent.batch.len() > 1 && self.rules.splits(&error) && !is_open {
            let attempt = sent.batch.attempt() + 1;
            return self.halve(sent, attempt);
        }
        self.settle_whole(sent, error);
    }

    /// The processor refused the batch as too large. Splitting it does not count as an attempt.
    pub(super) fn shrink(&mut self, sent: ReadyBatch<J>) {
        if sent.batch.len() > 1 {
            let attempt = sent.batch.attempt();
            return self.halve(sent, attempt);
        }
        self.settle_whole(sent, JobError::TooLarge);
    }

    pub(super) fn halve(&mut self, sent: ReadyBatch<J>, attempt: u32) {
        let ReadyBatch { batch, replies, opened_at, attempts, family, .. } = sent;
        let (id, jobs, priority) = (batch.id(), batch.len(), batch.priority());
        let sizes = [jobs.div_ceil(2), jobs / 2];
        let first: Vec<bool> = (0..jobs).map(|position| position < sizes[0]).collect();
        let (left, right) = Part { jobs: batch.into_jobs(), replies }.divide(&first);
        let [right, left] = [right, left].map(|Part { jobs, replies }| {
            self.note_deadline(&replies);
            let batch = self.new_batch(jobs, Trigger::Split, attempt, priority);
            let id = batch.id();
            self.ready.push_front(ReadyBatch {
                batch,
                replies,
                opened_at,
                last: None,
                attempts,
                family: family.clone(),
            });
            id
        });
        self.orders.push_back(Order::Split { batch: id, into: [left, right], jobs: sizes, attempt });
    }

    pub(super) fn back_off(&mut self, sent: ReadyBatch<J>, at: Instant) {
        let ReadyBatch { batch, replies, opened_at, last, attempts, family } = sent;
        let (from, jobs, attempt, priority) = (batch.id(), batch.len(), batch.attempt() + 1, batch.priority());
        self.note_deadline(&replies);
        let batch = self.new_batch(batch.into_jobs(), Trigger::Retry, attempt, priority);
        let id = batch.id();
        self.backing_off.insert((at, id), ReadyBatch { batch, replies, opened_at, last, attempts, family });
        self.orders.push_back(Order::Retrying { from, batch: id, jobs, attempt, at });
    }

    /// Some jobs failed: those whose error is worth it are tried again, the others are settled.
    pub(super) fn retry_some(&mut self, sent: ReadyBatch<J>, results: JobResults<J>, now: Instant) {
        let Some(retry) = &self.rules.retry else { return self.settle(sent, results) };
        let results: Vec<_> = results.collect();
        let worth = |result: &JobResult<J>| matches!(result, Err(error) if self.rules.is_worth_retrying(error));
        let again: Vec<_> = results.iter().map(worth).collect();
        if !again.contains(&true) {
            return self.settle(sent, JobResults::of(results));
        }
        let errors = results
            .iter()
            .filter_map(|result| result.as_ref().err())
            .filter(|error| self.rules.is_worth_retrying(error));
        let asked = retry.asked_delay(errors);
        let Some(at) = retry.next(sent.batch.attempt(), sent.opened_at, now, asked) else {
            return self.settle(sent, JobResults::of(results));
        };
        let ReadyBatch { batch, replies, opened_at, attempts, .. } = sent;
        let (id, trigger, attempt, priority) = (batch.id(), batch.trigger(), batch.attempt(), batch.priority());
        let (retried, done) = Part { jobs: batch.into_jobs(), replies }.divide(&again);
        let (failed, results) = divide(results, &again);
        if !done.jobs.is_empty() {
            let Part { jobs, replies } = done;
            let history = History { batch: id, attempts, accepted_at: opened_at };
            let results = JobResults::of(results);
            self.orders.push_back(Order::Settle { replies, results, jobs, history });
        }
        let batch = Batch::new(retried.jobs, id, trigger, attempt, priority);
        let last = Some(JobResults::of(failed));
        self.back_off(ReadyBatch { batch, replies: retried.replies, opened_at, last, attempts, family: None }, at);
    }

    pub(super) fn end_back_offs(&mut self, now: Instant) {
        let later = self.backing_off.split_off(&(now, u64::MAX));
        for ready in mem::replace(&mut self.backing_off, later).into_values().rev() {
            self.orders.push_back(Order::Again { batch: ready.batch.id() });
            self.ready.push_front(ready);
        }
    }

    pub(super) fn settle_whole(&mut self, batch: ReadyBatch<J>, error: JobError<J::Error>) {
        let ReadyBatch { batch, replies, opened_at: accepted_at, attempts, .. } = batch;
        let results = JobResults::whole(error, replies.len());
        let history = History { batch: batch.id(), attempts, accepted_at };
        self.orders.push_back(Order::Settle { replies, results, jobs: batch.into_jobs(), history });
    }
}
