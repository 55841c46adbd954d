//! The callers of a batch's jobs, as the processor sees them.

use std::{
    future::{Future, poll_fn},
    sync::Arc,
    task::{Poll, Waker},
};

use smallvec::SmallVec;

use super::block::Block;
use crate::job::{Job, JobIds};

/// Which callers still wait. It holds no reply.
pub(crate) trait Watch: Send + Sync {
    fn ids(&self) -> JobIds;

    /// Whether the caller of the job at this position has gone.
    fn is_gone(&self, position: usize) -> bool;

    /// Whether every caller has gone. If not, the waker is woken when another one goes.
    fn all_gone(&self, waker: &Waker) -> bool;
}

/// Consecutive jobs.
pub(super) enum Callers<J: Job> {
    /// Their callers hold slots of this block.
    Slots { block: Arc<Block<J>>, at: u32, len: u32 },
    /// They came as messages, whose senders cannot be watched: they count as there.
    Messages { first: u64, len: u32 },
}

/// The callers of a batch, in the order of its jobs.
pub(super) struct BatchCallers<J: Job> {
    pub(super) runs: SmallVec<[Callers<J>; 1]>,
    /// Other callers may follow the jobs, so that no caller counts as gone.
    pub(super) followed: bool,
}

impl<J: Job> Callers<J> {
    fn len(&self) -> usize {
        match self {
            Self::Slots { len, .. } | Self::Messages { len, .. } => *len as usize,
        }
    }
}

impl<J: Job> Watch for BatchCallers<J> {
    fn ids(&self) -> JobIds {
        JobIds::of_runs(self.runs.iter().map(|run| {
            let first = match run {
                Callers::Slots { block, at, .. } => block.id(*at).0,
                Callers::Messages { first, .. } => *first,
            };
            first..first + run.len() as u64
        }))
    }

    fn is_gone(&self, position: usize) -> bool {
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

    fn all_gone(&self, waker: &Waker) -> bool {
        !self.followed
            && self.runs.iter().all(|run| match run {
                Callers::Slots { block, at, len } => block.all_abandoned(*at as usize, *len as usize, waker),
                Callers::Messages { .. } => false,
            })
    }
}

/// Resolves when every caller has gone; never without callers to watch.
pub(super) fn all_gone(watch: Option<Arc<dyn Watch>>) -> impl Future<Output = ()> + Send + 'static {
    poll_fn(move |cx| match &watch {
        Some(watch) if watch.all_gone(cx.waker()) => Poll::Ready(()),
        _ => Poll::Pending,
    })
}
