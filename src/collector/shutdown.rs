//! The end: how far it is, and what is reported.

use actix::dev::OneshotSender;
use tokio::time::Instant;

use super::messages::Shutdown;
use crate::observe::ShutdownReport;

/// A shutdown under way, or done.
pub(super) struct Ending {
    since: Instant,
    limit: Option<Instant>,
    outstanding: usize,
    waiting: Vec<OneshotSender<ShutdownReport>>,
    report: Option<ShutdownReport>,
}

impl Ending {
    pub(super) fn new(now: Instant, outstanding: usize) -> Self {
        Self { since: now, limit: None, outstanding, waiting: Vec::new(), report: None }
    }

    /// Somebody wants to hear of the end; the tightest limit holds.
    pub(super) fn join(&mut self, shutdown: Shutdown, sender: Option<OneshotSender<ShutdownReport>>, now: Instant) {
        let limit = shutdown.limit.and_then(|limit| now.checked_add(limit));
        self.limit = [self.limit, limit].into_iter().flatten().min();
        match (&self.report, sender) {
            (Some(report), Some(sender)) => drop(sender.send(report.clone())),
            (None, Some(sender)) => self.waiting.push(sender),
            (_, None) => {}
        }
    }

    /// When what is left is to be cut off.
    pub(super) fn due(&self) -> Option<Instant> {
        if self.report.is_some() { None } else { self.limit }
    }

    pub(super) fn is_done(&self) -> bool {
        self.report.is_some()
    }

    /// The last reply is out: everybody hears of it. So many jobs were cut off.
    pub(super) fn done(&mut self, shut_down: u64, now: Instant) -> ShutdownReport {
        let report = ShutdownReport {
            completed: (self.outstanding as u64).saturating_sub(shut_down),
            shut_down,
            elapsed: now.saturating_duration_since(self.since),
        };
        self.report = Some(report.clone());
        for sender in self.waiting.drain(..) {
            let _ = sender.send(report.clone());
        }
        report
    }
}
