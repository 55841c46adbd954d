//! Many jobs, their replies in order.

use std::{
    collections::VecDeque,
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use futures_util::{Stream, stream::FusedStream};

use super::{Collector, SubmitJob};
use crate::{
    collector::Submit,
    job::{Job, JobResult},
};

/// The replies to the jobs of an iterator, in its order; made by [`Collector::submit_all`].
///
/// Dropping it abandons the jobs whose replies it has not yet yielded.
#[must_use = "a stream does nothing unless it is polled"]
pub struct SubmitAll<J: Job, I> {
    collector: Collector<J>,
    jobs: Option<I>,
    submitted: VecDeque<Submit<J>>,
    ahead: usize,
}

impl<J: Job, I: Iterator<Item: Into<SubmitJob<J>>>> SubmitAll<J, I> {
    pub(super) fn new(collector: Collector<J>, jobs: I) -> Self {
        let ahead = collector.shared.ahead;
        Self { collector, jobs: Some(jobs), submitted: VecDeque::new(), ahead }
    }

    fn submit_more(&mut self) {
        while let Some(jobs) = self.jobs.as_mut().filter(|_| self.submitted.len() < self.ahead) {
            match jobs.next() {
                Some(job) => self.submitted.push_back(self.collector.submit(job)),
                None => self.jobs = None,
            }
        }
    }
}

impl<J: Job, I: Iterator<Item: Into<SubmitJob<J>>> + Unpin> Stream for SubmitAll<J, I> {
    type Item = JobResult<J>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        this.submit_more();
        let Some(first) = this.submitted.front_mut() else { return Poll::Ready(None) };
        let Poll::Ready(reply) = Pin::new(first).poll(cx) else { return Poll::Pending };
        this.submitted.pop_front();
        Poll::Ready(Some(reply))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let (least, most) = self.jobs.as_ref().map_or((0, Some(0)), Iterator::size_hint);
        let submitted = self.submitted.len();
        (least.saturating_add(submitted), most.and_then(|most| most.checked_add(submitted)))
    }
}

impl<J: Job, I: Iterator<Item: Into<SubmitJob<J>>> + Unpin> FusedStream for SubmitAll<J, I> {
    fn is_terminated(&self) -> bool {
        self.jobs.is_none() && self.submitted.is_empty()
    }
}

impl<J: Job, I> fmt::Debug for SubmitAll<J, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubmitAll").field("submitted", &self.submitted.len()).finish_non_exhaustive()
    }
}
