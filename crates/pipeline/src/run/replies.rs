//! The replies of the sinks, in the order of the records.

use std::{
    collections::VecDeque,
    future::{Future, poll_fn},
    pin::Pin,
    task::{Context, Poll},
};

use actix_batch::{JobError, Submit};

use crate::{error::RunError, outlet::is_rejection, record::Record, sink::SinkError};

/// Replies that are awaited.
pub(super) struct Replies<T: Send + Sync + 'static>(VecDeque<Waiting<T>>);

enum Waiting<T: Send + Sync + 'static> {
    One(Submit<Record<T>>),
    /// To several sinks; the replies that have come are taken out, and what they said is kept.
    Several(Vec<Submit<Record<T>>>, Ending),
    /// It was settled by an earlier run.
    Skipped,
}

/// How a record has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Ending {
    Written,
    Rejected,
}

/// How many records have settled since the last time, and how.
#[derive(Debug, Default)]
pub(super) struct Endings {
    pub(super) written: u64,
    pub(super) rejected: u64,
    pub(super) skipped: u64,
    /// No record is to blame for this one.
    pub(super) failure: Option<RunError>,
}

impl Endings {
    pub(super) fn settled(&self) -> u64 {
        self.written + self.rejected + self.skipped
    }
}

impl<T: Send + Sync + 'static> Replies<T> {
    pub(super) fn new() -> Self {
        Self(VecDeque::new())
    }

    /// The replies to one record: one for each sink that it was sent to.
    pub(super) fn push(&mut self, mut replies: Vec<Submit<Record<T>>>) {
        self.0.push_back(match replies.len() {
            0 => Waiting::Skipped,
            1 => replies.pop().map_or(Waiting::Skipped, Waiting::One),
            _ => Waiting::Several(replies, Ending::Written),
        });
    }

    /// The replies to a record that is rejected whatever they say.
    pub(super) fn push_rejected(&mut self, replies: Vec<Submit<Record<T>>>) {
        self.0.push_back(Waiting::Several(replies, Ending::Rejected));
    }

    pub(super) fn push_one(&mut self, reply: Option<Submit<Record<T>>>) {
        self.0.push_back(reply.map_or(Waiting::Skipped, Waiting::One));
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Waits until the first record has settled, and takes all that have settled behind it.
    pub(super) async fn settle(&mut self) -> Endings {
        poll_fn(|cx| self.poll(cx)).await
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Endings> {
        let mut endings = Endings::default();
        while let Some(first) = self.0.front_mut() {
            let Poll::Ready(ending) = first.poll(cx) else { break };
            self.0.pop_front();
            match ending {
                Ok(Some(Ending::Written)) => endings.written += 1,
                Ok(Some(Ending::Rejected)) => endings.rejected += 1,
                Ok(None) => endings.skipped += 1,
                Err(failure) => {
                    endings.failure = Some(failure);
                    break;
                }
            }
        }
        if endings.settled() > 0 || endings.failure.is_some() { Poll::Ready(endings) } else { Poll::Pending }
    }
}

impl<T: Send + Sync + 'static> Waiting<T> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Ending>, RunError>> {
        match self {
            Self::Skipped => Poll::Ready(Ok(None)),
            Self::One(reply) => Pin::new(reply).poll(cx).map(|reply| ending(reply).map(Some)),
            Self::Several(replies, worst) => {
                while let Some(reply) = replies.last_mut() {
                    let Poll::Ready(reply) = Pin::new(reply).poll(cx) else { return Poll::Pending };
                    replies.pop();
                    match ending(reply) {
                        Ok(ending) => *worst = ending.max(*worst),
                        Err(failure) => return Poll::Ready(Err(failure)),
                    }
                }
                Poll::Ready(Ok(Some(*worst)))
            }
        }
    }
}

fn ending(reply: Result<(), JobError<SinkError>>) -> Result<Ending, RunError> {
    match reply {
        Ok(()) => Ok(Ending::Written),
        Err(error) if is_rejection(&error) => Ok(Ending::Rejected),
        Err(error) => Err(failure(&error)),
    }
}

fn failure(error: &JobError<SinkError>) -> RunError {
    RunError::Sink(match error.processor_error() {
        Some(error) => SinkError::new(error.kind(), error.to_string()),
        None => SinkError::temporary(error.to_string()),
    })
}
