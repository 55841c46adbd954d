//! What a worker is given, and what it reports to the collector's inbox.
//!
//! However a worker goes away – it answers, panics, stops, its arbiter dies – its [`Assignment`] reports. The one exception is
//! a thread that never returns. Because of it the replies stay with the collector, and never depend on a worker.

use std::{
    future::{Future, poll_fn},
    mem,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::Poll,
};

use actix::Message;
use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::{
    batch::{Batch, JobResults},
    bell::Bell,
    dispatch::{FlightId, WorkerId},
    job::Job,
};

/// What a worker says to the collector.
pub(crate) enum Report<J: Job> {
    /// Ready to work, or why not.
    Prepared { worker: WorkerId, result: Result<(), Unprepared<J::Error>> },
    /// The processor has answered. The worker `goes_on` if it has begun the batch that was prefetched for it.
    Done { worker: WorkerId, flight: FlightId, batch: Batch<J>, results: JobResults<J>, goes_on: bool },
    /// The processor panicked, and has to be rebuilt.
    Panicked { worker: WorkerId, flight: FlightId, batch: Batch<J>, message: String },
    /// The worker stopped because it was told to; its processor has to be rebuilt.
    Cancelled { worker: WorkerId, flight: FlightId, batch: Batch<J> },
    /// The worker went away before it started on this batch.
    Returned { flight: FlightId, batch: Batch<J> },
    /// The worker went away while it worked on this batch.
    Dropped { flight: FlightId, batch: Batch<J> },
    /// The worker has closed its processor and dropped it, or had none.
    Closed { worker: WorkerId },
    /// The worker's thread has ended, after it had left.
    ThreadEnded { worker: WorkerId },
    /// The worker's actor has gone.
    Gone { worker: WorkerId },
}

/// Why a worker could not get ready.
#[derive(Debug)]
pub(crate) enum Unprepared<E> {
    /// It will be tried again.
    ForNow(String),
    /// It never can.
    Fatal(Arc<E>),
}

/// The collector's inbox: reports that it has not yet read.
pub(crate) struct Reports<J: Job> {
    unread: Mutex<Vec<Report<J>>>,
    bell: Arc<Bell>,
}

impl<J: Job> Reports<J> {
    pub(crate) fn new(bell: Arc<Bell>) -> Self {
        Self { unread: Mutex::new(Vec::new()), bell }
    }

    pub(crate) fn push(&self, report: Report<J>) {
        self.unread.lock().push(report);
        self.bell.ring();
    }

    /// Swaps what is unread with `read`, which is empty: the two buffers take turns.
    pub(crate) fn take(&self, read: &mut Vec<Report<J>>) {
        mem::swap(&mut *self.unread.lock(), read);
    }
}

/// A batch that is with a worker. When it is dropped, it reports what became of the batch.
pub(crate) struct Assignment<J: Job> {
    worker: WorkerId,
    flight: FlightId,
    batch: Option<Batch<J>>,
    started: bool,
    inbox: Arc<Reports<J>>,
    cancel: Arc<Cancel>,
}

/// How the collector tells a worker to stop working on a flight.
#[derive(Debug, Default)]
pub(crate) struct Cancel {
    /// The flight that is to stop; 0 is none.
    flight: AtomicU64,
    waker: AtomicWaker,
}

impl Cancel {
    pub(crate) fn flight(&self, flight: FlightId) {
        self.flight.store(flight.0, Ordering::Release);
        self.waker.wake();
    }

    fn is(&self, flight: FlightId) -> bool {
        self.flight.load(Ordering::Acquire) == flight.0
    }
}

/// Holds the batch that is prefetched for a worker, until the worker takes it or the collector takes it back.
pub(crate) struct NextAssignment<J: Job>(Mutex<Next<J>>);

enum Next<J: Job> {
    Prefetched(Assignment<J>),
    /// The worker has taken it, at this time of its own clock.
    Taken(Instant),
    Empty,
}

