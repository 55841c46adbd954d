//! What a job brings along besides itself: how urgent it is, until when it is wanted, whose it is, and where it came from. Most
//! jobs bring nothing.

use std::collections::HashSet;

use tokio::time::Instant;
use tracing::{Span, level_filters::LevelFilter};

use crate::job::{JobId, JobIds, Key, Priority};

/// What one job brings along.
#[derive(Debug, Clone, Default)]
pub(crate) struct Terms {
    pub(crate) priority: Priority,
    /// Sent later than this it is worth nothing.
    pub(crate) deadline: Option<Instant>,
    /// The span of its submitter, kept open until the job is settled.
    span: Option<Span>,
    pub(crate) keys: Keys,
}

/// A job's keys, as far as the builder asked for them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Keys {
    /// Jobs of one partition share batches with nobody else.
    pub(crate) partition: Option<Key>,
    /// Jobs of one sequence are processed one after the other.
    pub(crate) sequence: Option<Key>,
    /// Jobs of one key share a reply.
    pub(crate) shared: Option<SharedKey>,
}

/// By what a job shares its reply.
#[derive(Debug, Clone)]
pub(crate) struct SharedKey {
    pub(crate) key: Key,
    /// What the job holds, where another job under the same key has to hold the same.
    pub(crate) fingerprint: Option<u128>,
}

impl Terms {
    /// Those of a job that says nothing itself: the span that it is being submitted in. One load where no subscriber wants the
    /// batches' spans.
    #[inline]
    pub(crate) fn here() -> Option<Box<Self>> {
        if LevelFilter::current() >= LevelFilter::DEBUG { Self::in_current_span() } else { None }
    }

    #[cold]
    fn in_current_span() -> Option<Box<Self>> {
        let span = Span::current();
        if span.is_none() { None } else { Some(Box::new(Self { span: Some(span), ..Self::default() })) }
    }

    /// Whether anything of it matters once the job has joined an open batch.
    fn travel(&self) -> bool {
        self.span.is_some() || self.deadline.is_some()
    }
}

/// Jobs that have something along, each with it.
#[derive(Debug, Default)]
pub(crate) struct TermsOf(Vec<(JobId, Box<Terms>)>);

impl TermsOf {
    pub(crate) fn push(&mut self, job: JobId, terms: Box<Terms>) {
        if terms.travel() {
            self.0.push((job, terms));
        }
    }

    pub(crate) fn append(&mut self, mut others: Self) {
        self.0.append(&mut others.0);
    }

    /// Those of these jobs, taken out of the others.
    pub(crate) fn take(&mut self, jobs: &JobIds) -> Self {
        let (taken, left) = std::mem::take(&mut self.0).into_iter().partition(|(job, _)| jobs.contains(*job));
        self.0 = left;
        Self(taken)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each span once.
    pub(crate) fn spans(&self) -> Vec<Span> {
        let mut seen = HashSet::new();
        let spans = self.0.iter().filter_map(|(_, terms)| terms.span.as_ref());
        spans.filter(|span| span.id().is_some_and(|id| seen.insert(id.into_u64()))).cloned().collect()
    }

    /// The earliest deadline.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.0.iter().filter_map(|(_, terms)| terms.deadline).min()
    }

    /// Whose deadline has passed.
    pub(crate) fn late(&self, now: Instant) -> HashSet<JobId> {
        let late = |terms: &Terms| terms.deadline.is_some_and(|deadline| deadline <= now);
        self.0.iter().filter(|(_, terms)| late(terms)).map(|(job, _)| *job).collect()
    }
}
