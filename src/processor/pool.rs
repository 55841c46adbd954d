//! The supervised workers: who sits where, who can work, who comes back when.

use std::{io, sync::Arc};

use actix::{Addr, Supervisor};
use actix_rt::Arbiter;
use tokio::time::Instant;
use tracing::{debug, warn};

use super::{
    Assignment, BatchProcessor, Cancel, Factory, ProcessorActor, Reports,
    actor::Build,
    restarts::{Pause, Restarts},
};
use crate::{
    batch::Batch,
    config::Workers,
    dispatch::{FlightId, WorkerId},
    observe::WorkerStats,
};

/// A fixed number of seats; a worker that goes away for good is followed by another on the same seat.
pub(crate) struct Pool<P: BatchProcessor> {
    collector: Arc<str>,
    workers: Workers,
    factory: Factory<P>,
    home: Arc<Reports<P::Job>>,
    seats: Vec<Seat<P>>,
    /// Threads that were given up and still run.
    lost_threads: usize,
}

struct Seat<P: BatchProcessor> {
    id: WorkerId,
    /// `None` while no worker holds the seat.
    addr: Option<Addr<ProcessorActor<P>>>,
    arbiter: Option<Arbiter>,
    cancel: Arc<Cancel>,
    restarts: Restarts,
    state: State,
}

enum State {
    /// Being built and prepared.
    Preparing,
    /// Prepared: busy or free.
    Able,
    /// To be built again later.
    Away(Pause),
}

impl<P: BatchProcessor> Pool<P> {
    pub(crate) fn new(collector: Arc<str>, workers: Workers, factory: Factory<P>, home: Arc<Reports<P::Job>>) -> Self {
        Self { collector, workers, factory, home, seats: Vec::new(), lost_threads: 0 }
    }

    /// Starts every worker, once. Called on the collector's arbiter.
    pub(crate) fn start(&mut self, now: Instant) {
        if !self.seats.is_empty() {
            return;
        }
        for seat in 0..self.workers.count() {
            self.seats.push(Seat {
                id: WorkerId { seat, generation: 0 },
                addr: None,
                arbiter: None,
                cancel: Arc::default(),
                restarts: Restarts::default(),
                state: State::Away(Pause { until: now, resting: false }),
            });
        }
        self.rebuild(now);
    }

    /// Builds the workers whose time away is over.
    pub(crate) fn rebuild(&mut self, now: Instant) {
        for at in 0..self.seats.len() {
            if matches!(self.seats[at].state, State::Away(pause) if pause.until <= now) {
                self.build(at, now);
            }
        }
    }

    fn build(&mut self, at: usize, now: Instant) {
        let id = self.seats[at].id;
        if self.seats[at].addr.is_none() {
            if self.lost_threads > self.seats.len() {
                let seat = &mut self.seats[at];
                seat.state = State::Away(seat.restarts.unprepared(now));
                return;
            }
            match self.hire(id) {
                Ok((addr, arbiter)) => {
                    self.seats[at].addr = Some(addr);
                    self.seats[at].arbiter = arbiter;
                }
                Err(error) => {
                    warn!(collector = &*self.collector, worker = at, %error, "no thread for the worker");
                    let seat = &mut self.seats[at];
                    seat.state = State::Away(seat.restarts.unprepared(now));
                    return;
                }
            }
        }
        let seat = &mut self.seats[at];
        seat.state = State::Preparing;
        if let Some(addr) = &seat.addr {
            addr.do_send(Build);
        }
    }

    /// A new worker, on its own thread where that was asked for.
    fn hire(&self, id: WorkerId) -> io::Result<(Addr<ProcessorActor<P>>, Option<Arbiter>)> {
        let (collector, factory, home) =
            (Arc::clone(&self.collector), Arc::clone(&self.factory), Arc::clone(&self.home));
        let worker = move || ProcessorActor::new(id, collector, factory, home);
        if self.workers.on_threads() {
            let arbiter = Arbiter::try_new()?;
            Ok((Supervisor::start_in_arbiter(&arbiter.handle(), move |_| worker()), Some(arbiter)))
        } else {
            Ok((Supervisor::start(move |_| worker()), None))
        }
    }

