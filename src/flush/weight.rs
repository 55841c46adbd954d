//! As much as the downstream takes at once.

use std::time::Duration;

use tokio::time::Instant;

use super::{Arrival, Decision, FlushPolicy, OpenBatch};
use crate::batch::Trigger;

/// Sends the batch before its jobs weigh more than `limit` together – bytes, rows, tokens, whatever
/// [`CollectorBuilder::weigh`](crate::CollectorBuilder::weigh) says – or when its first job has waited for the interval, if there is one.
///
/// A batch that weighs exactly `limit` leaves at once. A job heavier than `limit` goes alone. The largest size, in jobs, is the
/// collector's `max_size`. Without `weigh` the collector is refused.
///
/// ```
/// use std::time::Duration;
///
/// use actix_batch::{flush::Weight, prelude::*};
/// # struct Put(Vec<u8>);
/// # impl Job for Put { type Output = (); type Error = String; }
/// # struct Puts;
/// # impl BatchProcessor for Puts {
/// #     type Job = Put;
/// #     async fn process(&mut self, batch: &Batch<Put>) -> Result<Outcomes<Put>, String> {
/// #         assert!(batch.iter().map(|job| job.0.len()).sum::<usize>() <= 1 << 20);
/// #         Ok(Outcomes::all(()))
/// #     }
/// # }
///
/// # actix_rt::System::new().block_on(async {
/// // Requests of a megabyte at the most, after 5 ms at the latest.
/// let puts = Collector::builder(|| Puts)
///     .policy(Weight::new(1 << 20).interval(Duration::from_millis(5)))
///     .weigh(|job| job.0.len() as u64)
///     .start()
///     .unwrap();
/// puts.submit(Put(vec![0; 1 << 19])).await.unwrap();
/// # });
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Weight {
    limit: u64,
    interval: Option<Duration>,
}

impl Weight {
    /// `limit` in what the jobs are weighed in; no interval.
    pub fn new(limit: u64) -> Self {
        Self { limit, interval: None }
    }

    /// How long a batch's first job waits at most. Default: for as long as it takes.
    pub fn interval(self, interval: Duration) -> Self {
        Self { interval: Some(interval), ..self }
    }
}

impl FlushPolicy for Weight {
    fn on_job(&mut self, open: &OpenBatch, job: &Arrival) -> Decision {
        let weight = open.weight.saturating_add(job.weight);
        if weight > self.limit && open.jobs > 0 {
            Decision::SendThenAdd(Trigger::Weight)
        } else if weight >= self.limit {
            Decision::AddAndSend(Trigger::Weight)
        } else {
            Decision::Add
        }
    }

    fn due(&self, open: &OpenBatch) -> Option<Instant> {
        open.opened_at?.checked_add(self.interval?)
    }

    fn reads_weight(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADD: Decision = Decision::Add;
    const WITH_IT: Decision = Decision::AddAndSend(Trigger::Weight);
    const WITHOUT_IT: Decision = Decision::SendThenAdd(Trigger::Weight);

    #[test]
    fn a_batch_never_passes_the_limit_and_a_heavier_job_goes_alone() {
        let cases = [
            // jobs, their weight, the arriving weight
            ((0, 0, 0), ADD),
            ((0, 0, 9), ADD),
            ((0, 0, 10), WITH_IT),
            ((0, 0, 11), WITH_IT),
            ((0, 0, u64::MAX), WITH_IT),
            ((1, 4, 5), ADD),
            ((1, 4, 6), WITH_IT),
            ((1, 4, 7), WITHOUT_IT),
            ((1, 0, 11), WITHOUT_IT),
            ((1, 4, u64::MAX), WITHOUT_IT),
            ((7, 0, 0), ADD),
        ];
        for ((jobs, weight, arriving), decision) in cases {
            let open = OpenBatch { jobs, weight, ..OpenBatch::default() };
            let job = Arrival { weight: arriving, ..Arrival::default() };
            assert_eq!(Weight::new(10).on_job(&open, &job), decision, "{weight} and {arriving}");
        }
    }

    #[test]
    fn the_interval_counts_from_the_first_job() {
        let first = Instant::now();
        let open = OpenBatch { jobs: 1, opened_at: Some(first), ..OpenBatch::default() };
        let interval = Duration::from_millis(5);
        assert_eq!(Weight::new(10).interval(interval).due(&open), Some(first + interval));
        assert_eq!(Weight::new(10).due(&open), None);
    }
}
