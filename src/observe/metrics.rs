//! The observer that counts and measures through the `metrics` facade.
//!
//! Everything is registered once, so that an event costs an atomic operation, and so that what has not happened yet reads 0.

use metrics::{
    Counter, Gauge, Histogram, Key, KeyName, Label, Level, Metadata, Unit, describe_counter, describe_gauge,
    describe_histogram, with_recorder,
};

use super::{Attempted, Dispatched, Flushed, Levels, Observer, Restarted, Retried, Settled, Split};
use crate::{batch::Trigger, dispatch::BreakerState, error::Failures, error::RejectReason, job::JobId};

const SUBMITTED: &str = "actix_batch_jobs_submitted_total";
const COMPLETED: &str = "actix_batch_jobs_completed_total";
const FAILED: &str = "actix_batch_jobs_failed_total";
const REJECTED: &str = "actix_batch_jobs_rejected_total";
const BATCHES: &str = "actix_batch_batches_total";
const BATCH_SIZE: &str = "actix_batch_batch_size";
const QUEUE_WAIT: &str = "actix_batch_queue_wait_seconds";
const PROCESS: &str = "actix_batch_process_seconds";
const PENDING: &str = "actix_batch_pending_jobs";
const IN_FLIGHT: &str = "actix_batch_in_flight_batches";
const RETRIES: &str = "actix_batch_retries_total";
const BREAKER: &str = "actix_batch_breaker_state";
const ABLE: &str = "actix_batch_workers_able";
const RESTARTS: &str = "actix_batch_worker_restarts_total";

const METADATA: Metadata<'static> = Metadata::new("actix_batch", Level::INFO, Some(module_path!()));

/// One collector's metrics.
pub(crate) struct Metrics {
    submitted: Counter,
    completed: Counter,
    /// By cause, in the order of [`Failures::iter`].
    failed: Vec<Counter>,
    rejected: [(RejectReason, Counter); RejectReason::ALL.len()],
    batches: [(Trigger, Counter); Trigger::ALL.len()],
    batch_size: Histogram,
    queue_wait: Histogram,
    process: Histogram,
    pending: Gauge,
    in_flight: Gauge,
    retries: Counter,
    breaker: Gauge,
    able: Gauge,
    restarts: Counter,
}

impl Metrics {
    /// Registers them with the recorder that is installed now.
    pub(crate) fn new(collector: &str) -> Self {
        describe();
        let label = Label::new("collector", collector.to_owned());
        let one = |name| counter(name, vec![label.clone()]);
        let by = |name, key, value| counter(name, vec![label.clone(), Label::from_static_parts(key, value)]);
        Self {
            submitted: one(SUBMITTED),
            completed: one(COMPLETED),
            failed: Failures::default().iter().map(|(cause, _)| by(FAILED, "cause", cause)).collect(),
            rejected: RejectReason::ALL.map(|reason| (reason, by(REJECTED, "reason", reason.as_str()))),
            batches: Trigger::ALL.map(|trigger| (trigger, by(BATCHES, "trigger", trigger.as_str()))),
            batch_size: histogram(BATCH_SIZE, &label),
            queue_wait: histogram(QUEUE_WAIT, &label),
            process: histogram(PROCESS, &label),
            pending: gauge(PENDING, &label),
            in_flight: gauge(IN_FLIGHT, &label),
            retries: one(RETRIES),
            breaker: gauge(BREAKER, &label),
            able: gauge(ABLE, &label),
            restarts: one(RESTARTS),
        }
    }

    fn batch(&self, trigger: Trigger, jobs: usize) {
        self.batch_size.record(as_f64(jobs));
        if let Some((_, batches)) = self.batches.iter().find(|(known, _)| *known == trigger) {
            batches.increment(1);
        } else {
            debug_assert!(false, "{trigger} is not in `Trigger::ALL`");
        }
    }
}

impl Observer for Metrics {
    fn accepted(&self, _: &str, _: JobId) {
        self.submitted.increment(1);
    }

