//! The shutdown, in its seven steps: refuse, hand back, flush, wait, cut off, close, report.

use std::mem;

use actix::dev::OneshotSender;
use tokio::time::Instant;

use super::CollectorActor;
use crate::{
    collector::{intake::View, messages::Shutdown},
    dispatch::Order,
    error::JobError,
    observe::{Event, ShutdownReport},
    processor::BatchProcessor,
};

/// A shutdown under way, or complete.
pub(super) struct ShutdownProgress {
    since: Instant,
    /// When the remaining jobs are cut off: the tightest limit that anybody has set.
    cut_off_at: Option<Instant>,
    /// Jobs that were outstanding when it began.
    outstanding: usize,
    waiting: Vec<OneshotSender<ShutdownReport>>,
    /// The workers were told to close their processors.
    closes_workers: bool,
    report: Option<ShutdownReport>,
}

impl<P: BatchProcessor> CollectorActor<P> {
    /// Step 1, refuse, began when the request was made: the intake accepts nothing since then. This begins the others.
    pub(super) fn shut_down(
        &mut self,
        shutdown: Shutdown,
        sender: Option<OneshotSender<ShutdownReport>>,
        now: Instant,
    ) {
        if shutdown == Shutdown::now() {
            // What is about to be cut off is not sent downstream before.
            self.dispatch.pause(true);
        }
        self.begin_shutdown(now);
        if let Some(progress) = &mut self.shutdown {
            progress.join(shutdown, sender, now);
        }
        self.cut_off_if_due(now);
    }

    /// Steps 1 to 3: refuses new jobs, hands waiting ones back, and flushes; step 4, wait, begins. Done once.
    pub(super) fn begin_shutdown(&mut self, now: Instant) {
        if self.shutdown.is_some() {
            return;
        }
        self.shared.intake.close();
        let view = self.send_batches(now);
        self.journal.record(Event::ShuttingDown { outstanding: view.counts.pending });
        self.shutdown = Some(ShutdownProgress::new(now, view.counts.pending));
        self.dispatch.drain();
    }

    /// Step 5, at the limit: settles what is left, whatever its worker does.
    pub(super) fn cut_off_if_due(&mut self, now: Instant) {
        if self.cut_off_at().is_none_or(|limit| limit > now) {
            return;
        }
        self.take_the_rest(now);
        self.dispatch.abort(&JobError::ShutDown, &JobError::ShutDown, now);
    }

    /// Everything that the intake still holds goes to dispatch, to be settled there.
    fn take_the_rest(&mut self, now: Instant) {
        self.shared.intake.release_sequences();
        let mut sealed = mem::take(&mut self.sealed);
        self.shared.intake.look(now, None, false, &mut sealed);
        for batch in sealed {
            self.dispatch.batch_ready(batch);
        }
    }

    /// Steps 6 and 7, after the last reply: the workers close their processors and end; then everyone who has asked gets the report.
    /// At the limit the report comes in any case.
    pub(super) fn finish_shutdown(&mut self, view: &View, now: Instant) {
        let is_cut_off = self.cut_off_at().is_some_and(|limit| limit <= now);
        let Some(progress) = self.shutdown.as_mut().filter(|progress| progress.report.is_none()) else { return };
        if view.counts.pending > 0 {
            return;
        }
        if !mem::replace(&mut progress.closes_workers, true) {
            self.pool.close(now);
        }
        let unclosed = match self.pool.closed() {
            Some(unclosed) => unclosed,
            None if is_cut_off => self.pool.unclosed(),
            None => return,
        };
        let report = progress.complete(self.journal.failures().shut_down, unclosed, now);
        self.shared.reported(report.clone());
        self.journal.record(Event::Drained(&report));
    }

    /// When the remaining jobs are to be cut off.
    pub(super) fn cut_off_at(&self) -> Option<Instant> {
        self.shutdown.as_ref().filter(|progress| progress.report.is_none())?.cut_off_at
    }

    pub(super) fn is_shut_down(&self) -> bool {
        self.shutdown.as_ref().is_some_and(|progress| progress.report.is_some())
    }

    /// The actor goes away, with or without a shutdown: every job that it has is settled.
    pub(super) fn settle_everything(&mut self) {
        self.shared.intake.close();
        self.take_back(Instant::now());
        self.take_the_rest(Instant::now());
        self.dispatch.abort(&JobError::ShutDown, &JobError::Lost, Instant::now());
        while let Some(order) = self.dispatch.take_order() {
            if let Order::Settle { replies, results, jobs, history } = order {
                self.settle(replies, results, jobs, history, Instant::now());
            }
        }
        let view = self.shared.intake.look(Instant::now(), None, false, &mut self.sealed);
        self.tell_levels(&view);
    }
}

impl ShutdownProgress {
    fn new(now: Instant, outstanding: usize) -> Self {
        Self { since: now, cut_off_at: None, outstanding, waiting: Vec::new(), closes_workers: false, report: None }
    }

    /// One more request for the same shutdown: it gets the same report.
    fn join(&mut self, shutdown: Shutdown, sender: Option<OneshotSender<ShutdownReport>>, now: Instant) {
        let limit = shutdown.limit.and_then(|limit| now.checked_add(limit));
        self.cut_off_at = [self.cut_off_at, limit].into_iter().flatten().min();
        match (&self.report, sender) {
            (Some(report), Some(sender)) => drop(sender.send(report.clone())),
            (None, Some(sender)) => self.waiting.push(sender),
            (_, None) => {}
        }
    }

    /// All is over; `shut_down` jobs were cut off, and `unclosed` workers were not awaited.
    fn complete(&mut self, shut_down: u64, unclosed: usize, now: Instant) -> ShutdownReport {
        let report = ShutdownReport {
            completed: (self.outstanding as u64).saturating_sub(shut_down),
            shut_down,
            unclosed,
            elapsed: now.saturating_duration_since(self.since),
        };
        self.report = Some(report.clone());
        for sender in self.waiting.drain(..) {
            let _ = sender.send(report.clone());
        }
        report
    }
}