    /// A worker has tried to prepare. Returns whether it can work.
    pub(crate) fn prepared(&mut self, worker: WorkerId, result: Result<(), String>, now: Instant) -> bool {
        let collector = Arc::clone(&self.collector);
        let Some(seat) = self.seat(worker) else { return false };
        match result {
            Ok(()) => {
                debug!(collector = &*collector, worker = worker.seat, "worker ready");
                seat.state = State::Able;
                true
            }
            Err(error) => {
                let pause = seat.restarts.unprepared(now);
                seat.state = State::Away(pause);
                let retry_in = pause.until - now;
                warn!(collector = &*collector, worker = worker.seat, error, ?retry_in, "worker not ready");
                false
            }
        }
    }

    /// A worker has answered: its next failure starts from the first delay.
    pub(crate) fn succeeded(&mut self, worker: WorkerId) {
        if let Some(seat) = self.seat(worker) {
            seat.restarts.succeeded();
        }
    }

    /// A worker's processor has panicked and is to be built anew. Returns for how long it is away, if it was known.
    pub(crate) fn failed(&mut self, worker: WorkerId, why: &str, now: Instant) -> Option<Pause> {
        let collector = Arc::clone(&self.collector);
        let seat = self.seat(worker)?;
        let pause = seat.restarts.failed(now);
        seat.state = State::Away(pause);
        let (back_in, resting) = (pause.until - now, pause.resting);
        warn!(collector = &*collector, worker = worker.seat, why, ?back_in, resting, "worker restarted");
        Some(pause)
    }

    /// A worker is no more: its actor was dropped, usually with its arbiter. Returns for how long, if it was known.
    pub(crate) fn gone(&mut self, worker: WorkerId, now: Instant) -> Option<Pause> {
        let pause = self.failed(worker, "gone", now);
        if pause.is_none() {
            // The late end of a thread that was given up: there is room for another.
            self.lost_threads = self.lost_threads.saturating_sub(1);
            return None;
        }
        let seat = &mut self.seats[worker.seat];
        seat.id.generation += 1;
        seat.addr = None;
        seat.cancel = Arc::default();
        stop(seat.arbiter.take());
        pause
    }

    /// Hands a batch to a worker. If it has gone meanwhile, the assignment reports so.
    pub(crate) fn assign(&mut self, worker: WorkerId, flight: FlightId, batch: Batch<P::Job>) {
        let home = Arc::clone(&self.home);
        let cancel = self.seat(worker).map(|seat| Arc::clone(&seat.cancel)).unwrap_or_default();
        let assignment = Assignment::new(worker, flight, batch, home, cancel);
        if let Some(addr) = self.seat(worker).and_then(|seat| seat.addr.as_ref()) {
            addr.do_send(assignment);
        }
    }

    /// Tells a worker to stop what it is doing.
    pub(crate) fn cancel(&mut self, worker: WorkerId, flight: FlightId) {
        if let Some(seat) = self.seat(worker) {
            seat.cancel.flight(flight);
        }
    }

    /// A worker was told to stop and has not: its thread does not return. Another takes its seat – but while as many threads as
    /// there are seats are lost like that, none does. Returns for how long the seat is empty, if the worker was known.
    pub(crate) fn give_up(&mut self, worker: WorkerId, now: Instant) -> Option<Pause> {
        let pause = self.gone(worker, now)?;
        self.lost_threads += 1;
        Some(pause)
    }

    /// When the next worker is to be built again.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.seats
            .iter()
            .filter_map(|seat| if let State::Away(pause) = &seat.state { Some(pause.until) } else { None })
            .min()
    }

    /// Whether every worker rests after too many restarts.
    pub(crate) fn all_rest(&self) -> bool {
        self.seats.iter().all(|seat| matches!(seat.state, State::Away(Pause { resting: true, .. })))
    }

    pub(crate) fn stats(&self) -> WorkerStats {
        let able = self.seats.iter().filter(|seat| matches!(seat.state, State::Able)).count();
        let resting =
            self.seats.iter().filter(|seat| matches!(seat.state, State::Away(Pause { resting: true, .. }))).count();
        WorkerStats { total: self.workers.count(), able, resting }
    }

    fn seat(&mut self, worker: WorkerId) -> Option<&mut Seat<P>> {
        self.seats.get_mut(worker.seat).filter(|seat| seat.id == worker)
    }
}

impl<P: BatchProcessor> Drop for Pool<P> {
    fn drop(&mut self) {
        for seat in &mut self.seats {
            seat.addr = None;
            stop(seat.arbiter.take());
        }
    }
}

/// Ends a worker's thread, once what it is doing yields. A thread that never yields ends with the process.
fn stop(arbiter: Option<Arbiter>) {
    if let Some(arbiter) = arbiter {
        arbiter.stop();
    }
}
