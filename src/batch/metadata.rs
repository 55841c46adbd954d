//! A job's metadata: how urgent it is, its deadline, its keys, and the span that it was submitted in. Most jobs have none.

use std::{collections::HashSet, mem};

use tokio::time::Instant;
use tracing::{Span, level_filters::LevelFilter};

use crate::job::{JobId, JobIds, Key, Priority};

/// The metadata of one job.
#[derive(Debug, Clone, Default)]
pub(crate) struct Metadata {
    pub(crate) priority: Priority,
    /// The job is not sent later than this.
    pub(crate) deadline: Option<Instant>,
    /// The span of its submitter, kept open until the job is settled.
    span: Option<Span>,
    pub(crate) keys: Keys,
}

/// A job's keys, as far as the builder asked for them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Keys {
    /// Only jobs of the same partition share a batch.
    pub(crate) partition: Option<Key>,
    /// Jobs of one sequence are processed one after the other.
    pub(crate) sequence: Option<Key>,
    /// Jobs of one key share a reply.
    pub(crate) shared: Option<SharedKey>,
}

/// The key by which a job shares its reply.
#[derive(Debug, Clone)]
pub(crate) struct SharedKey {
    pub(crate) key: Key,
    /// The job's content, where jobs with the same key must have the same content.
    pub(crate) fingerprint: Option<u128>,
}

impl Metadata {
    /// The default: the span that the job is submitted in, if there is one. One load while no subscriber wants the batches' spans.
    #[inline]
    pub(crate) fn here() -> Option<Box<Self>> {
        if LevelFilter::current() >= LevelFilter::DEBUG { Self::in_current_span() } else { None }
    }

    #[cold]
    fn in_current_span() -> Option<Box<Self>> {
        let span = Span::current();
        if span.is_none() { None } else { Some(Box::new(Self { span: Some(span), ..Self::default() })) }
    }

    /// Whether it has to travel with the batch.
    fn travel(&self) -> bool {
        self.span.is_some() || self.deadline.is_some()
    }
}

/// The metadata of a batch's jobs.
#[derive(Debug, Default)]
pub(crate) struct BatchMetadata {
    jobs: Vec<(JobId, Box<Metadata>)>,
    /// The earliest deadline of them.
    deadline: Option<Instant>,
}

impl BatchMetadata {
    pub(crate) fn push(&mut self, job: JobId, metadata: Box<Metadata>) {
        if metadata.travel() {
            self.deadline = earlier(self.deadline, metadata.deadline);
            self.jobs.push((job, metadata));
        }
    }

    pub(crate) fn append(&mut self, mut others: Self) {
        self.deadline = earlier(self.deadline, others.deadline);
        self.jobs.append(&mut others.jobs);
    }

    /// Those of these jobs, taken out of the others.
    pub(crate) fn take(&mut self, jobs: &JobIds) -> Self {
        let (taken, left) = mem::take(&mut self.jobs).into_iter().partition(|(job, _)| jobs.contains(*job));
        *self = Self::of(left);
        Self::of(taken)
    }

    fn of(jobs: Vec<(JobId, Box<Metadata>)>) -> Self {
        let deadline = jobs.iter().filter_map(|(_, metadata)| metadata.deadline).min();
        Self { jobs, deadline }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    /// Each span once.
    pub(crate) fn spans(&self) -> Vec<Span> {
        let mut seen = HashSet::new();
        let spans = self.jobs.iter().filter_map(|(_, metadata)| metadata.span.as_ref());
        spans.filter(|span| span.id().is_some_and(|id| seen.insert(id.into_u64()))).cloned().collect()
    }

    /// The earliest deadline.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Whose deadline has passed.
    pub(crate) fn late(&self, now: Instant) -> HashSet<JobId> {
        let late = |metadata: &Metadata| metadata.deadline.is_some_and(|deadline| deadline <= now);
        self.jobs.iter().filter(|(_, metadata)| late(metadata)).map(|(job, _)| *job).collect()
    }
}

fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    one.into_iter().chain(other).min()
}
