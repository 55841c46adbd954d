//! The message door: what may be sent to a `CollectorActor`.
//!
//! Both doors are one: a message and the handle's method of the same name end in the same call. The responses have a
//! [`MessageResponse`] of their own, which moves actix's sender to where the answer will be known. actix's ready-made response
//! futures would cost an allocation and a task per message (`ResponseFuture`), or a place among the context's futures, all of
//! which are polled at every wake-up – and of which actix polls only some while a flood makes the context yield.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context as TaskContext, Poll},
    time::Duration,
};

use actix::{
    Actor, AsyncContext, Context, Handler, Message, Recipient,
    dev::{MessageResponse, OneshotSender},
    fut::wrap_future,
};
use tokio::time::Instant;

use super::{
    actor::CollectorActor,
    intake::{Intake, News},
    shared::Shared,
};
use crate::{
    batch::Metadata,
    job::{Job, JobEvent, JobId, JobResult, JobState, Priority},
    observe::{ShutdownReport, Stats},
    processor::BatchProcessor,
};

/// Submits one job. The answer is that job's own reply; while the collector is full it is
/// [`JobError::Overloaded`](crate::JobError::Overloaded) at once.
///
/// `do_send` forgets the reply, and the job is processed all the same.
///
/// ```
/// # use actix_batch::prelude::*;
/// # struct Double(u64);
/// # impl Job for Double { type Output = u64; type Error = String; }
/// # struct Doubles;
/// # impl BatchProcessor for Doubles {
/// #     type Job = Double;
/// #     async fn process(&mut self, batch: &Batch<Double>) -> Result<Outcomes<Double>, String> {
/// #         Ok(Outcomes::in_order(batch.iter().map(|job| job.0 * 2)))
/// #     }
/// # }
/// # actix_rt::System::new().block_on(async {
/// let addr = Collector::builder(|| Doubles).build().unwrap().start();
/// assert_eq!(addr.send(SubmitJob::new(Double(4))).await.unwrap().unwrap(), 8);
/// # });
/// ```
///
/// What a job says about itself, it says here; the handle takes the same:
///
/// ```
/// # use std::time::Duration;
/// # use actix_batch::prelude::*;
/// # struct Double(u64);
/// # impl Job for Double { type Output = u64; type Error = String; }
/// # struct Doubles;
/// # impl BatchProcessor for Doubles {
/// #     type Job = Double;
/// #     async fn process(&mut self, batch: &Batch<Double>) -> Result<Outcomes<Double>, String> {
/// #         Ok(Outcomes::in_order(batch.iter().map(|job| job.0 * 2)))
/// #     }
/// # }
/// # actix_rt::System::new().block_on(async {
/// let doubles = Collector::builder(|| Doubles).start().unwrap();
/// let urgent = SubmitJob::new(Double(4)).priority(Priority::High).within(Duration::from_millis(50));
/// assert_eq!(doubles.submit(urgent).await.unwrap(), 8);
/// # });
/// ```
#[derive(Debug, Clone)]
pub struct SubmitJob<J> {
    job: J,
    /// What it brings along.
    metadata: Option<Box<Metadata>>,
}

impl<J: Job> SubmitJob<J> {
    /// Submits this job.
    #[inline]
    pub fn new(job: J) -> Self {
        Self { job, metadata: Metadata::here() }
    }

    /// The job, and what it brings along.
    #[inline]
    pub(crate) fn into_parts(self) -> (J, Option<Box<Metadata>>) {
        (self.job, self.metadata)
    }

    /// How urgent it is. Default: [`Priority::Normal`].
    pub fn priority(mut self, priority: Priority) -> Self {
        self.metadata.get_or_insert_default().priority = priority;
        self
    }

    /// Until when it has to be sent. A job that is late is settled as [`JobError::Expired`](crate::JobError::Expired), also while
    /// every worker is busy, and never reaches the processor. A job that is being tried again gets the error of the attempt
    /// before.
    ///
    /// Its batch leaves when three quarters of the time until then have passed, if nothing makes it leave before. Default: none.
    pub fn deadline(mut self, deadline: Instant) -> Self {
        self.metadata.get_or_insert_default().deadline = Some(deadline);
        self
    }

    /// As [`deadline`](Self::deadline), counted from now.
    pub fn within(self, time: Duration) -> Self {
        match Instant::now().checked_add(time) {
            Some(deadline) => self.deadline(deadline),
            None => self,
        }
    }
}

/// Two are equal when their jobs are.
impl<J: PartialEq> PartialEq for SubmitJob<J> {
    fn eq(&self, other: &Self) -> bool {
        self.job == other.job
    }
}

impl<J: Eq> Eq for SubmitJob<J> {}

impl<J: Job> From<J> for SubmitJob<J> {
    #[inline]
    fn from(job: J) -> Self {
        Self::new(job)
    }
}

impl<J: Job> Message for SubmitJob<J> {
    type Result = JobResult<J>;
}

/// The response to [`SubmitJob`]: actix's sender joins the open batch together with the job, and is the job's reply.
#[derive(Debug)]
pub struct Admission<J: Job> {
    message: SubmitJob<J>,
    intake: Arc<Intake<J>>,
}

