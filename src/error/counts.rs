//! Counts of failed jobs by error, and of rejected jobs by reason.

use super::{JobError, RejectReason};

/// Failed jobs by cause, with one field for each [`JobError`] that an accepted job can get.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Failures {
    /// [`JobError::Failed`].
    pub failed: u64,
    /// [`JobError::Mismatch`].
    pub mismatch: u64,
    /// [`JobError::NoResult`].
    pub no_result: u64,
    /// [`JobError::DuplicateKey`].
    pub duplicate_key: u64,
    /// [`JobError::Panicked`].
    pub panicked: u64,
    /// [`JobError::TimedOut`].
    pub timed_out: u64,
    /// [`JobError::CircuitOpen`].
    pub circuit_open: u64,
    /// [`JobError::TooLarge`].
    pub too_large: u64,
    /// [`JobError::Lost`].
    pub lost: u64,
    /// [`JobError::Expired`].
    pub expired: u64,
    /// [`JobError::Abandoned`].
    pub abandoned: u64,
    /// [`JobError::NoWorkers`].
    pub no_workers: u64,
    /// [`JobError::PrepareFailed`].
    pub prepare_failed: u64,
    /// [`JobError::EarlierFailed`].
    pub earlier_failed: u64,
    /// [`JobError::ShutDown`].
    pub shut_down: u64,
}

impl Failures {
    /// All failed jobs.
    pub fn total(&self) -> u64 {
        self.iter().map(|(_, count)| count).sum()
    }

    /// Each cause's name and count, in the order of the fields.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let mut copy = *self;
        copy.fields().map(|(name, count)| (name, *count)).into_iter()
    }

    /// Apart from the path of a success, which is inlined.
    #[cold]
    pub(crate) fn count<E>(&mut self, error: &JobError<E>) {
        *match error {
            JobError::Failed(_) => &mut self.failed,
            JobError::Mismatch { .. } => &mut self.mismatch,
            JobError::NoResult => &mut self.no_result,
            JobError::DuplicateKey => &mut self.duplicate_key,
            JobError::Panicked => &mut self.panicked,
            JobError::TimedOut => &mut self.timed_out,
            JobError::CircuitOpen { .. } => &mut self.circuit_open,
            JobError::TooLarge => &mut self.too_large,
            JobError::Lost => &mut self.lost,
            JobError::Expired => &mut self.expired,
            JobError::Abandoned => &mut self.abandoned,
            JobError::NoWorkers => &mut self.no_workers,
            JobError::PrepareFailed(_) => &mut self.prepare_failed,
            JobError::EarlierFailed => &mut self.earlier_failed,
            // An accepted job never gets the last two.
            JobError::ShutDown | JobError::Overloaded | JobError::KeyConflict => &mut self.shut_down,
        } += 1;
    }

    pub(crate) fn since(&self, earlier: &Self) -> Self {
        let mut since = *self;
        for ((_, count), (_, before)) in since.fields().into_iter().zip(earlier.iter()) {
            *count = count.saturating_sub(before);
        }
        since
    }

    fn fields(&mut self) -> [(&'static str, &mut u64); 15] {
        [
            ("failed", &mut self.failed),
            ("mismatch", &mut self.mismatch),
            ("no_result", &mut self.no_result),
            ("duplicate_key", &mut self.duplicate_key),
            ("panicked", &mut self.panicked),
            ("timed_out", &mut self.timed_out),
            ("circuit_open", &mut self.circuit_open),
            ("too_large", &mut self.too_large),
            ("lost", &mut self.lost),
            ("expired", &mut self.expired),
            ("abandoned", &mut self.abandoned),
            ("no_workers", &mut self.no_workers),
            ("prepare_failed", &mut self.prepare_failed),
            ("earlier_failed", &mut self.earlier_failed),
            ("shut_down", &mut self.shut_down),
        ]
    }
}

/// Rejected jobs by reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rejections([u64; RejectReason::ALL.len()]);

impl Rejections {
    /// All rejected jobs.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Each reason, and how many jobs were rejected for it.
    pub fn iter(&self) -> impl Iterator<Item = (RejectReason, u64)> {
        RejectReason::ALL.into_iter().zip(self.0)
    }

    pub(crate) fn count(&mut self, reason: RejectReason, jobs: u64) {
        let known = RejectReason::ALL.iter().zip(&mut self.0).find(|(known, _)| **known == reason);
        if let Some((_, count)) = known {
            *count += jobs;
        }
    }

    pub(crate) fn since(&self, earlier: &Self) -> Self {
        Self(std::array::from_fn(|at| self.0[at].saturating_sub(earlier.0[at])))
    }
}
