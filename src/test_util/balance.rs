//! What a ledger adds up to, and what does not add up.

use std::fmt;

use crate::{
    error::{Failures, JobError},
    observe::Stats,
};

/// What a [`Ledger`](super::Ledger) has recorded, each job once.
///
/// `submitted` is the sum of `succeeded`, `failed`, `overloaded`, `key_conflict`, `handed_back`, `undelivered`, `gone`, `forgotten` and
/// `outstanding`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Balance {
    /// Jobs that went in by any door.
    pub submitted: u64,
    /// Replies that were an output.
    pub succeeded: u64,
    /// Replies that were an error, by cause. [`JobError::ShutDown`] is also what a refused job gets.
    pub failed: Failures,
    /// Replies that were [`JobError::Overloaded`]: the job was not accepted.
    pub overloaded: u64,
    /// Replies that were [`JobError::KeyConflict`]: the job was not accepted.
    pub key_conflict: u64,
    /// Jobs that `try_submit` handed back.
    pub handed_back: u64,
    /// Messages that reached no collector: the mailbox was closed, or ended with the message in it.
    pub undelivered: u64,
    /// Jobs whose caller went before the reply came.
    pub gone: u64,
    /// Jobs that went in by `do_send`.
    pub forgotten: u64,
    /// Jobs that still wait for their reply.
    pub outstanding: u64,
    /// The most jobs that were seen accepted and unsettled at one time: at every submit and every reply.
    pub most_pending: usize,
    /// The most jobs that were seen waiting for room at one time.
    pub most_waiting: usize,
}

impl Balance {
    pub(super) fn reply<T, E>(&mut self, reply: &Result<T, JobError<E>>) {
        match reply {
            Ok(_) => self.succeeded += 1,
            Err(JobError::Overloaded) => self.overloaded += 1,
            Err(JobError::KeyConflict) => self.key_conflict += 1,
            Err(error) => self.failed.count(error),
        }
    }

    /// Replies that say that the job was not accepted, and nothing else.
    fn refused(&self) -> u64 {
        self.overloaded + self.key_conflict + self.handed_back
    }

    /// Jobs whose replies were not seen.
    fn unseen(&self) -> u64 {
        self.gone + self.forgotten
    }
}

/// What a ledger found wrong: every promise that was broken, with the numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imbalance {
    wrong: Vec<String>,
}

impl Imbalance {
    /// What is wrong, one sentence each.
    pub fn wrong(&self) -> &[String] {
        &self.wrong
    }
}

impl fmt::Display for Imbalance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the ledger does not balance: {}", self.wrong.join("; "))
    }
}

impl std::error::Error for Imbalance {}

/// The collector's side: what its intake has counted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Counted {
    pub(super) accepted: u64,
    pub(super) rejected: u64,
    /// Jobs that got a reply without being accepted.
    pub(super) known_already: u64,
    pub(super) pending: usize,
    pub(super) waiting: usize,
    pub(super) max_pending: usize,
}

/// Collects what is wrong.
#[derive(Default)]
pub(super) struct Audit {
    wrong: Vec<String>,
}

impl Audit {
    pub(super) fn note(&mut self, wrong: impl Into<String>) {
        self.wrong.push(wrong.into());
    }

    fn equal(&mut self, what: &str, left: u64, right: u64) {
        if left != right {
            self.note(format!("{what} ({left} against {right})"));
        }
    }

    /// `value` is `seen`, or up to `unseen` more.
    fn explained(&mut self, what: &str, value: u64, seen: u64, unseen: u64) {
        if value < seen || value - seen > unseen {
            self.note(format!("{what}: counted {value}, callers saw {seen}, and {unseen} had no caller to see it"));
        }
    }

    /// What holds without statistics, also after the collector's end.
    pub(super) fn replies(&mut self, balance: &Balance, counted: &Counted) {
        self.equal("jobs still wait for their reply", balance.outstanding, 0);
        self.equal("accepted jobs are not settled", counted.pending as u64, 0);
        self.equal("jobs still wait for room", counted.waiting as u64, 0);
        if balance.most_pending > counted.max_pending {
            self.note(format!("{} jobs were held, `max_pending` is {}", balance.most_pending, counted.max_pending));
        }
        // A job whose caller goes while it waits is neither accepted nor rejected, and neither is a message that was never read.
        let known = counted.accepted + counted.rejected + counted.known_already;
        self.explained("submitted", balance.submitted, known, balance.unseen() + balance.undelivered);
        let may_be_refused = balance.failed.shut_down + balance.failed.expired;
        self.explained("rejected", counted.rejected, balance.refused(), may_be_refused + balance.unseen());
    }

    /// What the collector says of itself, held against what callers saw.
    pub(super) fn stats(&mut self, balance: &Balance, stats: &Stats) {
        let settled = stats.succeeded + stats.failed.total();
        self.equal("accepted is not succeeded + failed", stats.intake.accepted, settled);
        self.equal("the statistics show jobs pending", stats.intake.pending as u64, 0);
        self.equal("batches still wait for a worker", stats.ready as u64, 0);
        self.equal("batches are still with a worker", stats.in_flight as u64, 0);
        // Whoever got the outcome of an earlier job, or a kept result, or was refused, saw a reply that no accepted job had.
        let refused = stats.intake.rejected.total().saturating_sub(balance.refused());
        let explained = |seen: u64, counted: u64, elsewhere: u64| seen - seen.saturating_sub(counted).min(elsewhere);
        let succeeded = explained(balance.succeeded, stats.succeeded, stats.intake.replayed + stats.intake.cache_hits);
        self.explained("succeeded", stats.succeeded, succeeded, balance.unseen());
        for ((cause, counted), (_, seen)) in stats.failed.iter().zip(balance.failed.iter()) {
            let refused = if matches!(cause, "shut_down" | "expired") { refused } else { 0 };
            let seen = explained(seen, counted, stats.intake.replayed + refused);
            self.explained(cause, counted, seen, balance.unseen());
        }
    }

    pub(super) fn verdict(self, balance: Balance) -> Result<Balance, Imbalance> {
        if self.wrong.is_empty() { Ok(balance) } else { Err(Imbalance { wrong: self.wrong }) }
    }
}
