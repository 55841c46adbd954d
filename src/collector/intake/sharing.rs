//! Coalesced jobs: jobs with the same key share one reply. The first one, the leader, is processed. Jobs that are accepted
//! before the leader is settled follow it. If outcomes are remembered, later jobs get the leader's outcome as well.
//!
//! Invariants:
//! - A key has at most one leader or one remembered outcome.
//! - The replies of followers are kept here, by leader, until the leader is settled.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    mem,
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::Instant;

use super::lanes::Lane;
use crate::{
    batch::{Replies, SharedKey},
    job::{Job, JobId, JobResult, Key, Priority},
};

/// How long outcomes are remembered, and how many at most.
#[derive(Debug, Clone, Copy)]
pub(super) struct MemoryLimits {
    pub(super) time_to_live: Duration,
    pub(super) most: usize,
    /// Whether failures are remembered, too.
    pub(super) failures: bool,
}

/// A reply for several callers. An output need not be `Sync`, so copies are made under a lock.
pub(super) type SharedReply<J> = Arc<Mutex<JobResult<J>>>;

/// What is known about a job's key.
pub(super) enum Known<J: Job> {
    /// Nothing: the job has to be processed.
    Nothing,
    /// This leader is not settled yet: the job can follow it.
    Leader(JobId),
    /// The outcome of an earlier job is remembered.
    Reply(SharedReply<J>),
    /// Another job with this key has a different content.
    Conflict,
}

pub(super) struct Sharing<J: Job> {
    /// `None`: no outcomes are remembered.
    memory: Option<MemoryLimits>,
    leaders: HashMap<Key, (JobId, Option<u128>)>,
    /// By leader.
    followers: HashMap<JobId, Leader<J>>,
    /// The deadlines of followers, and the job that they follow.
    deadlines: BTreeSet<(Instant, JobId)>,
    outcomes: HashMap<Key, Remembered<J>>,
    oldest: VecDeque<(Instant, Key)>,
    /// Outcomes to drop once the lock is free, because dropping them runs user code.
    forgotten: Vec<SharedReply<J>>,
}

struct Leader<J: Job> {
    key: SharedKey,
    /// The lane that it joined.
    lane: Lane,
    /// Its own priority, or the highest of its followers.
    priority: Priority,
    followers: Replies<J>,
}

struct Remembered<J: Job> {
    fingerprint: Option<u128>,
    reply: SharedReply<J>,
    until: Instant,
}

impl<J: Job> Sharing<J> {
    pub(super) fn new(memory: Option<MemoryLimits>) -> Self {
        Self {
            memory,
            leaders: HashMap::new(),
            followers: HashMap::new(),
            deadlines: BTreeSet::new(),
            outcomes: HashMap::new(),
            oldest: VecDeque::new(),
            forgotten: Vec::new(),
        }
    }

    pub(super) fn look_up(&mut self, shared: &SharedKey, now: Instant) -> Known<J> {
        self.forget_expired(now);
        // A key whose equality is not stable may have left a stale entry.
        let known = self.leaders.get(&shared.key).filter(|(job, _)| self.leads(*job));
        if let Some((job, fingerprint)) = known {
            return if *fingerprint == shared.fingerprint { Known::Leader(*job) } else { Known::Conflict };
        }
        match self.outcomes.get(&shared.key) {
            None => Known::Nothing,
            Some(outcome) if outcome.fingerprint == shared.fingerprint => Known::Reply(Arc::clone(&outcome.reply)),
            Some(_) => Known::Conflict,
        }
    }

    /// From now on no job follows the leader of this key, or of any key. Its present followers stay.
    #[cfg(feature = "cache")]
    pub(super) fn detach(&mut self, key: Option<&Key>) {
        match key {
            Some(key) => drop(self.leaders.remove(key)),
            None => self.leaders.clear(),
        }
    }

    /// Makes the job the leader of its key: it will be processed, and others may follow it.
    pub(super) fn lead(&mut self, job: JobId, key: SharedKey, lane: Lane) {
        self.leaders.insert(key.key.clone(), (job, key.fingerprint));
        let priority = lane.priority;
        self.followers.insert(job, Leader { key, lane, priority, followers: Replies::default() });
    }

    /// Adds a follower. Returns the leader's lane, and whether the follower is more urgent than the leader and its other followers.
    pub(super) fn follow(&mut self, leader: JobId, follower: Replies<J>, priority: Priority) -> Option<(Lane, bool)> {
        self.deadlines.extend(follower.deadline().map(|deadline| (deadline, leader)));
        let leader = self.followers.get_mut(&leader)?;
        leader.followers.append(follower);
        let is_raised = priority > leader.priority;
        leader.priority = leader.priority.max(priority);
        Some((leader.lane.clone(), is_raised))
    }

