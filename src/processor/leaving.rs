//! Workers that leave for good: each closes its processor, drops it, and ends its thread.

use std::{sync::Arc, thread};

use actix_rt::Arbiter;
use tokio::time::Instant;

use super::{Report, Reports};
use crate::{dispatch::WorkerId, job::Job};

/// The workers that have been told to close and have not yet ended.
pub(super) struct Leaving<J: Job> {
    inbox: Arc<Reports<J>>,
    workers: Vec<LeavingWorker>,
    /// Workers that did not end in time, or ended without having closed their processor.
    pub(super) unclosed: usize,
}

struct LeavingWorker {
    id: WorkerId,
    arbiter: Option<Arbiter>,
    /// When it is given up.
    due: Instant,
}

impl<J: Job> Leaving<J> {
    pub(super) fn new(inbox: Arc<Reports<J>>) -> Self {
        Self { inbox, workers: Vec::new(), unclosed: 0 }
    }

    /// The worker was told to close its processor; it has until `due`.
    pub(super) fn add(&mut self, id: WorkerId, arbiter: Option<Arbiter>, due: Instant) {
        self.workers.push(LeavingWorker { id, arbiter, due });
    }

    /// The worker's processor is closed and dropped. What is left is its thread, if it has one.
    pub(super) fn closed(&mut self, id: WorkerId) {
        let Some(at) = self.position(id) else { return };
        match self.workers[at].arbiter.take() {
            Some(arbiter) => self.end_thread(at, arbiter),
            None => drop(self.workers.swap_remove(at)),
        }
    }

    /// The worker's actor has gone without closing its processor, with its arbiter usually.
    pub(super) fn gone(&mut self, id: WorkerId) {
        if let Some(at) = self.position(id)
            && self.workers[at].arbiter.is_some()
        {
            self.unclosed += 1;
            self.closed(id);
        }
    }

    /// Stops the arbiter and waits for its thread elsewhere: joining blocks.
    fn end_thread(&mut self, at: usize, arbiter: Arbiter) {
        arbiter.stop();
        let (worker, inbox) = (self.workers[at].id, Arc::clone(&self.inbox));
        let join = move || {
            let _ = arbiter.join();
            inbox.push(Report::ThreadEnded { worker });
        };
        if thread::Builder::new().name("join a worker".to_owned()).spawn(join).is_err() {
            self.workers.swap_remove(at);
        }
    }

    pub(super) fn thread_ended(&mut self, id: WorkerId) {
        if let Some(at) = self.position(id) {
            self.workers.swap_remove(at);
        }
    }

    /// Gives up the workers whose time is over.
    pub(super) fn give_up(&mut self, now: Instant) {
        let before = self.workers.len();
        self.workers.retain(|worker| worker.due > now);
        self.unclosed += before - self.workers.len();
    }

    pub(super) fn due(&self) -> Option<Instant> {
        self.workers.iter().map(|worker| worker.due).min()
    }

    pub(super) fn len(&self) -> usize {
        self.workers.len()
    }

    fn position(&self, id: WorkerId) -> Option<usize> {
        self.workers.iter().position(|worker| worker.id == id)
    }
}
