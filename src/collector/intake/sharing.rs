//! Jobs that share one reply, because they have the same key: those that come while the first is on its way ride on it, and,
//! where outcomes are remembered, those that come later are told the same.
//!
//! Invariants:
//! - A key stands for at most one job on its way, or for one outcome.
//! - Whoever rides is here, under the number of the job that he rides on, until that job is settled.

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

/// A reply that several callers get. Outputs need not be `Sync`, so one at a time copies it.
pub(super) type SharedReply<J> = Arc<Mutex<JobResult<J>>>;

/// What is known under a job's key.
pub(super) enum Known<J: Job> {
    /// Nothing: it goes its way.
    Nothing,
    /// This job is on its way, and its reply will serve.
    OnItsWay(JobId),
    /// The reply.
    Reply(SharedReply<J>),
    /// The key stands for a job that holds something else.
    Conflict,
}

pub(super) struct Sharing<J: Job> {
    /// What to remember of outcomes; `None`: nothing.
    memory: Option<Memory>,
    on_their_way: HashMap<Key, (JobId, Option<u128>)>,
    /// By the job that they ride on.
    followers: HashMap<JobId, Leader<J>>,
    outcomes: HashMap<Key, Remembered<J>>,
    oldest: VecDeque<(Instant, Key)>,
    /// Outcomes that are forgotten, but not yet dropped: that is the user's code, and not for under the lock.
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
            on_their_way: HashMap::new(),
            followers: HashMap::new(),
            outcomes: HashMap::new(),
            oldest: VecDeque::new(),
            forgotten: Vec::new(),
        }
    }

    pub(super) fn ask(&mut self, shared: &SharedKey, now: Instant) -> Known<J> {
        self.forget(now);
        // Where keys are equal only now and then, a job may have left its place under another one's.
        let known = self.on_their_way.get(&shared.key).filter(|(job, _)| self.leads(*job));
        if let Some((job, fingerprint)) = known {
            return if *fingerprint == shared.fingerprint { Known::OnItsWay(*job) } else { Known::Conflict };
        }
        match self.outcomes.get(&shared.key) {
            None => Known::Nothing,
            Some(outcome) if outcome.fingerprint == shared.fingerprint => Known::Reply(Arc::clone(&outcome.reply)),
            Some(_) => Known::Conflict,
        }
    }

    /// Nobody rides any more on what is on its way under this key, or at all. Who rides already, stays.
    #[cfg(feature = "cache")]
    pub(super) fn detach(&mut self, key: Option<&Key>) {
        match key {
            Some(key) => drop(self.on_their_way.remove(key)),
            None => self.on_their_way.clear(),
        }
    }

    /// The job goes its way; others may ride on it.
    pub(super) fn lead(&mut self, job: JobId, key: SharedKey) {
        self.on_their_way.insert(key.key.clone(), (job, key.fingerprint));
        self.followers.insert(job, Leader { key, followers: Replies::default() });
    }

    /// Who rides on this job: the next one is added there.
    pub(super) fn followers(&mut self, job: JobId) -> Option<&mut Replies<J>> {
        self.followers.get_mut(&job).map(|leader| &mut leader.followers)
    }

    /// Whether this job rides on another.
    pub(super) fn is_follower(&self, job: JobId) -> bool {
        self.followers.values().any(|leader| leader.followers.ids().contains(job))
    }

    /// Whether others may ride on it.
    pub(super) fn leads(&self, job: JobId) -> bool {
        self.followers.contains_key(&job)
    }

    /// Whether its outcome is remembered.
    pub(super) fn remembers(&self, reply: &JobResult<J>) -> bool {
        self.memory.is_some() && is_an_outcome::<J>(reply)
    }

    /// The job has been settled, with a reply that is to be remembered if it is given. Returns who rode on it.
    pub(super) fn settled(&mut self, job: JobId, reply: Option<SharedReply<J>>, now: Instant) -> Option<Replies<J>> {
        let Leader { key, followers } = self.followers.remove(&job)?;
        // It may have been parted from its key, which then stands for another.
        if self.on_their_way.get(&key.key).is_some_and(|(leader, _)| *leader == job) {
            self.on_their_way.remove(&key.key);
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

    /// What is to be dropped, once the lock is free.
    pub(super) fn take_forgotten(&mut self) -> Vec<SharedReply<J>> {
        mem::take(&mut self.forgotten)
    }
}

/// Whether a processor may have seen the job: what was never sent may be submitted again under the same key.
fn is_an_outcome<J: Job>(reply: &JobResult<J>) -> bool {
    use crate::error::JobError::{
        Abandoned, CircuitOpen, Expired, KeyConflict, NoWorkers, Overloaded, ShutDown, TooLarge,
    };
    !matches!(
        reply,
        Err(Abandoned | CircuitOpen { .. } | Expired | KeyConflict | NoWorkers | Overloaded | ShutDown | TooLarge)
    )
}
