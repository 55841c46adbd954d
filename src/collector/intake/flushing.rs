//! What decides when the open batch leaves: the flush policy, and the weights that it may read.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use tracing::warn;

use super::Intake;
use crate::{
    config::CollectorConfig,
    error::ConfigError,
    flush::{FlushPolicy, Strategy},
    job::Job,
    observe::log_submit,
    panics::discard,
};

/// Computes a job's weight.
pub(crate) type Weigher<J> = Box<dyn Fn(&J) -> u64 + Send + Sync>;

/// When the open batch leaves. Without a policy of the user's own, the configured strategy decides.
pub(crate) struct Flushing<J> {
    /// The user's own policy.
    pub(crate) policy: Option<Box<dyn FlushPolicy>>,
    pub(crate) weigher: Option<Weigher<J>>,
    /// How much longer an open batch waits for a free worker than one of the next higher priority does.
    pub(crate) ageing: Duration,
}

impl<J> Flushing<J> {
    /// Refuses what needs weights if no weight function is set.
    pub(crate) fn validate(&self, config: &CollectorConfig) -> Result<(), ConfigError> {
        if let Some(weight) = config.max_pending_weight
            && self.weigher.is_none()
        {
            let allowed = "unset without `.weigh(|job| ..)`, which computes a job's weight";
            return Err(ConfigError::new("max_pending_weight", weight, allowed));
        }
        let by_weight = self.policy.as_ref().map_or(config.strategy == Strategy::Weight, FlushPolicy::reads_weight);
        if by_weight && self.weigher.is_none() {
            let allowed =
                "set, because the flush policy reads weights: add `.weigh(|job| ..)`, which computes a job's weight";
            return Err(ConfigError::new("weigh", "unset", allowed));
        }
        Ok(())
    }
}

impl<J: Job> Intake<J> {
    #[inline]
    pub(super) fn weigh(&self, job: &J) -> u64 {
        match &self.weigher {
            Some(weigher) => self.weigh_by(weigher, job),
            None => 0,
        }
    }

    /// If the user's function panics, the job counts as the heaviest possible, and so goes alone.
    #[inline(never)]
    fn weigh_by(&self, weigher: &Weigher<J>, job: &J) -> u64 {
        catch_unwind(AssertUnwindSafe(|| weigher(job))).unwrap_or_else(|panic| {
            discard(panic);
            log_submit(|| {
                warn!(collector = &*self.collector, "weighing a job panicked: it counts as the heaviest");
            });
            u64::MAX
        })
    }
}
