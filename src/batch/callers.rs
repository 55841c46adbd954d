//! The callers of a batch's jobs, for the processor to watch.

use std::{
    future::{Future, poll_fn},
    sync::Arc,
    task::{Poll, Waker},
};

use smallvec::SmallVec;

use super::block::Block;
use crate::job::{Job, JobIds};

/// Tells which callers still wait. It owns no replies.
pub(crate) trait CallerWatch: Send + Sync {
    /// The numbers of the jobs.
    fn ids(&self) -> JobIds;

    /// Whether the caller of the job at this position has gone.
    fn is_abandoned(&self, position: usize) -> bool;

    /// Whether every caller has gone. If not, the waker is woken when another one goes.
    fn all_abandoned(&self, waker: &Waker) -> bool;
}

/// The callers of consecutive jobs.
pub(super) enum Callers<J: Job> {
    /// They hold slots of this block.
    Slots { block: Arc<Block<J>>, at: u32, len: u32 },
    /// They sent messages. actix does not tell whether such a caller has gone, so it counts as waiting.
    Messages { first: u64, len: u32 },
}

/// The callers of a batch, in the order of its jobs.
pub(super) struct BatchCallers<J: Job> {
    pub(super) runs: SmallVec<[Callers<J>; 1]>,
    /// Other jobs may follow these, so no caller counts as gone.
    pub(super) followed: bool,
}

impl<J: Job> Callers<J> {
    fn len(&self) -> usize {
        match self {
            Self::Slots { len, .. } | Self::Messages { len, .. } => *len as usize,
        }
    }
}

impl<J: Job> CallerWatch for BatchCallers<J> {
    fn ids(&self) -> JobIds {
        JobIds::of_runs(self.runs.iter().map(|run| {
            let first = match run {
                Callers::Slots { block, at, .. } => block.id(*at).0,
                Callers::Messages { first, .. } => *first,
            };
            first..first + run.len() as u64
        }))
    }

    fn is_abandoned(&self, position: usize) -> bool {
        let mut start = 0;
        for run in &self.runs {
            if position < start + run.len() {
                let Callers::Slots { block, at, .. } = run else { return false };
                return !self.followed && block.is_abandoned(*at as usize + position - start);
            }
            start += run.len();
        }
        false
    }

    fn all_abandoned(&self, waker: &Waker) -> bool {
        !self.followed
            && self.runs.iter().all(|run| match run {
                Callers::Slots { block, at, len } => block.all_abandoned(*at as usize, *len as usize, waker),
                Callers::Messages { .. } => false,
            })
    }
}

/// Resolves when every caller has gone. Without callers to watch it never resolves.
pub(super) fn all_abandoned(watch: Option<Arc<dyn CallerWatch>>) -> impl Future<Output = ()> + Send + 'static {
    poll_fn(move |cx| match &watch {
        Some(watch) if watch.all_abandoned(cx.waker()) => Poll::Ready(()),
        _ => Poll::Pending,
    })
}
