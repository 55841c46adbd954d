//! When the open batch leaves.
//!
//! A policy is a pure decision: it is told what is in the open batch and answers what to do. It reads no clock, sees neither
//! actix nor a job, and runs under the collector's lock, so it must be quick and must not call the collector. Whatever a
//! policy says, `max_size` caps the batch and a full collector sends what it has.

use tokio::time::Instant;

mod size_or_interval;

pub use size_or_interval::SizeOrInterval;

/// What a policy sees of the open batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct OpenBatch {
    /// Jobs in it.
    pub jobs: usize,
    /// When its first job joined; `None` while it is empty.
    pub opened_at: Option<Instant>,
}

/// What to do with a job that is about to join.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Decision {
    /// It joins.
    Add,
    /// It joins, and the batch leaves with it.
    AddAndSend,
}

/// Decides when the open batch leaves.
pub trait FlushPolicy: Send + 'static {
    /// A job is about to join.
    fn on_job(&mut self, open: &OpenBatch) -> Decision;

    /// When the open batch leaves even if nothing more joins; `None`: not by time. Asked again after that time has come, so
    /// the answer may move.
    fn due(&self, open: &OpenBatch) -> Option<Instant>;
}
