//! The one place that hears of every event: it counts, follows jobs, notifies observers and writes the log.
//!
//! The code that acts describes what happened as one [`Event`]; this module decides what follows from it.

use std::{fmt, sync::Arc, time::Duration};

use actix::Recipient;
use tokio::time::Instant;

use tracing::{debug, error, info, warn};

use super::{
    Attempted, Dispatched, Flushed, Levels, Measurements, Observers, Restarted, Retried, Settled, ShutdownReport,
    Split, Stats, Tracker,
};
use crate::{
    batch::{Stray, Tally, Trigger},
    dispatch::BreakerState,
    error::Failures,
    job::{JobEvent, JobId, JobIds, JobState},
    panics::catch,
};

/// What happened.
pub(crate) enum Event<'a> {
    /// A batch left the intake. `jobs` are its jobs' numbers, where jobs are tracked.
    Flushed { flushed: Flushed, jobs: Option<JobIds> },
    /// A batcher left jobs out of its batches.
    LeftOut { jobs: usize },
    /// A batch was handed to a worker.
    Dispatched(Dispatched),
    /// An attempt ended.
    Attempted(Attempted),
    /// An answer came after its flight had been settled, or after it had timed out.
    LateAnswer,
    /// Results without a job.
    Stray { batch: u64, stray: Stray },
    /// Jobs will be tried again, as a new batch.
    Retrying { from: u64, retried: Retried },
    /// A back-off is over: the batch is ready again.
    Again { batch: u64 },
    /// A worker gave a batch back that it had not started.
    Returned { batch: u64 },
    /// A batch was split; its halves are attempt number `attempt`.
    Split { split: Split, attempt: u32 },
    /// The breaker changed its state.
    Breaker(BreakerState),
    /// A processor panicked.
    Panicked { batch: u64, jobs: usize, message: &'a str },
    /// A worker went away while it processed a batch.
    Stopped { batch: u64, jobs: usize },
    /// A worker was told to stop.
    Cancelled { worker: usize },
    /// A worker did not stop when it was told to.
    GivenUp { worker: usize },
    /// A worker will be rebuilt.
    Restarted { restarted: Restarted, resting: bool },
    /// Jobs received their replies; `before` is the tally before that.
    Settled { before: Tally, dead_letters: bool },
    /// Jobs that came by `do_send` were refused.
    RejectedSends { count: u64, now: Instant },
    /// A shutdown began.
    ShuttingDown { outstanding: usize },
    /// A shutdown is complete.
    Drained(&'a ShutdownReport),
    /// All that was due has been done.
    Looked(&'a Levels),
}

pub(crate) struct Journal {
    collector: Arc<str>,
    measurements: Measurements,
    tracker: Option<Tracker>,
    observers: Observers,
    unlogged_rejections: u64,
    rejections_logged_at: Option<Instant>,
}

impl Journal {
    const REJECTIONS_LOGGED_EVERY: Duration = Duration::from_secs(1);

    /// `history`: how many settled jobs are remembered; `None`: jobs are not tracked until there is a subscriber.
    pub(crate) fn new(collector: Arc<str>, observers: Observers, history: Option<usize>) -> Self {
        let tracker = history.map(|history| Tracker::new(Arc::clone(&collector), history));
        Self {
            collector,
            measurements: Measurements::default(),
            tracker,
            observers,
            unlogged_rejections: 0,
            rejections_logged_at: None,
        }
    }

    /// Counts, tracks, tells and logs what happened.
    pub(crate) fn record(&mut self, event: Event<'_>) {
        let collector = &*self.collector;
        match event {
            Event::Flushed { flushed, jobs } => self.flushed(&flushed, jobs),
            Event::LeftOut { jobs } => {
                self.measurements.left_out += jobs as u64;
                warn!(
                    collector,
                    jobs, "a batcher left jobs out of its batches: they go into a last batch of their own"
                );
            }
            Event::Dispatched(dispatched) => self.dispatched(&dispatched),
            Event::Attempted(attempted) => {
                self.measurements.processed(attempted.took);
                self.observers.notify(|observer, collector| observer.attempted(collector, &attempted));
            }
            Event::LateAnswer => self.measurements.late += 1,
            Event::Stray { batch, stray } => self.stray(batch, stray),
            Event::Retrying { from, retried } => self.retrying(from, &retried),
            Event::Again { batch } => self.track(|tracker| tracker.again(batch)),
            Event::Returned { batch } => self.track(|tracker| tracker.given_back(batch)),
            Event::Split { split, attempt } => self.split(&split, attempt),
            Event::Breaker(state) => {
                warn!(collector, state = state.as_str(), "circuit breaker");
                self.observers.notify(|observer, collector| observer.breaker(collector, state));
            }
            Event::Panicked { batch, jobs, message } => warn!(collector, batch, jobs, message, "processor panicked"),
            Event::Stopped { batch, jobs } => {
                warn!(collector, batch, jobs, "worker stopped while it processed a batch");
            }
            Event::Cancelled { worker } => warn!(collector, worker, "the worker is told to stop"),
            Event::GivenUp { worker } => {
                error!(collector, worker, "the worker did not stop: it is given up, and its thread with it");
            }
            Event::Restarted { restarted, resting } => self.restarted(&restarted, resting),
            Event::Settled { before, dead_letters } => self.settled(&before, dead_letters),
            Event::RejectedSends { count, now } => self.rejected_sends(count, now),
            Event::ShuttingDown { outstanding } => info!(collector, outstanding, "shutting down"),
            Event::Drained(report) => {
                info!(collector, completed = report.completed, shut_down = report.shut_down, "drained");
                self.observers.notify(|observer, collector| observer.drained(collector, report));
            }
            Event::Looked(levels) => self.observers.notify(|observer, collector| observer.levels(collector, levels)),
        }
    }

    fn flushed(&mut self, flushed: &Flushed, ids: Option<JobIds>) {
        let Flushed { batch, trigger, jobs, .. } = *flushed;
        self.measurements.flushed(trigger, jobs);
        if let Some(ids) = ids {
            self.track(|tracker| tracker.flushed(batch, ids));
        }
        debug!(collector = &*self.collector, batch, jobs, trigger = trigger.as_str(), "flushed");
        self.observers.notify(|observer, collector| observer.flushed(collector, flushed));
    }

    fn dispatched(&mut self, dispatched: &Dispatched) {
        self.measurements.dispatched(dispatched.waited);
        self.track(|tracker| tracker.sent(dispatched.batch));
        self.observers.notify(|observer, collector| observer.dispatched(collector, dispatched));
    }

    fn stray(&mut self, batch: u64, stray: Stray) {
        let Stray { unknown, repeated } = stray;
        if unknown + repeated > 0 {
            let collector = &*self.collector;
            warn!(
                collector,
                batch, unknown, repeated, "results without a job: unknown keys, or a second result for a key"
            );
        }
        self.measurements.stray(stray);
    }

    fn retrying(&mut self, from: u64, retried: &Retried) {
        let Retried { batch, jobs, attempt, delay } = *retried;
        self.measurements.flushed(Trigger::Retry, jobs);
        debug!(collector = &*self.collector, batch, jobs, attempt, ?delay, "will be tried again");
        self.track(|tracker| tracker.retrying(from, batch, attempt));
        self.observers.notify(|observer, collector| observer.retried(collector, retried));
    }

    fn split(&mut self, split: &Split, attempt: u32) {
        let Split { batch, into, jobs } = *split;
        for jobs in jobs {
            self.measurements.flushed(Trigger::Split, jobs);
        }
        debug!(collector = &*self.collector, batch, ?into, ?jobs, "split");
        self.track(|tracker| tracker.split(batch, into, jobs[0], attempt));
        self.observers.notify(|observer, collector| observer.split(collector, split));
    }

    fn restarted(&mut self, restarted: &Restarted, resting: bool) {
        self.measurements.restarts += 1;
        self.observers.notify(|observer, collector| observer.restarted(collector, restarted));
        if resting {
            self.observers.notify(|observer, collector| observer.resting(collector, restarted));
        }
    }

    /// At most one line a second, with what has come together since the last one.
    fn rejected_sends(&mut self, count: u64, now: Instant) {
        self.unlogged_rejections += count;
        if self.rejections_logged_at.is_none_or(|last| now >= last + Self::REJECTIONS_LOGGED_EVERY) {
            self.rejections_logged_at = Some(now);
            let jobs = std::mem::take(&mut self.unlogged_rejections);
            warn!(collector = &*self.collector, jobs, "refused, and no caller was told: the jobs came by `do_send`");
        }
    }

    fn settled(&mut self, before: &Tally, dead_letters: bool) {
        let Tally { succeeded, failed, forgotten } = self.measurements.tally;
        let jobs = forgotten - before.forgotten;
        if jobs > 0 && !dead_letters {
            warn!(collector = &*self.collector, jobs, "failed, and no caller was told: the jobs came by `do_send`");
        }
        self.observers.notify(|observer, collector| {
            let settled = Settled { succeeded: succeeded - before.succeeded, failed: failed.since(&before.failed) };
            observer.settled(collector, &settled);
        });
    }

    /// Logs how jobs are about to be settled: the error that they share, if there is one.
    pub(crate) fn settling<E: fmt::Debug>(&self, jobs: usize, attempts: u32, error: Option<&E>) {
        debug!(collector = &*self.collector, jobs, attempts, error = ?Shown(error), "settled");
    }

    /// These jobs of a batch have received their replies, and ended like this.
    pub(crate) fn jobs_ended(&mut self, batch: u64, attempts: u32, jobs: &JobIds, ends: &[JobState]) {
        self.track(|tracker| tracker.settled(batch, attempts, jobs, ends));
    }

    /// How settled jobs ended so far; settling counts here.
    #[inline]
    pub(crate) fn tally(&mut self) -> &mut Tally {
        &mut self.measurements.tally
    }

    pub(crate) fn failures(&self) -> Failures {
        self.measurements.tally.failed
    }

    /// Whether jobs are tracked.
    pub(crate) fn is_tracking(&self) -> bool {
        self.tracker.is_some()
    }

    /// Whether there are observers.
    pub(crate) fn is_observed(&self) -> bool {
        self.observers.any()
    }

    /// Where a job is that has left the intake.
    pub(crate) fn job_state(&self, job: JobId) -> Option<JobState> {
        self.tracker.as_ref()?.state(job)
    }

    /// Where subscribers are kept. From now on jobs are tracked.
    pub(crate) fn tracker(&mut self) -> &mut Tracker {
        self.tracker.get_or_insert_with(|| Tracker::new(Arc::clone(&self.collector), 0))
    }

    /// Returns how many subscriptions this has ended.
    pub(crate) fn unsubscribe(&mut self, recipient: &Recipient<JobEvent>) -> usize {
        self.tracker.as_mut().map_or(0, |tracker| tracker.unsubscribe(recipient))
    }

    pub(crate) fn stats(&mut self, levels: Levels, lost_dead_letters: u64) -> Stats {
        self.measurements.lost_events = self.tracker.as_ref().map_or(0, |tracker| tracker.lost);
        self.measurements.lost_dead_letters = lost_dead_letters;
        self.measurements.snapshot(&self.collector, levels)
    }

    #[inline]
    fn track(&mut self, follow: impl FnOnce(&mut Tracker)) {
        if let Some(tracker) = &mut self.tracker {
            follow(tracker);
        }
    }
}

/// A user's error in the log: a panic of its `Debug` is contained.
struct Shown<E>(E);

impl<E: fmt::Debug> fmt::Debug for Shown<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&catch(|| format!("{:?}", self.0)).unwrap_or_else(|| "(its Debug panicked)".to_owned()))
    }
}
