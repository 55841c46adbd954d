//! The supervised workers: their seats, which of them can work, and when the others are rebuilt.

use std::{io, sync::Arc};

use actix::{Addr, Supervisor};
use actix_rt::Arbiter;
use tokio::time::Instant;
use tracing::{debug, error, warn};

use super::{
    Assignment, BatchProcessor, Cancel, Factory, Limits, NextAssignment, ProcessorActor, Reports, Unprepared,
    actor::{Build, Close},
    leaving::Leaving,
    restarts::{RestartDelay, Restarts},
    scaling::{Load, Scale, Scaling},
};
use crate::{
    batch::Batch,
    config::Workers,
    dispatch::{FlightId, GRACE, WorkerId},
    job::Job,
    observe::WorkerStats,
    panics::catch,
};

/// The seats. When a worker goes away for good, another one takes its seat.
pub(crate) struct Pool<P: BatchProcessor> {
    collector: Arc<str>,
    workers: Workers,
    factory: Factory<P>,
    inbox: Arc<Reports<P::Job>>,
    seats: Vec<Seat<P>>,
    /// How many workers there have been; each has its own number.
    hired: u32,
    scaling: Scaling,
    /// Workers that were given up and whose threads still run.
    lost: Vec<WorkerId>,
    leaving: Leaving<P::Job>,
    limits: Limits,
    /// Every worker has been told to leave.
    closed: bool,
}

struct Seat<P: BatchProcessor> {
    id: WorkerId,
    /// `None` while no worker holds the seat.
    addr: Option<Addr<ProcessorActor<P>>>,
    arbiter: Option<Arbiter>,
    cancel: Arc<Cancel>,
    next: Arc<NextAssignment<P::Job>>,
    restarts: Restarts,
    /// It failed to prepare since it last worked.
    unprepared: bool,
    state: State<P>,
}

enum State<P: BatchProcessor> {
    /// Being built and prepared, until then.
    Preparing { until: Instant },
    /// Prepared: busy or free.
    Able,
    /// To be rebuilt later.
    Away(RestartDelay),
    /// It can never be prepared.
    Failed(Arc<<P::Job as Job>::Error>),
}

impl<P: BatchProcessor> Pool<P> {
    pub(crate) fn new(
        collector: Arc<str>,
        workers: Workers,
        factory: Factory<P>,
        inbox: Arc<Reports<P::Job>>,
        limits: Limits,
    ) -> Self {
        let scaling = Scaling::new(workers.min(), workers.max());
        let (leaving, seats, lost) = (Leaving::new(Arc::clone(&inbox)), Vec::new(), Vec::new());
        Self { collector, workers, factory, inbox, seats, hired: 0, scaling, lost, leaving, limits, closed: false }
    }

    /// Starts every worker, once. Called on the collector's arbiter.
    pub(crate) fn start(&mut self, now: Instant) {
        if !self.seats.is_empty() || self.closed {
            return;
        }
        for _ in 0..self.workers.min() {
            self.add_seat(now);
        }
        self.rebuild(now);
    }

    /// Adds a worker: on the lowest free seat, with a number of its own.
    fn add_seat(&mut self, now: Instant) {
        let taken = |number: usize| self.seats.iter().any(|seat| seat.id.seat == number);
        let seat = (0..self.seats.len()).find(|number| !taken(*number)).unwrap_or(self.seats.len());
        self.hired += 1;
        self.seats.push(Seat {
            id: WorkerId { seat, generation: self.hired },
            addr: None,
            arbiter: None,
            cancel: Arc::default(),
            next: Arc::default(),
            restarts: Restarts::default(),
            unprepared: false,
            state: State::Away(RestartDelay { until: now, resting: false }),
        });
    }

    /// Compares the number of workers with the load, and adds one if needed. If there is one too many, the caller retires a free one.
    pub(crate) fn scale(&mut self, load: Load, now: Instant) -> Option<Scale> {
        if self.closed {
            return None;
        }
        let scale = self.scaling.decide(self.seats.len(), load, now)?;
        if scale == Scale::Grow {
            self.add_seat(now);
            self.rebuild(now);
        }
        debug!(collector = &*self.collector, workers = self.seats.len(), ?scale, "workers follow the load");
        Some(scale)
    }

    /// Retires a free worker: it closes its processor.
    pub(crate) fn retire(&mut self, worker: WorkerId, now: Instant) {
        if let Some(at) = self.seats.iter().position(|seat| seat.id == worker) {
            let seat = self.seats.swap_remove(at);
            self.leave(seat, now);
        }
    }

    /// Tells every worker to leave, once: nothing will be sent any more.
    pub(crate) fn close(&mut self, now: Instant) {
        self.closed = true;
        for seat in std::mem::take(&mut self.seats) {
            self.leave(seat, now);
        }
    }

    fn leave(&mut self, seat: Seat<P>, now: Instant) {
        let Some(addr) = seat.addr else { return stop(seat.arbiter) };
        addr.do_send(Close(self.limits.close));
        self.leaving.add(seat.id, seat.arbiter, now + self.limits.close + GRACE);
    }

