//! What a batch costs.

use std::{sync::Arc, time::Duration};

use crate::flush::Timing;

/// What a worker needs for a batch: so much for each, and so much for each of its jobs.
///
/// ```
/// use std::time::Duration;
///
/// use actix_batch::flush::{Timing, replay::Cost};
///
/// let took = |jobs, millis| {
///     let mut timing = Timing::default();
///     (timing.jobs, timing.took) = (jobs, Duration::from_millis(millis));
///     timing
/// };
/// let cost = Cost::fit(&[took(10, 5), took(20, 8), took(30, 9)]).unwrap();
/// assert_eq!((cost.batch().as_micros(), cost.job().as_micros()), (3_333, 200));
/// assert_eq!(Cost::fit(&[]), None);
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Cost {
    batch: f64,
    job: f64,
    /// How much longer, or shorter, batches took than that, one after the other.
    strays: Arc<[f64]>,
}

impl Cost {
    /// So much for each batch, and for each job.
    pub fn new(batch: Duration, job: Duration) -> Self {
        Self { batch: batch.as_secs_f64(), job: job.as_secs_f64(), strays: Arc::default() }
    }

    /// The cost that comes nearest to how long batches took: the line of least squares, or where that would have one of the
    /// two below 0, the best one that has it at 0. `None` without timings.
    ///
    /// No line can tell the two apart where all batches had the same size: all of it is then the batch's.
    pub fn fit(timings: &[Timing]) -> Option<Self> {
        let points: Vec<_> = timings.iter().map(|timing| (number(timing.jobs), timing.took.as_secs_f64())).collect();
        let count = number(points.len());
        if points.is_empty() {
            return None;
        }
        let mean_jobs = points.iter().map(|(jobs, _)| jobs).sum::<f64>() / count;
        let mean_took = points.iter().map(|(_, took)| took).sum::<f64>() / count;
        let spread: f64 = points.iter().map(|(jobs, _)| (jobs - mean_jobs).powi(2)).sum();
        let together: f64 = points.iter().map(|(jobs, took)| (jobs - mean_jobs) * (took - mean_took)).sum();
        let job = if spread > 0.0 { (together / spread).max(0.0) } else { 0.0 };
        let batch = mean_took - job * mean_jobs;
        if batch >= 0.0 {
            return Some(Self { batch, job, strays: Arc::default() });
        }
        let squares: f64 = points.iter().map(|(jobs, _)| jobs * jobs).sum();
        let products: f64 = points.iter().map(|(jobs, took)| jobs * took).sum();
        Some(Self { batch: 0.0, job: products / squares, strays: Arc::default() })
    }

    /// As [`fit`](Self::fit), but batches stray from the line as they did: the first one as the first of these, and so on, and
    /// from the start again. Without this a replay knows no slow moments, and its 99th percentile is too good.
    pub fn fit_with_strays(timings: &[Timing]) -> Option<Self> {
        let cost = Self::fit(timings)?;
        let stray = |timing: &Timing| timing.took.as_secs_f64() - cost.line(timing.jobs);
        let strays = timings.iter().map(stray).collect();
        Some(Self { strays, ..cost })
    }

    /// For each batch.
    pub fn batch(&self) -> Duration {
        duration(self.batch)
    }

    /// For each job.
    pub fn job(&self) -> Duration {
        duration(self.job)
    }

    /// For the `n`-th batch, of so many jobs.
    pub(super) fn of(&self, n: usize, jobs: usize) -> Duration {
        let stray = if self.strays.is_empty() { 0.0 } else { self.strays[n % self.strays.len()] };
        duration(self.line(jobs) + stray)
    }

    fn line(&self, jobs: usize) -> f64 {
        self.batch + self.job * number(jobs)
    }
}

#[expect(clippy::cast_precision_loss, reason = "no batch has 2⁵² jobs")]
fn number(count: usize) -> f64 {
    count as f64
}

fn duration(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX)
}
