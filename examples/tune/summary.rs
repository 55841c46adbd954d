//! What callers and the downstream notice of a setting.

use std::{ops::Range, time::Duration};

use actix_batch::{
    flush::{
        FlushPolicy,
        replay::{Incoming, Setting, replay_each},
    },
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
    pub(crate) fn predicted(policy: impl FlushPolicy, setting: &Setting, jobs: &[Incoming]) -> Self {
        let mut tally = Tally::new(jobs);
        replay_each(policy, setting, jobs, |cut| tally.add(cut.jobs, cut.started, cut.done));
        tally.summary(setting.workers)
    }

    /// What really happened.
    pub(crate) fn recorded(trace: &Trace) -> Self {
        let mut tally = Tally::new(&trace.jobs);
        for (jobs, attempt) in trace.runs() {
            tally.add(jobs, attempt.started, attempt.done);
        }
        tally.summary(trace.config.workers.max())
    }
}

struct Tally<'a> {
    jobs: &'a [Incoming],
    latencies: Histogram<u64>,
    answered: usize,
    calls: usize,
    busy: Duration,
    end: Duration,
}

impl<'a> Tally<'a> {
    fn new(jobs: &'a [Incoming]) -> Self {
        let latencies = Histogram::new_with_bounds(1, LONGEST, 3).expect("these bounds are allowed");
        Self { jobs, latencies, answered: 0, calls: 0, busy: Duration::ZERO, end: Duration::ZERO }
    }

    fn add(&mut self, batch: Range<usize>, started: Duration, done: Duration) {
        self.answered += batch.len();
        self.calls += 1;
        self.busy += done.saturating_sub(started);
        self.end = self.end.max(done);
        for job in &self.jobs[batch] {
            self.latencies.saturating_record(micros(done.saturating_sub(job.at)));
        }
    }

    fn summary(&self, workers: usize) -> Summary {
        let begin = self.jobs.first().map_or(Duration::ZERO, |job| job.at);
        let quantile = |share| Duration::from_micros(self.latencies.value_at_quantile(share));
        let time_of_workers = self.end.saturating_sub(begin).as_secs_f64() * workers as f64;
        Summary {
            p50: quantile(0.5),
            p99: quantile(0.99),
            mean_size: self.answered as f64 / f64::max(self.calls as f64, 1.0),
            calls: self.calls,
            use_of_workers: self.busy.as_secs_f64() / time_of_workers.max(1e-9),
        }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
