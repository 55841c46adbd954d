//! Where a job is on its way.
//!
//! A batch's [`Journey`] makes illegal moves impossible: each stage is a type, has only the moves that exist, and is used up by
//! them.

use std::{fmt, marker::PhantomData};

use super::JobIds;
use crate::error::JobError;

/// Where a job is on its way.
///
/// ```text
/// Waiting ─▶ Buffered ─▶ Ready ─▶ Processing ─▶ Succeeded | Failed
///                          ▲          │
///                          └ Retrying ◀┘      from each of them: Failed | Expired | Abandoned | ShutDown
/// ```
///
/// Accepting a job and putting it in the open batch are one step, so `Buffered` is the first state of an accepted job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum JobState {
    /// It waits for room, and is not accepted yet.
    Waiting,
    /// Accepted, and in the open batch.
    Buffered,
    /// Its batch waits for a worker.
    Ready,
    /// A worker has its batch.
    Processing,
    /// It failed, and will be tried again after a delay.
    Retrying,
    /// Its reply was an output.
    Succeeded,
    /// Its reply was an error.
    Failed,
    /// Its deadline passed before it could be sent.
    Expired,
    /// Its caller had gone before a processor saw it.
    Abandoned,
    /// A shutdown ended it.
    ShutDown,
}

impl JobState {
    /// Its name in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Buffered => "buffered",
            Self::Ready => "ready",
            Self::Processing => "processing",
            Self::Retrying => "retrying",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Expired => "expired",
            Self::Abandoned => "abandoned",
            Self::ShutDown => "shut_down",
        }
    }

    /// What a job can end as.
    pub(crate) const ENDS: [Self; 5] = [Self::Succeeded, Self::Failed, Self::Expired, Self::Abandoned, Self::ShutDown];

    /// Whether the job has got its reply: nothing comes after this.
    pub fn is_final(self) -> bool {
        Self::ENDS.contains(&self)
    }

    /// The end that this reply is.
    pub(crate) fn of_reply<T, E>(reply: &Result<T, JobError<E>>) -> Self {
        match reply {
            Ok(_) => Self::Succeeded,
            Err(JobError::Expired) => Self::Expired,
            Err(JobError::Abandoned) => Self::Abandoned,
            Err(JobError::ShutDown) => Self::ShutDown,
            Err(_) => Self::Failed,
        }
    }
}

impl fmt::Display for JobState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A state between the open batch and the reply.
pub(crate) trait Stage {
    const STATE: JobState;
}

/// In the ready queue.
pub(crate) struct Ready;

/// With a worker.
pub(crate) struct Processing;

/// In its back-off.
pub(crate) struct Retrying;

impl Stage for Ready {
    const STATE: JobState = JobState::Ready;
}

impl Stage for Processing {
    const STATE: JobState = JobState::Processing;
}

impl Stage for Retrying {
    const STATE: JobState = JobState::Retrying;
}

/// A batch on its way, at one stage of it.
pub(crate) struct Journey<S> {
    pub(crate) batch: u64,
    pub(crate) attempt: u32,
    pub(crate) jobs: JobIds,
    stage: PhantomData<S>,
}

impl<S: Stage> Journey<S> {
    fn at(batch: u64, attempt: u32, jobs: JobIds) -> Self {
        Self { batch, attempt, jobs, stage: PhantomData }
    }

    /// These jobs have their replies. What is left goes on.
    pub(crate) fn settle(self, jobs: &JobIds) -> Option<Self> {
        let left = self.jobs.without(jobs);
        if left.is_empty() { None } else { Some(Self::at(self.batch, self.attempt, left)) }
    }
}

impl Journey<Ready> {
    /// A batch has left the open one.
    pub(crate) fn flushed(batch: u64, jobs: JobIds) -> Self {
        Self::at(batch, 1, jobs)
    }

    /// A worker takes it.
    pub(crate) fn start(self) -> Journey<Processing> {
        Journey::at(self.batch, self.attempt, self.jobs)
    }
}

impl Journey<Processing> {
    /// The worker went away before it began.
    pub(crate) fn give_back(self) -> Journey<Ready> {
        Journey::at(self.batch, self.attempt, self.jobs)
    }

    /// It failed, and will be tried again as another batch.
    pub(crate) fn retry(self, batch: u64, attempt: u32) -> Journey<Retrying> {
        Journey::at(batch, attempt, self.jobs)
    }

    /// It was halved.
    pub(crate) fn split(self, into: [u64; 2], first: usize, attempt: u32) -> [Journey<Ready>; 2] {
        let (left, right) = self.jobs.split_at(first);
        [Journey::at(into[0], attempt, left), Journey::at(into[1], attempt, right)]
    }
}

impl Journey<Retrying> {
    /// Its delay is over.
    pub(crate) fn again(self) -> Journey<Ready> {
        Journey::at(self.batch, self.attempt, self.jobs)
    }
}
