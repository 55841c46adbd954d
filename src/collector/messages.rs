//! What may be asked of a `CollectorActor`, besides submitting a job.

use std::time::Duration;

use actix::{Message, Recipient};

use crate::{
    job::{JobEvent, JobId, JobState},
    observe::{ShutdownReport, Stats},
};

/// Sends the open batch now. Answers with how many jobs it had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flush;

/// Sends the open batch now, and answers when every job that was accepted before has its reply. Jobs that come later are not awaited, and
/// jobs that wait for room are not accepted yet. While the collector is paused, the answer waits, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Barrier;

/// Goes on accepting, but hands no batch to a worker until [`Resume`]. Batches that workers have are finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pause;

/// Ends a [`Pause`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resume;

/// Changes how many batches may be with workers at once; 0 holds everything. Batches that workers have are finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SetMaxInFlight(pub usize);

/// Asks what the collector has counted and measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GetStats;

/// Asks where a job is; the collector's builder has to have said [`track_jobs`](crate::CollectorBuilder::track_jobs). `None`: there is no
/// such job, it has been forgotten, or jobs are not tracked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GetJobState(pub JobId);

/// Sends this recipient a [`JobEvent`] each time that a batch's jobs come into another state, from the next batch on.
///
/// A subscriber that does not keep up loses events: those that its mailbox does not take are counted in [`JobEvent::missed`] and
/// [`Stats::lost_events`]. It never slows the collector down. A subscriber that has ended is removed.
///
/// ```
/// use actix_batch::{JobEvent, prelude::*};
/// # struct Double(u64);
/// # impl Job for Double { type Output = u64; type Error = String; }
/// # struct Doubles;
/// # impl BatchProcessor for Doubles {
/// #     type Job = Double;
/// #     async fn process(&mut self, batch: &Batch<Double>) -> Result<Outcomes<Double>, String> {
/// #         Ok(Outcomes::in_order(batch.iter().map(|job| job.0 * 2)))
/// #     }
/// # }
///
/// struct Log;
/// impl Actor for Log {
///     type Context = Context<Self>;
/// }
/// impl Handler<JobEvent> for Log {
///     type Result = ();
///     fn handle(&mut self, event: JobEvent, _: &mut Context<Self>) {
///         println!("{}: jobs {:?} are {}", event.collector, event.jobs, event.state);
///     }
/// }
///
/// # actix_rt::System::new().block_on(async {
/// let doubles = Collector::builder(|| Doubles).start().unwrap();
/// doubles.subscribe(Log.start().recipient()).await.unwrap();
/// assert_eq!(doubles.submit(Double(2)).await.unwrap(), 4);
/// # });
/// ```
///
/// The collector holds the recipient, and so keeps its actor alive, until [`Unsubscribe`] or the collector's own end.
#[derive(Debug, Clone)]
pub struct Subscribe(pub Recipient<JobEvent>);

/// Ends every subscription of this recipient's actor, and answers how many there were.
#[derive(Debug, Clone)]
pub struct Unsubscribe(pub Recipient<JobEvent>);

/// Stops intake, sends what is buffered, awaits what is outstanding, and answers with a [`ShutdownReport`] after the last
/// reply. The order: refuse new jobs, hand back waiting ones, flush, await. It ends a pause.
///
/// A second `Shutdown` gets the same report; the tighter limit holds. The actor then still answers
/// [`JobError::ShutDown`](crate::JobError::ShutDown) to latecomers while addresses exist.
///
/// ```
/// use std::time::Duration;
///
/// use actix_batch::Shutdown;
///
/// let patient = Shutdown::drain();
/// let bounded = Shutdown::drain().within(Duration::from_secs(10));
/// let at_once = Shutdown::now();
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shutdown {
    pub(super) limit: Option<Duration>,
}

impl Shutdown {
    /// Waits for every accepted job, however long that takes.
    pub fn drain() -> Self {
        Self { limit: None }
    }

    /// After this long, settles what is left with [`JobError::ShutDown`](crate::JobError::ShutDown), also when a worker hangs.
    pub fn within(self, limit: Duration) -> Self {
        Self { limit: Some(limit) }
    }

    /// Settles everything at once. Batches that are with a worker may take effect all the same.
    pub fn now() -> Self {
        Self { limit: Some(Duration::ZERO) }
    }
}

macro_rules! answers {
    ($($message:ident => $result:ty;)+) => {$(
        impl Message for $message {
            type Result = $result;
        }
    )+};
}

answers! {
    Barrier => ();
    Flush => usize;
    Pause => ();
    Resume => ();
    SetMaxInFlight => ();
    GetJobState => Option<JobState>;
    Subscribe => ();
    Unsubscribe => usize;
    GetStats => Stats;
    Shutdown => ShutdownReport;
}