    /// How many workers have left without having closed their processors, so far; `None` while workers are leaving.
    pub(crate) fn closed(&self) -> Option<usize> {
        if self.leaving.len() == 0 { Some(self.leaving.unclosed) } else { None }
    }

    /// How many workers would be left unclosed by an end now.
    pub(crate) fn unclosed(&self) -> usize {
        self.leaving.unclosed + self.leaving.len()
    }

    /// A worker that was told to leave has closed its processor.
    pub(crate) fn worker_closed(&mut self, worker: WorkerId) {
        self.leaving.closed(worker);
    }

    pub(crate) fn thread_ended(&mut self, worker: WorkerId) {
        self.leaving.thread_ended(worker);
    }

    /// A worker whose `prepare` does not even return, on a thread of its own: it has to be given up.
    pub(crate) fn stuck_in_prepare(&self, now: Instant) -> Option<WorkerId> {
        let is_stuck = |seat: &&Seat<P>| matches!(seat.state, State::Preparing { until } if until <= now);
        self.seats.iter().find(is_stuck).map(|seat| seat.id)
    }

    /// Rebuilds the workers whose delay is over.
    pub(crate) fn rebuild(&mut self, now: Instant) {
        self.leaving.give_up(now);
        for at in 0..self.seats.len() {
            if matches!(self.seats[at].state, State::Away(delay) if delay.until <= now) {
                self.build(at, now);
            }
        }
    }

