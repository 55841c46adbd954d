//! The wait queue: jobs that wait for room, in the order of arrival.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::Arc,
};

use tokio::time::Instant;

use crate::{
    batch::{Block, Metadata, Replies},
    job::{Job, JobId, Key},
};

/// A job whose submitter waits for room.
pub(super) struct Waiting<J: Job> {
    pub(super) id: JobId,
    pub(super) job: J,
    pub(super) weight: u64,
    pub(super) metadata: Option<Box<Metadata>>,
    pub(super) block: Arc<Block<J>>,
    pub(super) at: u32,
}

impl<J: Job> Waiting<J> {
    /// The job and its reply.
    pub(super) fn into_parts(self) -> (J, Replies<J>) {
        let mut replies = Replies::default();
        replies.push_slot(&self.block, self.at);
        if let Some(metadata) = self.metadata {
            replies.push_metadata(self.id, metadata);
        }
        (self.job, replies)
    }
}

pub(super) struct WaitQueue<J: Job> {
    /// `None`: a gap, because the submitter has gone.
    places: VecDeque<(JobId, Option<Waiting<J>>)>,
    gaps: usize,
    deadlines: BTreeSet<(Instant, JobId)>,
    /// By the key that they share a reply by.
    shared: HashMap<Key, BTreeSet<JobId>>,
}

impl<J: Job> Default for WaitQueue<J> {
    fn default() -> Self {
        Self { places: VecDeque::new(), gaps: 0, deadlines: BTreeSet::new(), shared: HashMap::new() }
    }
}

impl<J: Job> WaitQueue<J> {
    pub(super) fn len(&self) -> usize {
        self.places.len() - self.gaps
    }

    pub(super) fn join(&mut self, waiting: Waiting<J>) {
        self.index(&waiting);
        self.places.push_back((waiting.id, Some(waiting)));
    }

    /// Puts back the job that was the first one.
    pub(super) fn rejoin(&mut self, waiting: Waiting<J>) {
        self.index(&waiting);
        self.places.push_front((waiting.id, Some(waiting)));
    }

    fn index(&mut self, waiting: &Waiting<J>) {
        if let Some(deadline) = deadline(waiting) {
            self.deadlines.insert((deadline, waiting.id));
        }
        if let Some(key) = shared(waiting) {
            self.shared.entry(key.clone()).or_default().insert(waiting.id);
        }
    }

    /// Removes the jobs that share their reply by this key, in their order.
    pub(super) fn leave_with(&mut self, key: &Key) -> Vec<Waiting<J>> {
        let ids = self.shared.remove(key).unwrap_or_default();
        ids.into_iter().filter_map(|id| self.leave(id)).collect()
    }

    /// Removes the first job.
    pub(super) fn next(&mut self) -> Option<Waiting<J>> {
        while let Some((_, waiting)) = self.places.pop_front() {
            match waiting {
                Some(waiting) => return Some(self.unindexed(waiting)),
                None => self.gaps -= 1,
            }
        }
        None
    }

    /// Removes a job, wherever it is in the queue.
    pub(super) fn leave(&mut self, id: JobId) -> Option<Waiting<J>> {
        let place = self.places.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        let waiting = self.places[place].1.take()?;
        self.gaps += 1;
        // Gaps are closed once they are more than half of the queue. So leaving is cheap, and gaps do not accumulate.
        if self.gaps * 2 > self.places.len() {
            self.places.retain(|(_, waiting)| waiting.is_some());
            self.gaps = 0;
        }
        Some(self.unindexed(waiting))
    }

    fn unindexed(&mut self, waiting: Waiting<J>) -> Waiting<J> {
        if let Some(deadline) = deadline(&waiting) {
            self.deadlines.remove(&(deadline, waiting.id));
        }
        if let Some(key) = shared(&waiting)
            && let Some(ids) = self.shared.get_mut(key)
        {
            ids.remove(&waiting.id);
            if ids.is_empty() {
                self.shared.remove(key);
            }
        }
        waiting
    }

    pub(super) fn contains(&self, id: JobId) -> bool {
        let place = self.places.binary_search_by_key(&id, |(id, _)| *id);
        place.is_ok_and(|place| self.places[place].1.is_some())
    }

    /// The earliest deadline of the waiting jobs.
    pub(super) fn due(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// Removes the jobs that are past their deadline.
    pub(super) fn late(&mut self, now: Instant) -> Vec<Waiting<J>> {
        let mut late = Vec::new();
        while let Some((_, id)) = self.deadlines.first().copied().filter(|(deadline, _)| *deadline <= now) {
            late.extend(self.leave(id));
        }
        late
    }
}

fn shared<J: Job>(waiting: &Waiting<J>) -> Option<&Key> {
    Some(&waiting.metadata.as_ref()?.keys.shared.as_ref()?.key)
}

fn deadline<J: Job>(waiting: &Waiting<J>) -> Option<Instant> {
    waiting.metadata.as_ref()?.deadline
}