impl<P: BatchProcessor> Handler<SubmitJob<P::Job>> for CollectorActor<P> {
    type Result = Admission<P::Job>;

    fn handle(&mut self, message: SubmitJob<P::Job>, ctx: &mut Context<Self>) -> Self::Result {
        self.count_message(ctx);
        Admission { message, intake: Arc::clone(self.intake()) }
    }
}

impl<P: BatchProcessor> MessageResponse<CollectorActor<P>, SubmitJob<P::Job>> for Admission<P::Job> {
    fn handle(self, ctx: &mut Context<CollectorActor<P>>, sender: Option<OneshotSender<JobResult<P::Job>>>) {
        let (job, metadata) = self.message.into_parts();
        if self.intake.message(job, metadata, sender) == News::Some {
            make_way(ctx);
        }
    }
}

/// Lets everything else on this arbiter run before the next message: actix would drain the mailbox first, and with it starve
/// timers, completions and local workers.
pub(super) fn make_way<A: Actor<Context = Context<A>>>(ctx: &mut Context<A>) {
    ctx.wait(wrap_future::<_, A>(Yield(false)));
}

struct Yield(bool);

impl Future for Yield {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<()> {
        if self.0 {
            return Poll::Ready(());
        }
        self.0 = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Something that both doors ask of the actor.
pub(crate) trait Ask: Message + Sized + Send + 'static
where
    Self::Result: Send,
{
    fn request(self, sender: Option<OneshotSender<Self::Result>>) -> Request;
}

/// What the actor is asked, and whom to answer.
pub(crate) enum Request {
    Flush(Option<OneshotSender<usize>>),
    Pause(Option<OneshotSender<()>>),
    Resume(Option<OneshotSender<()>>),
    SetMaxInFlight(usize, Option<OneshotSender<()>>),
    GetJobState(JobId, Option<OneshotSender<Option<JobState>>>),
    Subscribe(Recipient<JobEvent>, Option<OneshotSender<()>>),
    GetStats(Option<OneshotSender<Stats>>),
    Shutdown(Shutdown, Option<OneshotSender<ShutdownReport>>),
}

/// Sends the open batch now. Answers with how many jobs it had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flush;

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

/// Asks where a job is; the collector's builder has to have said [`track_jobs`](crate::CollectorBuilder::track_jobs). `None`: there was
/// no such job, it has been forgotten since, or nobody tracks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GetJobState(pub JobId);

/// Sends this recipient a [`JobEvent`] each time that a batch's jobs come into another state, from the next batch on.
///
/// One that does not keep up loses events – as many as its mailbox does not take, counted in [`JobEvent::missed`] and
/// [`Stats::lost_events`] – and holds nobody up. One that has ended is forgotten.
///
/// ```
/// use actix_batch::prelude::*;
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
#[derive(Debug, Clone)]
pub struct Subscribe(pub Recipient<JobEvent>);

/// Stops intake, sends what is buffered, awaits what is outstanding, and answers with a [`ShutdownReport`] after the last
/// reply. The order: refuse new jobs; refuse the submitters in line; flush; await. It ends a pause.
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

macro_rules! ask {
    ($($message:ident => $result:ty, $this:ident, $sender:ident, $request:expr;)+) => {$(
        impl Message for $message {
            type Result = $result;
        }

        impl Ask for $message {
            fn request($this, $sender: Option<OneshotSender<$result>>) -> Request {
                $request
            }
        }

        impl<P: BatchProcessor> Handler<$message> for CollectorActor<P> {
            type Result = Answer<P::Job, $message>;

            fn handle(&mut self, message: $message, _: &mut Context<Self>) -> Self::Result {
                Answer { message, shared: Arc::clone(self.shared()) }
            }
        }
    )+};
}

ask! {
    Flush => usize, self, sender, Request::Flush(sender);
    Pause => (), self, sender, Request::Pause(sender);
    Resume => (), self, sender, Request::Resume(sender);
    SetMaxInFlight => (), self, sender, Request::SetMaxInFlight(self.0, sender);
    GetJobState => Option<JobState>, self, sender, Request::GetJobState(self.0, sender);
    Subscribe => (), self, sender, Request::Subscribe(self.0, sender);
    GetStats => Stats, self, sender, Request::GetStats(sender);
    Shutdown => ShutdownReport, self, sender, Request::Shutdown(self, sender);
}

/// The response to the messages that ask the collector something: moves actix's sender to where the answer will be known.
#[derive(Debug)]
pub struct Answer<J: Job, M> {
    message: M,
    shared: Arc<Shared<J>>,
}

impl<A: Actor, J: Job, M: Ask<Result: Send>> MessageResponse<A, M> for Answer<J, M> {
    fn handle(self, _: &mut A::Context, sender: Option<OneshotSender<M::Result>>) {
        self.shared.ask(self.message.request(sender));
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Flush(_) => "Flush",
            Self::Pause(_) => "Pause",
            Self::Resume(_) => "Resume",
            Self::SetMaxInFlight(..) => "SetMaxInFlight",
            Self::GetJobState(..) => "GetJobState",
            Self::Subscribe(..) => "Subscribe",
            Self::GetStats(_) => "GetStats",
            Self::Shutdown(..) => "Shutdown",
        })
    }
}