/// What has become of a prefetched batch.
pub(crate) enum TakenBack<J: Job> {
    /// No worker has begun it.
    Batch(Batch<J>),
    /// The worker has begun it, at this time of its own clock.
    Begun(Instant),
}

impl<J: Job> Default for NextAssignment<J> {
    fn default() -> Self {
        Self(Mutex::new(Next::Empty))
    }
}

impl<J: Job> NextAssignment<J> {
    pub(crate) fn put(&self, assignment: Assignment<J>) {
        *self.0.lock() = Next::Prefetched(assignment);
    }

    /// For the collector. `None` if it has put nothing here.
    pub(crate) fn take_back(&self) -> Option<TakenBack<J>> {
        match mem::replace(&mut *self.0.lock(), Next::Empty) {
            Next::Prefetched(mut assignment) => assignment.batch.take().map(TakenBack::Batch),
            Next::Taken(at) => Some(TakenBack::Begun(at)),
            Next::Empty => None,
        }
    }

    /// For the worker, which has ended a batch and reports it here. A batch that a caller has left is not taken: the collector decides about it.
    ///
    /// Whoever finds that a batch was taken finds the report of the one before it, too.
    pub(super) fn take(&self, report: impl FnOnce(bool)) -> Option<Assignment<J>> {
        let mut next = self.0.lock();
        let taken = match mem::replace(&mut *next, Next::Empty) {
            Next::Prefetched(assignment) if assignment.is_wanted() => {
                *next = Next::Taken(Instant::now());
                Some(assignment)
            }
            other => {
                *next = other;
                None
            }
        };
        report(taken.is_some());
        taken
    }
}

impl<J: Job> Message for Assignment<J> {
    type Result = ();
}

impl<J: Job> Assignment<J> {
    pub(crate) fn new(
        worker: WorkerId,
        flight: FlightId,
        batch: Batch<J>,
        inbox: Arc<Reports<J>>,
        cancel: Arc<Cancel>,
    ) -> Self {
        Self { worker, flight, batch: Some(batch), started: false, inbox, cancel }
    }

    /// The worker begins. `None` is never seen: an assignment has its batch until it reports.
    pub(crate) fn start(&mut self) -> Option<&Batch<J>> {
        self.started = true;
        self.batch.as_ref()
    }

    /// The worker is to stop before it has begun.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancel.is(self.flight)
    }

    /// Whether all of its callers still wait.
    fn is_wanted(&self) -> bool {
        self.batch.as_ref().is_some_and(|batch| !(0..batch.len()).any(|position| batch.is_abandoned(position)))
    }

    /// Resolves when the worker is to stop. It holds nothing of the assignment.
    pub(crate) fn cancelled(&self) -> impl Future<Output = ()> + use<J> {
        let (cancel, flight) = (Arc::clone(&self.cancel), self.flight);
        poll_fn(move |cx| {
            cancel.waker.register(cx.waker());
            if cancel.is(flight) { Poll::Ready(()) } else { Poll::Pending }
        })
    }

    /// The worker has stopped because it was told to.
    pub(crate) fn stopped(mut self) {
        let (worker, flight) = (self.worker, self.flight);
        if let Some(batch) = self.batch.take() {
            self.inbox.push(Report::Cancelled { worker, flight, batch });
        }
    }

    pub(crate) fn done(mut self, results: JobResults<J>, goes_on: bool) {
        let (worker, flight) = (self.worker, self.flight);
        if let Some(batch) = self.batch.take() {
            self.inbox.push(Report::Done { worker, flight, batch, results, goes_on });
        }
    }

    pub(crate) fn panicked(mut self, message: String) {
        let (worker, flight) = (self.worker, self.flight);
        if let Some(batch) = self.batch.take() {
            self.inbox.push(Report::Panicked { worker, flight, batch, message });
        }
    }
}

impl<J: Job> Drop for Assignment<J> {
    fn drop(&mut self) {
        let flight = self.flight;
        if let Some(batch) = self.batch.take() {
            let started = self.started;
            self.inbox.push(if started {
                Report::Dropped { flight, batch }
            } else {
                Report::Returned { flight, batch }
            });
        }
    }
}