    fn rejected(&self, _: &str, reason: RejectReason) {
        if let Some((_, rejected)) = self.rejected.iter().find(|(known, _)| *known == reason) {
            rejected.increment(1);
        }
    }

    fn flushed(&self, _: &str, batch: &Flushed) {
        self.batch(batch.trigger, batch.jobs);
    }

    fn dispatched(&self, _: &str, batch: &Dispatched) {
        self.queue_wait.record(batch.waited);
    }

    fn attempted(&self, _: &str, attempt: &Attempted) {
        self.process.record(attempt.took);
    }

    fn settled(&self, _: &str, settled: &Settled) {
        if settled.succeeded > 0 {
            self.completed.increment(settled.succeeded);
        }
        for ((_, count), counter) in settled.failed.iter().zip(&self.failed) {
            if count > 0 {
                counter.increment(count);
            }
        }
    }

    fn retried(&self, _: &str, retry: &Retried) {
        self.batch(Trigger::Retry, retry.jobs);
        self.retries.increment(retry.jobs as u64);
    }

    fn split(&self, _: &str, split: &Split) {
        for jobs in split.jobs {
            self.batch(Trigger::Split, jobs);
        }
    }

    fn restarted(&self, _: &str, _: &Restarted) {
        self.restarts.increment(1);
    }

    fn levels(&self, _: &str, levels: &Levels) {
        self.pending.set(as_f64(levels.intake.pending));
        self.in_flight.set(as_f64(levels.in_flight));
        self.able.set(as_f64(levels.workers.able));
        self.breaker.set(match levels.breaker {
            None | Some(BreakerState::Closed) => 0.0,
            Some(BreakerState::HalfOpen) => 1.0,
            Some(BreakerState::Open) => 2.0,
        });
    }
}

#[allow(clippy::cast_precision_loss, reason = "above 2^53 a metric need not be exact")]
fn as_f64(count: usize) -> f64 {
    count as f64
}

fn counter(name: &'static str, labels: Vec<Label>) -> Counter {
    let key = Key::from_parts(KeyName::from_const_str(name), labels);
    with_recorder(|recorder| recorder.register_counter(&key, &METADATA))
}

fn gauge(name: &'static str, label: &Label) -> Gauge {
    let key = Key::from_parts(KeyName::from_const_str(name), vec![label.clone()]);
    with_recorder(|recorder| recorder.register_gauge(&key, &METADATA))
}

fn histogram(name: &'static str, label: &Label) -> Histogram {
    let key = Key::from_parts(KeyName::from_const_str(name), vec![label.clone()]);
    with_recorder(|recorder| recorder.register_histogram(&key, &METADATA))
}

fn describe() {
    describe_counter!(SUBMITTED, Unit::Count, "Jobs accepted.");
    describe_counter!(COMPLETED, Unit::Count, "Jobs whose reply was an output.");
    describe_counter!(FAILED, Unit::Count, "Jobs whose reply was an error, by cause.");
    describe_counter!(REJECTED, Unit::Count, "Jobs refused, by reason; no processor has seen them.");
    describe_counter!(BATCHES, Unit::Count, "Batches, by why they left.");
    describe_histogram!(BATCH_SIZE, Unit::Count, "Jobs per batch.");
    describe_histogram!(QUEUE_WAIT, Unit::Seconds, "How long the first job of a batch waited for a worker.");
    describe_histogram!(PROCESS, Unit::Seconds, "How long a worker took for a batch.");
    describe_gauge!(PENDING, Unit::Count, "Jobs accepted and not yet settled.");
    describe_gauge!(IN_FLIGHT, Unit::Count, "Batches that are with a worker.");
    describe_counter!(RETRIES, Unit::Count, "Jobs tried again, counted at each retry.");
    describe_gauge!(BREAKER, Unit::Count, "The circuit breaker: 0 closed or none, 1 half-open, 2 open.");
    describe_gauge!(ABLE, Unit::Count, "Workers that can work.");
    describe_counter!(RESTARTS, Unit::Count, "Workers rebuilt after a panic, a stop or the death of their thread.");
}
