//! The journey of a batch from the open batch to its replies.
//!
//! Each stage is a type with only the moves that exist from it, and a move consumes the stage. So an illegal move does not compile.

use std::marker::PhantomData;

use super::{JobIds, JobState};

/// A stage between the open batch and the reply.
pub(crate) trait Stage {
    const STATE: JobState;
}

/// In the ready queue.
pub(crate) struct Ready;

/// With a worker.
pub(crate) struct Processing;

/// Waiting out the back-off before its next attempt.
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

/// A batch at one stage of its journey.
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

    /// Removes jobs that have their replies. `None` if no job is left.
    pub(crate) fn settle(self, jobs: &JobIds) -> Option<Self> {
        let rest = self.jobs.without(jobs);
        if rest.is_empty() { None } else { Some(Self::at(self.batch, self.attempt, rest)) }
    }
}

impl Journey<Ready> {
    /// The batch has left the intake.
    pub(crate) fn flushed(batch: u64, jobs: JobIds) -> Self {
        Self::at(batch, 1, jobs)
    }

    /// A worker takes it.
    pub(crate) fn start(self) -> Journey<Processing> {
        Journey::at(self.batch, self.attempt, self.jobs)
    }
}

impl Journey<Processing> {
    /// The worker went away before it began the batch.
    pub(crate) fn give_back(self) -> Journey<Ready> {
        Journey::at(self.batch, self.attempt, self.jobs)
    }

    /// The batch failed and will be tried again, under this number.
    pub(crate) fn retry(self, batch: u64, attempt: u32) -> Journey<Retrying> {
        Journey::at(batch, attempt, self.jobs)
    }

    /// The batch was halved.
    pub(crate) fn split(self, into: [u64; 2], first: usize, attempt: u32) -> [Journey<Ready>; 2] {
        let (left, right) = self.jobs.split_at(first);
        [Journey::at(into[0], attempt, left), Journey::at(into[1], attempt, right)]
    }
}

impl Journey<Retrying> {
    /// The back-off is over.
    pub(crate) fn again(self) -> Journey<Ready> {
        Journey::at(self.batch, self.attempt, self.jobs)
    }
}
