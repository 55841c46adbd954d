//! Jobs that share one reply, because they have the same key. Jobs that come while the first one – the leader – is under way
//! follow it; where outcomes are remembered, jobs that come later get the same outcome.
//!
//! Invariants:
//! - A key has at most one leader, or one remembered outcome.
//! - Followers are kept here, under the number of their leader, until the leader is settled.

use std::{
    collections::{HashMap, VecDeque},
    mem,
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::{
    batch::{Replies, SharedKey},
    job::{Job, JobId, JobResult, Key},
};

/// How long outcomes are remembered, and how many.
#[derive(Debug, Clone, Copy)]
pub(super) struct Memory {
    pub(super) time_to_live: Duration,
    pub(super) most: usize,
}

/// A reply that several callers get. Outputs need not be `Sync`, so it is copied under a lock.
pub(super) type SharedReply<J> = Arc<Mutex<JobResult<J>>>;

/// What is known under a job's key.
pub(super) enum Known<J: Job> {
    /// Nothing: the job has to be processed.
    Nothing,
    /// This job is under way, and its reply will do.
    UnderWay(JobId),
    /// The reply.
    Reply(SharedReply<J>),
    /// The key belongs to a job with another content.
    Conflict,
}

pub(super) struct Sharing<J: Job> {
    /// What to remember of outcomes; `None`: nothing.
    memory: Option<Memory>,
    leaders: HashMap<Key, (JobId, Option<u128>)>,
    /// By their leader.
    followers: HashMap<JobId, Leader<J>>,
    outcomes: HashMap<Key, Remembered<J>>,
    oldest: VecDeque<(Instant, Key)>,
    /// Outcomes to be dropped once the lock is free, because dropping them runs user code.
    forgotten: Vec<SharedReply<J>>,
}

struct Leader<J: Job> {
    key: SharedKey,
    followers: Replies<J>,
}

struct Remembered<J: Job> {
    fingerprint: Option<u128>,
    reply: SharedReply<J>,
    until: Instant,
}

impl<J: Job> Sharing<J> {
    pub(super) fn new(memory: Option<Memory>) -> Self {
        Self {
            memory,
            leaders: HashMap::new(),
            followers: HashMap::new(),
            outcomes: HashMap::new(),
            oldest: VecDeque::new(),
            forgotten: Vec::new(),
        }
    }

    pub(super) fn ask(&mut self, shared: &SharedKey, now: Instant) -> Known<J> {
        self.forget(now);
        // Keys whose equality is not stable may leave an entry behind.
        let known = self.leaders.get(&shared.key).filter(|(job, _)| self.leads(*job));
        if let Some((job, fingerprint)) = known {
            return if *fingerprint == shared.fingerprint { Known::UnderWay(*job) } else { Known::Conflict };
        }
        match self.outcomes.get(&shared.key) {
            None => Known::Nothing,
            Some(outcome) if outcome.fingerprint == shared.fingerprint => Known::Reply(Arc::clone(&outcome.reply)),
            Some(_) => Known::Conflict,
        }
    }

    /// From now on no job follows the leader of this key, or any leader. Present followers stay.
    #[cfg(feature = "cache")]
    pub(super) fn detach(&mut self, key: Option<&Key>) {
        match key {
            Some(key) => drop(self.leaders.remove(key)),
            None => self.leaders.clear(),
        }
    }

    /// The job will be processed; others may follow it.
    pub(super) fn lead(&mut self, job: JobId, key: SharedKey) {
        self.leaders.insert(key.key.clone(), (job, key.fingerprint));
        self.followers.insert(job, Leader { key, followers: Replies::default() });
    }

    /// The followers of this job, to add one.
    pub(super) fn followers(&mut self, job: JobId) -> Option<&mut Replies<J>> {
        self.followers.get_mut(&job).map(|leader| &mut leader.followers)
    }

    /// Whether this job follows another.
    pub(super) fn is_follower(&self, job: JobId) -> bool {
        self.followers.values().any(|leader| leader.followers.ids().contains(job))
    }

    /// Whether others may follow it.
    pub(super) fn leads(&self, job: JobId) -> bool {
        self.followers.contains_key(&job)
    }

    /// Whether its outcome is remembered.
    pub(super) fn remembers(&self, reply: &JobResult<J>) -> bool {
        self.memory.is_some() && is_an_outcome::<J>(reply)
    }

    /// The job has been settled, with a reply that is remembered if one is given. Returns its followers.
    pub(super) fn settled(&mut self, job: JobId, reply: Option<SharedReply<J>>, now: Instant) -> Option<Replies<J>> {
        let Leader { key, followers } = self.followers.remove(&job)?;
        // The key may have been detached from this job, and have another leader now.
        if self.leaders.get(&key.key).is_some_and(|(leader, _)| *leader == job) {
            self.leaders.remove(&key.key);
        }
        if let (Some(reply), Some(memory)) = (reply, self.memory) {
            // Rounds of centuries parked.
            let until = now.checked_add(memory.time_to_live).unwrap_or(now);
            if self.oldest.len() >= memory.most {
                self.forget_oldest();
            }
            self.oldest.push_back((until, key.key.clone()));
            let before = self.outcomes.insert(key.key, Remembered { fingerprint: key.fingerprint, reply, until });
            self.forgotten.extend(before.map(|outcome| outcome.reply));
        }
        Some(followers)
    }

    fn forget(&mut self, now: Instant) {
        while self.oldest.front().is_some_and(|(until, _)| *until <= now) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let Some((until, key)) = self.oldest.pop_front() else { return };
        if self.outcomes.get(&key).is_some_and(|outcome| outcome.until == until) {
            self.forgotten.extend(self.outcomes.remove(&key).map(|outcome| outcome.reply));
        }
    }

    /// Outcomes to drop, once the lock is free.
    pub(super) fn take_forgotten(&mut self) -> Vec<SharedReply<J>> {
        mem::take(&mut self.forgotten)
    }
}

/// Whether a processor may have seen the job: what was never sent may be submitted again under the same key.
fn is_an_outcome<J: Job>(reply: &JobResult<J>) -> bool {
    use crate::error::JobError::{
        Abandoned, CircuitOpen, Expired, KeyConflict, NoWorkers, Overloaded, PrepareFailed, ShutDown, TooLarge,
    };
    !matches!(
        reply,
        Err(Abandoned
            | CircuitOpen { .. }
            | Expired
            | KeyConflict
            | NoWorkers
            | Overloaded
            | PrepareFailed(_)
            | ShutDown
            | TooLarge)
    )
}
