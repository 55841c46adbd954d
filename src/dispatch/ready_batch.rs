//! A batch that waits for a worker, and how it is divided.

use tokio::time::Instant;

use super::family::Family;
use crate::{
    batch::{Batch, JobResults, Replies},
    job::Job,
};

/// A batch that waits for its turn, or for its next attempt.
pub(super) struct ReadyBatch<J: Job> {
    pub(super) batch: Batch<J>,
    pub(super) replies: Replies<J>,
    /// When the first of these jobs was accepted.
    pub(super) opened_at: Instant,
    /// For a retry, the results of the attempt before: the replies, if this attempt comes too late.
    pub(super) last: Option<JobResults<J>>,
    /// The number of the last attempt that was sent; 0 if none was.
    pub(super) attempts: u32,
    /// The batch that it is a part or a retry of, as the breaker sees it.
    pub(super) family: Option<Family>,
}

/// Some of a batch's jobs, and the replies that belong to them.
pub(super) struct Part<J: Job> {
    pub(super) jobs: Vec<J>,
    pub(super) replies: Replies<J>,
}

impl<J: Job> Part<J> {
    /// Divides it in two, in order: the marked jobs, and the rest.
    pub(super) fn divide(self, marked: &[bool]) -> (Self, Self) {
        let (taken, rest) = divide(self.jobs, marked);
        let (taken_replies, rest_replies) = self.replies.partition(|position| marked[position]);
        (Self { jobs: taken, replies: taken_replies }, Self { jobs: rest, replies: rest_replies })
    }
}

/// Divides a list in two, in order: the marked items, and the rest.
pub(super) fn divide<T>(list: impl IntoIterator<Item = T>, marked: &[bool]) -> (Vec<T>, Vec<T>) {
    let (mut taken, mut rest) = (Vec::new(), Vec::new());
    for (item, marked) in list.into_iter().zip(marked) {
        if *marked { taken.push(item) } else { rest.push(item) }
    }
    (taken, rest)
}
