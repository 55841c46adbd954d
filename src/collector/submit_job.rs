//! The message that submits a job, and what it says about the job.

use std::time::Duration;

use actix::Message;
use tokio::time::Instant;

use crate::{
    batch::Metadata,
    job::{Job, JobResult, Priority},
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
