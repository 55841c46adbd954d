//! What callers and the downstream notice of a setting.

use std::{ops::Range, time::Duration};

use actix_batch::{
    flush::replay::{Cut, Incoming},
    observe::Trace,
};
use hdrhistogram::Histogram;

/// A day, in microseconds.
const LONGEST: u64 = 24 * 60 * 60 * 1_000_000;

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Summary {
    /// From a job's acceptance to its answer.
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    pub(crate) mean_size: f64,
    pub(crate) calls: usize,
    /// The share of their time that workers were busy.
    pub(crate) use_of_workers: f64,
}

impl Summary {
    pub(crate) fn predicted(jobs: &[Incoming], cuts: &[Cut], workers: usize) -> Self {
        Self::of(jobs, cuts.iter().map(|cut| (cut.jobs.clone(), cut.started, cut.done)), workers)
    }

    /// What really happened.
    pub(crate) fn recorded(trace: &Trace) -> Self {
        let runs = trace.runs().into_iter().map(|(jobs, attempt)| (jobs, attempt.started, attempt.done));
        Self::of(&trace.jobs, runs, trace.config.workers.max())
    }

    fn of(
        jobs: &[Incoming],
        batches: impl Iterator<Item = (Range<usize>, Duration, Duration)>,
        workers: usize,
    ) -> Self {
        let mut latencies = Histogram::<u64>::new_with_bounds(1, LONGEST, 3).expect("these bounds are allowed");
        let (mut answered, mut calls, mut busy, mut end) = (0, 0, Duration::ZERO, Duration::ZERO);
        for (batch, started, done) in batches {
            answered += batch.len();
            calls += 1;
            busy += done.saturating_sub(started);
            end = end.max(done);
            for job in &jobs[batch] {
                latencies.saturating_record(micros(done.saturating_sub(job.at)));
            }
        }
        let begin = jobs.first().map_or(Duration::ZERO, |job| job.at);
        let quantile = |share| Duration::from_micros(latencies.value_at_quantile(share));
        Self {
            p50: quantile(0.5),
            p99: quantile(0.99),
            mean_size: answered as f64 / f64::max(calls as f64, 1.0),
            calls,
            use_of_workers: busy.as_secs_f64() / (end.saturating_sub(begin).as_secs_f64() * workers as f64).max(1e-9),
        }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