    /// Adds jobs that followed another one before.
    pub(super) fn follow_all(&mut self, leader: JobId, followers: Replies<J>) {
        self.deadlines.extend(followers.deadlines().map(|deadline| (deadline, leader)));
        if let Some(leader) = self.followers.get_mut(&leader) {
            leader.followers.append(followers);
        }
    }

    /// When the next deadline of a follower passes.
    pub(super) fn due(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// The leaders of which a follower is late. Each deadline is told once.
    pub(super) fn late(&mut self, now: Instant) -> Vec<JobId> {
        let mut late = Vec::new();
        while self.due().is_some_and(|due| due <= now) {
            late.extend(self.deadlines.pop_first().map(|(_, leader)| leader));
        }
        late
    }

    /// Removes the late followers of this leader.
    pub(super) fn take_late(&mut self, leader: JobId, now: Instant) -> Option<Replies<J>> {
        let leader = self.followers.get_mut(&leader)?;
        let late = leader.followers.late(now)?;
        let (late, live) = mem::take(&mut leader.followers).partition(|position| late[position]);
        leader.followers = live;
        Some(late)
    }

    /// If some followers of this leader have time left, ends the leader. Returns the highest priority of them, those that are late, and
    /// those that are not. The key is led by the first of these from now on.
    pub(super) fn pass_on(&mut self, leader: JobId, now: Instant) -> Option<(Priority, Replies<J>, Replies<J>)> {
        if !self.can_pass_on(leader, now) {
            return None;
        }
        let Leader { priority, followers, .. } = self.end(leader)?;
        let late = followers.late(now);
        let (late, live) = followers.partition(|position| late.as_ref().is_some_and(|late| late[position]));
        Some((priority, late, live))
    }

    /// Whether a follower of this leader has time left.
    pub(super) fn can_pass_on(&self, leader: JobId, now: Instant) -> bool {
        let followers = self.followers.get(&leader).map(|leader| &leader.followers);
        followers.is_some_and(|all| all.len() > 0 && all.late(now).is_none_or(|late| late.contains(&false)))
    }

    fn end(&mut self, job: JobId) -> Option<Leader<J>> {
        let leader = self.followers.remove(&job)?;
        for deadline in leader.followers.deadlines() {
            self.deadlines.remove(&(deadline, job));
        }
        // The key may have been detached from this job and may have another leader now.
        if self.leaders.get(&leader.key.key).is_some_and(|(leads, _)| *leads == job) {
            self.leaders.remove(&leader.key.key);
        }
        Some(leader)
    }

    /// Whether this job follows another.
    pub(super) fn is_follower(&self, job: JobId) -> bool {
        self.followers.values().any(|leader| leader.followers.ids().contains(job))
    }

    /// Whether this job is a leader.
    pub(super) fn leads(&self, job: JobId) -> bool {
        self.followers.contains_key(&job)
    }

    /// Whether a leader's reply is to be remembered.
    pub(super) fn remembers(&self, reply: &JobResult<J>) -> bool {
        self.memory.is_some_and(|memory| memory.failures || reply.is_ok()) && is_an_outcome::<J>(reply)
    }

    /// Ends the leader, which is about to be settled, and returns its followers. Remembers the reply if there is one.
    pub(super) fn settled(&mut self, job: JobId, reply: Option<SharedReply<J>>, now: Instant) -> Option<Replies<J>> {
        let Leader { key, followers, .. } = self.end(job)?;
        if let (Some(reply), Some(memory)) = (reply, self.memory) {
            // The longest setting is a year, so this cannot overflow in practice.
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

    /// Forgets the outcome of this key. A job of it that is not settled yet goes on, and its outcome will be remembered.
    pub(super) fn forget(&mut self, key: &Key) {
        self.forgotten.extend(self.outcomes.remove(key).map(|outcome| outcome.reply));
    }

    fn forget_expired(&mut self, now: Instant) {
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

/// Whether a processor may have seen the job. Otherwise the job may be submitted again under the same key.
fn is_an_outcome<J: Job>(reply: &JobResult<J>) -> bool {
    use crate::error::JobError::{
        Abandoned, CircuitOpen, EarlierFailed, Expired, KeyConflict, NoWorkers, Overloaded, PrepareFailed, ShutDown,
        TooLarge,
    };
    !matches!(
        reply,
        Err(Abandoned
            | CircuitOpen { .. }
            | EarlierFailed
            | Expired
            | KeyConflict
            | NoWorkers
            | Overloaded
            | PrepareFailed(_)
            | ShutDown
            | TooLarge)
    )
}
