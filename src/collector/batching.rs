//! Between the intake and dispatch: the user's batchers rearrange the batches that leave.

use std::sync::Arc;

use tracing::warn;

use crate::{
    batch::Sealed,
    batcher::{Batchers, Plan, deal},
    job::Job,
};

pub(super) struct Batching<J> {
    collector: Arc<str>,
    batchers: Batchers<J>,
}

impl<J: Job> Batching<J> {
    pub(super) fn new(collector: Arc<str>, batchers: Batchers<J>) -> Self {
        Self { collector, batchers }
    }

    /// Whether everything stays as it is.
    pub(super) fn is_off(&self) -> bool {
        self.batchers.is_empty()
    }

    /// What the batchers make of a batch, each job with its reply; and how many jobs they left out, which go into a last batch.
    pub(super) fn rearrange(&self, sealed: Sealed<J>) -> (Vec<Sealed<J>>, usize) {
        let plan = self.batchers.plan(&sealed.jobs);
        self.report(&plan);
        let Sealed { jobs, replies, trigger, opened_at, priority } = sealed;
        let replies = replies.deal(&plan.batches);
        let parts = deal(jobs, &plan.batches).into_iter().zip(replies);
        (parts.map(|(jobs, replies)| Sealed { jobs, replies, trigger, opened_at, priority }).collect(), plan.left_out)
    }

    fn report(&self, plan: &Plan) {
        let (collector, left_out, panics) = (&*self.collector, plan.left_out, plan.panics);
        if left_out > 0 {
            warn!(collector, jobs = left_out, "a batcher left jobs out of its batches: they come in a last one");
        }
        if panics > 0 {
            warn!(collector, panics, "a batcher panicked: the jobs go on as they were");
        }
    }
}
