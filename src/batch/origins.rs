//! The spans that jobs were submitted in, while a subscriber listens.

use std::collections::HashSet;

use tracing::{Span, level_filters::LevelFilter};

use crate::job::{JobId, JobIds};

/// The span of a submitter, kept open until its job is settled. `None`: there is none, or nobody listens.
pub(crate) type Origin = Option<Box<Span>>;

/// The span that a job is being submitted in: one load where no subscriber wants the batches' spans.
#[inline]
pub(crate) fn origin() -> Origin {
    if LevelFilter::current() >= LevelFilter::DEBUG { current() } else { None }
}

#[cold]
fn current() -> Origin {
    let span = Span::current();
    if span.is_none() { None } else { Some(Box::new(span)) }
}

/// Jobs, each with the span that it was submitted in.
#[derive(Debug, Default)]
pub(crate) struct Origins(Vec<(JobId, Box<Span>)>);

impl Origins {
    pub(crate) fn push(&mut self, job: JobId, span: Box<Span>) {
        self.0.push((job, span));
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
        let spans = self.0.iter().map(|(_, span)| &**span);
        spans.filter(|span| span.id().is_some_and(|id| seen.insert(id.into_u64()))).cloned().collect()
    }
}
