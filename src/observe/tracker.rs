//! Follows batches from state to state, for those who ask about a job and those who subscribed.
//!
//! Invariants:
//! - A batch is in one of the three maps, or in none: it is not known (it left before anybody wanted to know), or settled.
//! - At most `history` settled jobs are remembered; the oldest are forgotten first.
//! - A subscriber is never waited for.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use actix::{Recipient, dev::SendError};

use crate::job::{
    JobEvent, JobId, JobIds, JobState,
    journey::{Journey, Processing, Ready, Retrying, Stage},
};

pub(crate) struct Tracker {
    collector: Arc<str>,
    ready: HashMap<u64, Journey<Ready>>,
    processing: HashMap<u64, Journey<Processing>>,
    retrying: HashMap<u64, Journey<Retrying>>,
    settled: HashMap<JobId, JobState>,
    oldest: VecDeque<JobId>,
    history: usize,
    subscribers: Vec<Subscriber>,
    /// Events that a full mailbox did not take.
    pub(crate) lost: u64,
}

struct Subscriber {
    recipient: Recipient<JobEvent>,
    missed: u64,
}

impl Tracker {
    pub(crate) fn new(collector: Arc<str>, history: usize) -> Self {
        Self {
            collector,
            ready: HashMap::new(),
            processing: HashMap::new(),
            retrying: HashMap::new(),
            settled: HashMap::new(),
            oldest: VecDeque::new(),
            history,
            subscribers: Vec::new(),
            lost: 0,
        }
    }

    pub(crate) fn subscribe(&mut self, recipient: Recipient<JobEvent>) {
        self.subscribers.push(Subscriber { recipient, missed: 0 });
    }

    /// Returns how many subscriptions this has ended.
    pub(crate) fn unsubscribe(&mut self, recipient: &Recipient<JobEvent>) -> usize {
        let before = self.subscribers.len();
        self.subscribers.retain(|subscriber| subscriber.recipient != *recipient);
        before - self.subscribers.len()
    }

    /// Where a job is that has left the open batch.
    pub(crate) fn state(&self, job: JobId) -> Option<JobState> {
        fn among<S: Stage>(journeys: &HashMap<u64, Journey<S>>, job: JobId) -> Option<JobState> {
            journeys.values().any(|journey| journey.jobs.contains(job)).then_some(S::STATE)
        }
        let settled = || self.settled.get(&job).copied();
        let on_its_way = among(&self.ready, job).or_else(|| among(&self.processing, job));
        on_its_way.or_else(|| among(&self.retrying, job)).or_else(settled)
    }

    pub(crate) fn flushed(&mut self, batch: u64, jobs: JobIds) {
        self.make_ready(Journey::flushed(batch, jobs));
    }

    pub(crate) fn sent(&mut self, batch: u64) {
        if let Some(journey) = self.ready.remove(&batch) {
            let journey = journey.start();
            self.tell(&journey);
            self.processing.insert(batch, journey);
        }
    }

    pub(crate) fn given_back(&mut self, batch: u64) {
        if let Some(journey) = self.processing.remove(&batch) {
            self.make_ready(journey.give_back());
        }
    }

    pub(crate) fn retrying(&mut self, from: u64, batch: u64, attempt: u32) {
        if let Some(journey) = self.processing.remove(&from) {
            let journey = journey.retry(batch, attempt);
            self.tell(&journey);
            self.retrying.insert(batch, journey);
        }
    }

    pub(crate) fn again(&mut self, batch: u64) {
        if let Some(journey) = self.retrying.remove(&batch) {
            self.make_ready(journey.again());
        }
    }

    pub(crate) fn split(&mut self, batch: u64, into: [u64; 2], first: usize, attempt: u32) {
        if let Some(journey) = self.processing.remove(&batch) {
            for half in journey.split(into, first, attempt) {
                self.make_ready(half);
            }
        }
    }

    /// These jobs of the batch have their replies, in this order.
    pub(crate) fn settled(&mut self, batch: u64, attempt: u32, jobs: &JobIds, ends: &[JobState]) {
        fn go_on<S: Stage>(journeys: &mut HashMap<u64, Journey<S>>, batch: u64, jobs: &JobIds) {
            if let Some(left) = journeys.remove(&batch).and_then(|journey| journey.settle(jobs)) {
                journeys.insert(batch, left);
            }
        }
        go_on(&mut self.ready, batch, jobs);
        go_on(&mut self.processing, batch, jobs);
        go_on(&mut self.retrying, batch, jobs);
        // A result that is missing is an error.
        let ends = || ends.iter().copied().chain(std::iter::repeat(JobState::Failed));
        for (job, end) in jobs.iter().zip(ends()) {
            self.remember(job, end);
        }
        for state in JobState::ENDS {
            let jobs: JobIds = jobs.iter().zip(ends()).filter(|(_, end)| *end == state).map(|(job, _)| job).collect();
            if !jobs.is_empty() {
                self.publish(batch, attempt, state, &jobs);
            }
        }
    }

    fn remember(&mut self, job: JobId, end: JobState) {
        if self.history == 0 {
            return;
        }
        if self.oldest.len() == self.history
            && let Some(oldest) = self.oldest.pop_front()
        {
            self.settled.remove(&oldest);
        }
        self.oldest.push_back(job);
        self.settled.insert(job, end);
    }

    fn make_ready(&mut self, journey: Journey<Ready>) {
        self.tell(&journey);
        self.ready.insert(journey.batch, journey);
    }

    fn tell<S: Stage>(&mut self, journey: &Journey<S>) {
        self.publish(journey.batch, journey.attempt, S::STATE, &journey.jobs);
    }

    fn publish(&mut self, batch: u64, attempt: u32, state: JobState, jobs: &JobIds) {
        let (collector, lost) = (&self.collector, &mut self.lost);
        self.subscribers.retain_mut(|subscriber| {
            let (collector, jobs, missed) = (Arc::clone(collector), jobs.clone(), subscriber.missed);
            match subscriber.recipient.try_send(JobEvent { collector, batch, attempt, state, jobs, missed }) {
                Ok(()) => true,
                Err(SendError::Full(_)) => {
                    subscriber.missed += 1;
                    *lost += 1;
                    true
                }
                Err(SendError::Closed(_)) => false,
            }
        });
    }
}
