//! A job's metadata: its priority, its deadline, its keys, and the span in which it was submitted. Most jobs have none.

use std::{collections::HashSet, mem};

use tokio::time::Instant;
use tracing::{Span, level_filters::LevelFilter};

use crate::job::{JobId, JobIds, Key, Priority};

/// The metadata of one job.
#[derive(Debug, Clone, Default)]
pub(crate) struct Metadata {
    pub(crate) priority: Priority,
    /// The job is not sent after this instant.
    pub(crate) deadline: Option<Instant>,
    /// The span in which it was submitted, kept open until the job is settled.
    span: Option<Span>,
    pub(crate) keys: Keys,
}

/// The keys that the builder asks for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Keys {
    /// Only jobs of the same partition share a batch.
    pub(crate) partition: Option<Key>,
    /// Jobs with the same sequence key are processed one after the other.
    pub(crate) sequence: Option<Key>,
    /// Jobs with the same shared key share a reply.
    pub(crate) shared: Option<SharedKey>,
}

/// The key by which jobs share a reply.
#[derive(Debug, Clone)]
pub(crate) struct SharedKey {
    pub(crate) key: Key,
    /// A fingerprint of the job's content, if jobs with the same key must have the same content.
    pub(crate) fingerprint: Option<u128>,
}

impl Metadata {
    /// The metadata of a job that sets none: the current span, if there is one. Costs one load while no subscriber wants spans.
    #[inline]
    pub(crate) fn here() -> Option<Box<Self>> {
        if LevelFilter::current() >= LevelFilter::DEBUG { Self::in_current_span() } else { None }
    }

    #[cold]
    fn in_current_span() -> Option<Box<Self>> {
        let span = Span::current();
        if span.is_none() { None } else { Some(Box::new(Self { span: Some(span), ..Self::default() })) }
    }

    /// Whether it is still needed after admission.
    fn is_needed_later(&self) -> bool {
        self.span.is_some() || self.deadline.is_some()
    }
}

/// The metadata of a batch's jobs.
#[derive(Debug, Default)]
pub(crate) struct BatchMetadata {
    jobs: Vec<(JobId, Box<Metadata>)>,
    /// The earliest of their deadlines.
    deadline: Option<Instant>,
}

impl BatchMetadata {
    pub(crate) fn push(&mut self, job: JobId, metadata: Box<Metadata>) {
        if metadata.is_needed_later() {
            self.deadline = earlier(self.deadline, metadata.deadline);
            self.jobs.push((job, metadata));
        }
    }

    pub(crate) fn append(&mut self, mut others: Self) {
        self.deadline = earlier(self.deadline, others.deadline);
        self.jobs.append(&mut others.jobs);
    }

    /// Takes out the metadata of these jobs.
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

    /// The spans, each once.
    pub(crate) fn spans(&self) -> Vec<Span> {
        let mut seen = HashSet::new();
        let spans = self.jobs.iter().filter_map(|(_, metadata)| metadata.span.as_ref());
        spans.filter(|span| span.id().is_some_and(|id| seen.insert(id.into_u64()))).cloned().collect()
    }

    /// The earliest deadline.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    pub(crate) fn deadlines(&self) -> impl Iterator<Item = Instant> + '_ {
        self.jobs.iter().filter_map(|(_, metadata)| metadata.deadline)
    }

    /// The jobs whose deadline has passed.
    pub(crate) fn late(&self, now: Instant) -> HashSet<JobId> {
        let late = |metadata: &Metadata| metadata.deadline.is_some_and(|deadline| deadline <= now);
        self.jobs.iter().filter(|(_, metadata)| late(metadata)).map(|(job, _)| *job).collect()
    }
}

fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    one.into_iter().chain(other).min()
}
