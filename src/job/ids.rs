//! The numbers of many jobs.

use std::{fmt, ops::Range, sync::Arc};

use super::JobId;

/// The numbers of a batch's jobs, in the batch's order. Cheap to clone; consecutive numbers are stored as one range.
///
/// ```
/// use actix_batch::{JobId, JobIds};
///
/// fn seen(jobs: &JobIds, job: JobId) -> bool {
///     jobs.len() == jobs.iter().count() && jobs.contains(job)
/// }
/// ```
#[derive(Clone, PartialEq, Eq, Default)]
pub struct JobIds(Arc<[Range<u64>]>);

impl JobIds {
    /// How many jobs there are.
    pub fn len(&self) -> usize {
        self.0.iter().map(|run| usize::try_from(run.end - run.start).unwrap_or(usize::MAX)).sum()
    }

    /// Whether there are no jobs.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this job is one of them.
    pub fn contains(&self, job: JobId) -> bool {
        self.0.iter().any(|run| run.contains(&job.0))
    }

    /// The numbers, in order.
    pub fn iter(&self) -> impl Iterator<Item = JobId> + '_ {
        self.0.iter().flat_map(|run| run.clone().map(JobId))
    }

    /// The numbers in these ranges, in their order.
    pub(crate) fn of_runs(runs: impl Iterator<Item = Range<u64>>) -> Self {
        let mut merged: Vec<Range<u64>> = Vec::new();
        for run in runs.filter(|run| !run.is_empty()) {
            match merged.last_mut() {
                Some(last) if last.end == run.start => last.end = run.end,
                _ => merged.push(run),
            }
        }
        Self(merged.into())
    }

    /// These jobs without the others.
    pub(crate) fn without(&self, others: &Self) -> Self {
        if self == others {
            return Self::default();
        }
        self.iter().filter(|job| !others.contains(*job)).collect()
    }

    /// The first `first` jobs, and the rest.
    pub(crate) fn split_at(&self, first: usize) -> (Self, Self) {
        (self.iter().take(first).collect(), self.iter().skip(first).collect())
    }
}

impl FromIterator<JobId> for JobIds {
    fn from_iter<I: IntoIterator<Item = JobId>>(jobs: I) -> Self {
        Self::of_runs(jobs.into_iter().map(|job| job.0..job.0 + 1))
    }
}

impl fmt::Debug for JobIds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(ids: &[u64]) -> JobIds {
        ids.iter().map(|id| JobId(*id)).collect()
    }

    #[test]
    fn neighbours_share_a_run_and_the_order_is_kept() {
        let jobs = ids(&[4, 5, 6, 2, 9]);
        assert_eq!(format!("{jobs:?}"), "[4..7, 2..3, 9..10]");
        assert_eq!(jobs.iter().map(JobId::get).collect::<Vec<_>>(), [4, 5, 6, 2, 9]);
        assert_eq!((jobs.len(), jobs.contains(JobId(6)), jobs.contains(JobId(7))), (5, true, false));
        assert_eq!(jobs.without(&ids(&[5, 9])), ids(&[4, 6, 2]));
        assert_eq!(jobs.split_at(2), (ids(&[4, 5]), ids(&[6, 2, 9])));
        assert!(jobs.without(&jobs).is_empty());
    }
}
