//! What is asked of each job before it comes in, where the builder wants that: its keys.
//!
//! All of it runs on the submitter's thread, before the lock is taken.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;

use super::{
    caching::ResultCache,
    sharing::{Memory, SharedReply, Sharing},
};
use crate::{
    batch::{Keys, Metadata, SharedKey},
    error::{ConfigError, JobError},
    job::{Fingerprint, Job, JobResult, KeyFn},
    panics::{catch, discard},
};

/// How jobs are told apart and put together by keys; nothing, unless the builder says so.
pub(crate) struct Keying<J: Job> {
    pub(crate) partition: Option<KeyFn<J>>,
    /// How many partitions may be open at once.
    pub(crate) max_partitions: usize,
    pub(crate) sequence: Option<KeyFn<J>>,
    // One of these two at the most.
    pub(crate) coalescing: Option<SharingRules<J>>,
    pub(crate) idempotence: Option<SharingRules<J>>,
    /// How many outcomes are remembered.
    pub(crate) max_outcomes: usize,
    /// Where results are kept.
    pub(crate) cache: Option<Box<dyn ResultCache<J>>>,
}

/// By what jobs share a reply.
pub(crate) struct SharingRules<J: Job> {
    pub(crate) key: KeyFn<J>,
    /// Makes a copy of an output.
    pub(crate) copy: fn(&J::Output) -> J::Output,
    /// Outcomes are remembered, and a key stands for one content only.
    pub(crate) memory: Option<MemoryRules<J>>,
}

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
            cache: None,
        }
    }
}

impl<J: Job> Keying<J> {
    pub(crate) const LONGEST_MEMORY: Duration = Duration::from_secs(366 * 24 * 60 * 60);

    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        let refuse = |key: &str, value: &dyn fmt::Display, allowed: &str| Err(ConfigError::new(key, value, allowed));
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
            let allowed = "left out where `idempotent_by` is set, which coalesces as well";
            return refuse("coalesce_by", &"set", allowed);
        }
        if self.cache.is_some() && self.idempotence.is_some() {
            let allowed = "left out where `idempotent_by` is set, which remembers outcomes itself";
            return refuse("cache", &"set", allowed);
        }
        self.cache.as_ref().map_or(Ok(()), |cache| cache.validate())
    }

    pub(super) fn is_off(&self) -> bool {
        self.partition.is_none() && self.sequence.is_none() && !self.shares() && self.cache.is_none()
    }

    /// Whether jobs share replies.
    pub(crate) fn shares(&self) -> bool {
        self.sharing().is_some()
    }

    pub(super) fn sharing(&self) -> Option<&SharingRules<J>> {
        self.idempotence.as_ref().or(self.coalescing.as_ref())
    }

    /// Where those who share are kept, if anybody does.
    pub(super) fn new_sharing(&self) -> Option<Box<Sharing<J>>> {
        let remembered = self.sharing()?.memory.as_ref();
        let memory =
            remembered.map(|remembered| Memory { time_to_live: remembered.time_to_live, most: self.max_outcomes });
        Some(Box::new(Sharing::new(memory)))
    }

    pub(super) fn keys(&self, job: &J, metadata: &Metadata) -> Keys {
        Keys {
            partition: self.partition.as_ref().and_then(|key| key(job)),
            sequence: self.sequence.as_ref().and_then(|key| key(job)),
            shared: self.sharing().and_then(|sharing| sharing.key(job, metadata)),
        }
    }

    /// A copy of a reply that several callers get.
    pub(super) fn copy(&self, reply: &JobResult<J>) -> JobResult<J> {
        match (reply, self.sharing()) {
            (Ok(output), Some(sharing)) => {
                let copy = catch_unwind(AssertUnwindSafe(|| (sharing.copy)(output)));
                copy.map_err(|panic| {
                    discard(panic);
                    JobError::Lost
                })
            }
            (Ok(_), None) => Err(JobError::Lost),
            (Err(error), _) => Err(error.clone()),
        }
    }

    pub(super) fn share(&self, reply: &JobResult<J>) -> SharedReply<J> {
        Arc::new(Mutex::new(self.copy(reply)))
    }
}

impl<J: Job> SharingRules<J> {
    /// A job with a deadline of its own goes by itself, unless its key stands for one request only.
    fn key(&self, job: &J, metadata: &Metadata) -> Option<SharedKey> {
        match &self.memory {
            None if metadata.deadline.is_some() => None,
            None => Some(SharedKey { key: (self.key)(job)?, fingerprint: None }),
            Some(remembered) => {
                let key = (self.key)(job)?;
                Some(SharedKey { key, fingerprint: catch(|| (remembered.fingerprint)(job)) })
            }
        }
    }
}
