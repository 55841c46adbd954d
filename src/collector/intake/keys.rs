//! The keys that are computed for each job before admission, and the settings that ask for them.
//!
//! Key functions run on the submitter's thread, before the lock is taken.

use std::{fmt, sync::Arc, time::Duration};

use parking_lot::Mutex;

use super::{
    caching::ResultCache,
    sharing::{MemoryLimits, SharedReply, Sharing},
};
use crate::{
    batch::{Keys, SharedKey},
    config::CollectorConfig,
    error::{ConfigError, JobError},
    job::{Fingerprint, Job, JobResult, KeyFn},
    panics::catch,
};

/// Which keys jobs have, and what for. By default they have none.
pub(crate) struct Keying<J: Job> {
    pub(crate) partition: Option<KeyFn<J>>,
    /// How many partitions may have an open batch at once.
    pub(crate) max_partitions: usize,
    pub(crate) sequence: Option<KeyFn<J>>,
    // At most one of these two is set.
    pub(crate) coalescing: Option<SharingRules<J>>,
    pub(crate) idempotence: Option<SharingRules<J>>,
    /// How many outcomes are remembered at most.
    pub(crate) max_outcomes: usize,
    /// Whether `idempotent_by` remembers failures.
    pub(crate) remember_failures: bool,
    /// Whether a job that failed fails those that wait behind it in its sequence.
    pub(crate) fail_following: bool,
    /// The result cache.
    pub(crate) cache: Option<Box<dyn ResultCache<J>>>,
}

/// How jobs with the same key share a reply.
pub(crate) struct SharingRules<J: Job> {
    pub(crate) key: KeyFn<J>,
    /// Makes a copy of an output.
    pub(crate) copy: fn(&J::Output) -> J::Output,
    /// Set for idempotency keys: outcomes are remembered, and all jobs with one key must have the same content.
    pub(crate) memory: Option<MemoryRules<J>>,
}

/// For how long outcomes are remembered, and how a job's content is compared.
pub(crate) struct MemoryRules<J> {
    pub(crate) time_to_live: Duration,
    pub(crate) fingerprint: Fingerprint<J>,
}

impl<J: Job> Default for Keying<J> {
    fn default() -> Self {
        Self {
            partition: None,
            max_partitions: 1_000,
            sequence: None,
            coalescing: None,
            idempotence: None,
            max_outcomes: 100_000,
            remember_failures: true,
            fail_following: false,
            cache: None,
        }
    }
}

impl<J: Job> Keying<J> {
    pub(crate) const LONGEST_MEMORY: Duration = Duration::from_secs(366 * 24 * 60 * 60);

    pub(crate) fn validate(&self, config: &CollectorConfig) -> Result<(), ConfigError> {
        let refuse = |key: &str, value: &dyn fmt::Display, allowed: &str| Err(ConfigError::new(key, value, allowed));
        if let Some(jobs) = config.max_pending_per_partition
            && self.partition.is_none()
        {
            return refuse("max_pending_per_partition", &jobs, "unset without `partition_by`");
        }
        if self.max_partitions == 0 {
            return refuse("max_partitions", &0, "at least 1");
        }
        if self.max_outcomes == 0 {
            return refuse("max_outcomes", &0, "at least 1");
        }
        let memory = self.idempotence.as_ref().and_then(|rules| rules.memory.as_ref());
        if let Some(MemoryRules { time_to_live, .. }) = memory
            && (time_to_live.is_zero() || *time_to_live > Self::LONGEST_MEMORY)
        {
            let value = format_args!("{time_to_live:?}").to_string();
            return refuse("idempotent_by.time_to_live", &value, "more than 0 and at most 366 days");
        }
        if self.coalescing.is_some() && self.idempotence.is_some() {
            let allowed = "unset when `idempotent_by` is set, which already coalesces jobs";
            return refuse("coalesce_by", &"set", allowed);
        }
        if self.cache.is_some() && self.idempotence.is_some() {
            let allowed = "unset when `idempotent_by` is set, which already remembers outcomes";
            return refuse("cache", &"set", allowed);
        }
        self.cache.as_ref().map_or(Ok(()), |cache| cache.validate())
    }

    pub(super) fn is_off(&self) -> bool {
        self.partition.is_none() && self.sequence.is_none() && !self.shares() && self.cache.is_none()
    }

    /// Whether jobs with the same key share a reply.
    pub(crate) fn shares(&self) -> bool {
        self.sharing().is_some()
    }

    pub(super) fn sharing(&self) -> Option<&SharingRules<J>> {
        self.idempotence.as_ref().or(self.coalescing.as_ref())
    }

    /// The state for jobs that share replies; `None` if no jobs do.
    pub(super) fn new_sharing(&self) -> Option<Box<Sharing<J>>> {
        let rules = self.sharing()?.memory.as_ref();
        let memory = rules.map(|rules| MemoryLimits {
            time_to_live: rules.time_to_live,
            most: self.max_outcomes,
            failures: self.remember_failures,
        });
        Some(Box::new(Sharing::new(memory)))
    }

    pub(super) fn keys(&self, job: &J) -> Keys {
        Keys {
            partition: self.partition.as_ref().and_then(|key| key(job)),
            sequence: self.sequence.as_ref().and_then(|key| key(job)),
            shared: self.sharing().and_then(|sharing| sharing.shared_key(job)),
        }
    }

    /// A copy of a reply for another caller; `Lost` if the user's `Clone` panics.
    pub(super) fn copy(&self, reply: &JobResult<J>) -> JobResult<J> {
        match (reply, self.sharing()) {
            (Ok(output), Some(sharing)) => catch(|| (sharing.copy)(output)).ok_or(JobError::Lost),
            (Ok(_), None) => Err(JobError::Lost),
            (Err(error), _) => Err(error.clone()),
        }
    }

    pub(super) fn shared_copy(&self, reply: &JobResult<J>) -> SharedReply<J> {
        Arc::new(Mutex::new(self.copy(reply)))
    }
}

impl<J: Job> SharingRules<J> {
    /// The key by which the job shares its reply.
    fn shared_key(&self, job: &J) -> Option<SharedKey> {
        let fingerprint = |rules: &MemoryRules<J>| catch(|| (rules.fingerprint)(job));
        Some(SharedKey { key: (self.key)(job)?, fingerprint: self.memory.as_ref().and_then(fingerprint) })
    }
}
