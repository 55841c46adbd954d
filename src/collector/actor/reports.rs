//! Reads what workers report.

use std::mem;

use tokio::time::Instant;

use super::CollectorActor;
use crate::{
    batch::{Batch, JobResults},
    dispatch::{AttemptEnd, FlightId, Landed, WorkerId},
    flush::Timing,
    job::Job,
    observe::{AttemptStatus, Attempted, Event, Restarted},
    processor::{BatchProcessor, Report, RestartDelay},
};

impl<P: BatchProcessor> CollectorActor<P> {
    pub(super) fn read_reports(&mut self, now: Instant) {
        let mut reports = mem::take(&mut self.reports);
        self.inbox.take(&mut reports);
        for report in reports.drain(..) {
            self.read_report(report, now);
        }
        self.reports = reports;
    }

    fn read_report(&mut self, report: Report<P::Job>, now: Instant) {
        match report {
            Report::Prepared { worker, result } => {
                let is_failure = result.is_err();
                if self.pool.prepared(worker, result, now) {
                    self.dispatch.worker_free(worker);
                } else if is_failure {
                    self.dispatch.prepare_failed(now);
                }
            }
            Report::Done { worker, flight, batch, results, goes_on } => {
                if self.pool.succeeded(worker) && !goes_on {
                    self.dispatch.worker_free(worker);
                }
                self.journal.record(Event::Stray { batch: batch.id(), stray: results.stray() });
                self.on_landing(flight, AttemptEnd::Answered(results), batch, now);
                if goes_on {
                    self.record_begun();
                }
            }
            Report::Panicked { worker, flight, batch, message } => {
                self.journal.record(Event::Panicked { batch: batch.id(), jobs: batch.len(), message: &message });
                self.restart(worker, &message, now);
                self.on_landing(flight, AttemptEnd::Panicked, batch, now);
            }
            Report::Cancelled { worker, flight, batch } => {
                self.restart(worker, "told to stop", now);
                self.on_landing(flight, AttemptEnd::Cancelled, batch, now);
            }
            Report::Dropped { flight, batch } => {
                self.journal.record(Event::Stopped { batch: batch.id(), jobs: batch.len() });
                self.on_landing(flight, AttemptEnd::Lost, batch, now);
            }
            Report::Returned { flight, batch } => {
                let id = batch.id();
                self.dispatch.returned(flight, batch);
                self.journal.record(Event::Returned { batch: id });
            }
            Report::Closed { worker } => self.pool.worker_closed(worker),
            Report::ThreadEnded { worker } => self.pool.thread_ended(worker),
            Report::Gone { worker } => {
                self.dispatch.worker_unable(worker);
                let delay = self.pool.gone(worker, now);
                self.on_restart(worker, delay, now);
            }
        }
    }

    fn restart(&mut self, worker: WorkerId, why: &str, now: Instant) {
        self.dispatch.worker_unable(worker);
        let delay = self.pool.failed(worker, why, now);
        self.on_restart(worker, delay, now);
    }

    /// A worker will be rebuilt, if the pool knew it.
    pub(super) fn on_restart(&mut self, worker: WorkerId, delay: Option<RestartDelay>, now: Instant) {
        let Some(RestartDelay { until, resting }) = delay else { return };
        let restarted = Restarted { worker: worker.seat, back_in: until.saturating_duration_since(now) };
        self.journal.record(Event::Restarted { restarted, resting });
    }

    /// A flight has ended, unless it had ended before.
    fn on_landing(&mut self, flight: FlightId, end: AttemptEnd<P::Job>, batch: Batch<P::Job>, now: Instant) {
        let (id, jobs, attempt, status) = (batch.id(), batch.len(), batch.attempt(), status(&end));
        let is_answer = matches!(end, AttemptEnd::Answered(_));
        let landed = self.dispatch.landed(flight, end, batch, now);
        if is_answer && landed.as_ref().is_none_or(|landed| landed.overdue) {
            self.journal.record(Event::LateAnswer);
        }
        let Some(Landed { waited, took, overdue }) = landed else { return };
        if !overdue {
            self.journal.record(Event::Attempted(Attempted { batch: id, jobs, attempt, status, waited, took }));
        }
        // The policy learns from answers only, and also from one that refused the size.
        if matches!(status, AttemptStatus::Answered | AttemptStatus::TooLarge) {
            self.shared.intake.answered(&Timing { jobs, waited, took });
        }
    }
}

/// How the attempt ended.
fn status<J: Job>(end: &AttemptEnd<J>) -> AttemptStatus {
    match end {
        AttemptEnd::Answered(JobResults::TooLarge(_)) => AttemptStatus::TooLarge,
        AttemptEnd::Answered(results) if results.whole_failure().is_some() => AttemptStatus::Failed,
        AttemptEnd::Answered(_) => AttemptStatus::Answered,
        AttemptEnd::Panicked => AttemptStatus::Panicked,
        AttemptEnd::Cancelled => AttemptStatus::TimedOut,
        AttemptEnd::Lost => AttemptStatus::Lost,
    }
}
