//! Carries out dispatch's orders.

use std::time::Duration;

use tokio::time::Instant;

use super::CollectorActor;
use crate::{
    batch::Batch,
    dispatch::{FlightId, Order, WorkerId},
    job::Job,
    observe::{AttemptStatus, Attempted, Dispatched, Event, Retried, Split},
    processor::BatchProcessor,
};

impl<P: BatchProcessor> CollectorActor<P> {
    /// Carries out orders until there are none or the turn is over. Returns whether any jobs were settled.
    pub(super) fn execute_orders(&mut self, now: Instant) -> bool {
        let mut settled = false;
        while self.orders_left > 0
            && let Some(order) = self.dispatch.next(now)
        {
            self.orders_left -= 1;
            settled |= matches!(order, Order::Settle { .. });
            self.execute(order, now);
        }
        settled
    }

    fn execute(&mut self, order: Order<P::Job>, now: Instant) {
        match order {
            Order::Send { worker, flight, batch, waited_since } => self.send(worker, flight, batch, waited_since, now),
            Order::Settle { replies, results, jobs, history } if self.shared.intake.shares() => {
                self.settle_shared(replies, results, jobs, history, now);
            }
            Order::Settle { replies, results, jobs, history } => self.settle(replies, results, jobs, history, now),
            Order::Cancel { worker, flight } => {
                self.pool.cancel(worker, flight);
                self.journal.record(Event::Cancelled { worker: worker.seat });
            }
            Order::GiveUp { worker } => self.give_up(worker, now),
            Order::TimedOut { batch, jobs, attempt, waited, took } => {
                let status = AttemptStatus::TimedOut;
                self.journal.record(Event::Attempted(Attempted { batch, jobs, attempt, status, waited, took }));
            }
            Order::Retrying { from, batch, jobs, attempt, at } => {
                let retried = Retried { batch, jobs, attempt, delay: at.saturating_duration_since(now) };
                self.journal.record(Event::Retrying { from, retried });
            }
            Order::Again { batch } => self.journal.record(Event::Again { batch }),
            Order::Split { batch, into, jobs, attempt } => {
                self.journal.record(Event::Split { split: Split { batch, into, jobs }, attempt });
            }
            Order::Breaker(state) => self.journal.record(Event::Breaker(state)),
        }
    }

    fn send(&mut self, worker: WorkerId, flight: FlightId, batch: Batch<P::Job>, waited_since: Instant, now: Instant) {
        let dispatched = dispatched(&batch, worker, now.saturating_duration_since(waited_since));
        self.pool.assign(worker, flight, batch);
        self.journal.record(Event::Dispatched(dispatched));
    }

    /// Workers whose `prepare` does not return are given up.
    pub(super) fn replace_stuck_workers(&mut self, now: Instant) {
        while let Some(worker) = self.pool.stuck_in_prepare(now) {
            self.dispatch.prepare_failed(now);
            self.give_up(worker, now);
        }
    }

    /// The worker was told to stop and did not: another one takes its seat.
    fn give_up(&mut self, worker: WorkerId, now: Instant) {
        self.journal.record(Event::GivenUp { worker: worker.seat });
        self.dispatch.worker_unable(worker);
        let delay = self.pool.give_up(worker, now);
        self.on_restart(worker, delay, now);
    }
}

/// What is told of a batch that goes to a worker.
pub(super) fn dispatched<J: Job>(batch: &Batch<J>, worker: WorkerId, waited: Duration) -> Dispatched {
    Dispatched {
        batch: batch.id(),
        trigger: batch.trigger(),
        jobs: batch.len(),
        attempt: batch.attempt(),
        worker: worker.seat,
        waited,
    }
}