    fn build(&mut self, at: usize, now: Instant) {
        let id = self.seats[at].id;
        if self.seats[at].addr.is_none() {
            if self.lost.len() > self.seats.len() {
                // Too many threads are lost: no worker can take the seat until one of them returns.
                let seat = &mut self.seats[at];
                seat.state = State::Away(RestartDelay { resting: true, ..seat.restarts.unprepared(now) });
                return;
            }
            match self.hire(id, Arc::clone(&self.seats[at].next)) {
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
        let limit = self.limits.prepare;
        seat.state = State::Preparing { until: now + limit + GRACE };
        if let Some(addr) = &seat.addr {
            addr.do_send(Build(limit));
        }
    }

    /// Starts a worker, on a thread of its own if that was asked for.
    fn hire(
        &self,
        id: WorkerId,
        next: Arc<NextAssignment<P::Job>>,
    ) -> io::Result<(Addr<ProcessorActor<P>>, Option<Arbiter>)> {
        let (collector, factory, inbox) =
            (Arc::clone(&self.collector), Arc::clone(&self.factory), Arc::clone(&self.inbox));
        let worker = move || ProcessorActor::new(id, collector, factory, inbox, next);
        if self.workers.on_threads() {
            let arbiter = Arbiter::try_new()?;
            Ok((Supervisor::start_in_arbiter(&arbiter.handle(), move |_| worker()), Some(arbiter)))
        } else {
            Ok((Supervisor::start(move |_| worker()), None))
        }
    }

    /// A worker has tried to prepare. Returns whether it can work.
    pub(crate) fn prepared(
        &mut self,
        worker: WorkerId,
        result: Result<(), Unprepared<<P::Job as Job>::Error>>,
        now: Instant,
    ) -> bool {
        let collector = Arc::clone(&self.collector);
        let Some(seat) = self.seat(worker) else { return false };
        match result {
            Ok(()) => {
                debug!(collector = &*collector, worker = worker.seat, "worker ready");
                seat.state = State::Able;
                seat.unprepared = false;
                true
            }
            Err(Unprepared::Fatal(error)) => {
                let shown = catch(|| error.to_string()).unwrap_or_default();
                error!(collector = &*collector, worker = worker.seat, error = shown, "worker can never be ready");
                seat.state = State::Failed(error);
                false
            }
            Err(Unprepared::ForNow(error)) => {
                let delay = seat.restarts.unprepared(now);
                seat.state = State::Away(delay);
                seat.unprepared = true;
                let retry_in = delay.until - now;
                warn!(collector = &*collector, worker = worker.seat, error, ?retry_in, "worker not ready");
                false
            }
        }
    }

    /// A worker has answered: its next failure starts from the first delay. Returns whether the worker was known; one that was
    /// given up may answer late.
    pub(crate) fn succeeded(&mut self, worker: WorkerId) -> bool {
        self.seat(worker).map(|seat| seat.restarts.succeeded()).is_some()
    }

    /// A worker's processor failed and has to be rebuilt. Returns when, if the worker was known.
    pub(crate) fn failed(&mut self, worker: WorkerId, why: &str, now: Instant) -> Option<RestartDelay> {
        let collector = Arc::clone(&self.collector);
        let seat = self.seat(worker)?;
        let delay = seat.restarts.failed(now);
        seat.state = State::Away(delay);
        let (back_in, resting) = (delay.until - now, delay.resting);
        warn!(collector = &*collector, worker = worker.seat, why, ?back_in, resting, "worker restarted");
        Some(delay)
    }

    /// A worker's actor was dropped, usually with its arbiter. Returns when it will be rebuilt, if the worker was known.
    pub(crate) fn gone(&mut self, worker: WorkerId, now: Instant) -> Option<RestartDelay> {
        self.leaving.gone(worker);
        let delay = self.failed(worker, "gone", now);
        if delay.is_none() {
            // A thread that was given up has ended: another one may be started.
            self.lost.retain(|lost| *lost != worker);
            return None;
        }
        self.hired += 1;
        let generation = self.hired;
        let seat = self.seat(worker)?;
        seat.id.generation = generation;
        seat.addr = None;
        seat.cancel = Arc::default();
        seat.next = Arc::default();
        stop(seat.arbiter.take());
        delay
    }

    /// Hands a batch to a worker. If the worker has gone, the assignment reports it.
    pub(crate) fn assign(&mut self, worker: WorkerId, flight: FlightId, batch: Batch<P::Job>) {
        let assignment = self.assignment(worker, flight, batch);
        if let Some(addr) = self.seat(worker).and_then(|seat| seat.addr.as_ref()) {
            addr.do_send(assignment);
        }
    }

    /// The worker for which the next batch may be prefetched, and where to: the only one, if it has a thread of its own.
    pub(crate) fn prefetches_for(&self) -> Option<(WorkerId, Arc<NextAssignment<P::Job>>)> {
        match &*self.seats {
            [seat] if self.workers.on_threads() => Some((seat.id, Arc::clone(&seat.next))),
            _ => None,
        }
    }

    /// What a worker is given.
    pub(crate) fn assignment(
        &mut self,
        worker: WorkerId,
        flight: FlightId,
        batch: Batch<P::Job>,
    ) -> Assignment<P::Job> {
        let inbox = Arc::clone(&self.inbox);
        let cancel = self.seat(worker).map(|seat| Arc::clone(&seat.cancel)).unwrap_or_default();
        Assignment::new(worker, flight, batch, inbox, cancel)
    }

    /// Tells a worker to stop what it is doing.
    pub(crate) fn cancel(&mut self, worker: WorkerId, flight: FlightId) {
        if let Some(seat) = self.seat(worker) {
            seat.cancel.flight(flight);
        }
    }

    /// A worker was told to stop and did not: its thread is lost. Another worker takes its seat, unless as many threads as there
    /// are seats are lost already. Returns when, if the worker was known.
    pub(crate) fn give_up(&mut self, worker: WorkerId, now: Instant) -> Option<RestartDelay> {
        let delay = self.gone(worker, now)?;
        self.lost.push(worker);
        Some(delay)
    }

    /// When the next worker has to be rebuilt, or their number has to be checked.
    pub(crate) fn due(&self) -> Option<Instant> {
        let away = self.seats.iter().filter_map(|seat| match &seat.state {
            State::Away(delay) => Some(delay.until),
            State::Preparing { until } => Some(*until),
            State::Able | State::Failed(_) => None,
        });
        away.chain(self.scaling.due(self.seats.len())).chain(self.leaving.due()).min()
    }

    /// Whether no worker is able to work, and none is expected to be soon: each rests after too many restarts, has failed to prepare
    /// since it last worked, or never can be prepared.
    pub(crate) fn all_unable(&self) -> bool {
        !self.seats.is_empty() && self.seats.iter().all(Seat::is_unable)
    }

    /// Why no worker can ever work, if that is so.
    pub(crate) fn fatal(&self) -> Option<&Arc<<P::Job as Job>::Error>> {
        let fatal = |seat: &Seat<P>| matches!(seat.state, State::Failed(_));
        let State::Failed(error) = &self.seats.first()?.state else { return None };
        self.seats.iter().all(fatal).then_some(error)
    }

    pub(crate) fn stats(&self) -> WorkerStats {
        let able = self.seats.iter().filter(|seat| matches!(seat.state, State::Able)).count();
        let resting = self
            .seats
            .iter()
            .filter(|seat| matches!(seat.state, State::Away(RestartDelay { resting: true, .. })))
            .count();
        let unprepared =
            self.seats.iter().filter(|seat| seat.unprepared || matches!(seat.state, State::Failed(_))).count();
        WorkerStats { total: self.seats.len(), able, resting, unprepared }
    }

    fn seat(&mut self, worker: WorkerId) -> Option<&mut Seat<P>> {
        self.seats.iter_mut().find(|seat| seat.id == worker)
    }
}

impl<P: BatchProcessor> Seat<P> {
    fn is_unable(&self) -> bool {
        match self.state {
            State::Able => false,
            State::Away(RestartDelay { resting, .. }) => resting || self.unprepared,
            State::Preparing { .. } => self.unprepared,
            State::Failed(_) => true,
        }
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

/// Ends a worker's thread when its task yields. A thread that never yields ends with the process.
fn stop(arbiter: Option<Arbiter>) {
    if let Some(arbiter) = arbiter {
        arbiter.stop();
    }
}
