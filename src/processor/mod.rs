//! The user's processor, and the supervised workers that run it.

use std::{future::Future, sync::Arc};

use crate::{
    batch::{Batch, Outcomes},
    error::Blame,
    job::Job,
};

mod actor;
mod leaving;
mod limits;
mod pool;
mod report;
mod restarts;
mod scaling;

pub use actor::ProcessorActor;
pub(crate) use limits::Limits;
pub(crate) use pool::Pool;
pub(crate) use report::{Assignment, Cancel, NextAssignment, Report, Reports, TakenBack, Unprepared};
pub(crate) use restarts::RestartDelay;
pub(crate) use scaling::{Load, Scale};

/// Builds the processor of the worker on this seat.
pub(crate) type Factory<P> = Arc<dyn Fn(usize) -> P + Send + Sync>;

/// Your code: takes a batch, makes one request downstream, and returns an outcome for each job.
///
/// Neither futures nor processors need to be `Send`. A processor belongs to one worker, which runs one batch at a time. A panic is
/// caught: it fails that batch, and the worker gets a new processor from the factory.
///
/// ```
/// use actix_batch::prelude::*;
///
/// struct Square(u64);
/// impl Job for Square {
///     type Output = u64;
///     type Error = String;
/// }
///
/// struct Squares;
/// impl BatchProcessor for Squares {
///     type Job = Square;
///     async fn process(&mut self, batch: &Batch<Square>) -> Result<Outcomes<Square>, String> {
///         Ok(Outcomes::in_order(batch.iter().map(|job| job.0 * job.0)))
///     }
/// }
///
/// # actix_rt::System::new().block_on(async {
/// let squares = Collector::builder(|| Squares).start().unwrap();
/// assert_eq!(squares.submit(Square(7)).await.unwrap(), 49);
/// # });
/// ```
pub trait BatchProcessor: Sized + 'static {
    /// What it processes.
    type Job: Job;

    /// Prepares for work: connects, logs in, warms up. Runs when a worker starts and after each restart.
    ///
    /// While it fails, the worker takes no batch; it is tried again on a new processor from the factory, after 10 ms, doubling
    /// to 5 s. Jobs wait meanwhile, within `max_pending`, or fail: see [`NoWorkers`](crate::NoWorkers). It fails, too, if it takes
    /// longer than [`prepare_timeout`](crate::CollectorBuilder::prepare_timeout). The default does nothing.
    ///
    /// # Errors
    ///
    /// Why it cannot work for now. The error is logged.
    fn prepare(&mut self) -> impl Future<Output = Result<(), <Self::Job as Job>::Error>> {
        async { Ok(()) }
    }

    /// Whether an error of [`prepare`](Self::prepare) can never get better: a table that does not exist, a wrong password. The
    /// worker is then not tried again, and when no other is left, jobs fail with
    /// [`JobError::PrepareFailed`](crate::JobError::PrepareFailed). Default: no error is fatal.
    fn is_fatal(_error: &<Self::Job as Job>::Error) -> bool {
        false
    }

    /// Whose fault an error of [`process`](Self::process) is. It decides, with the collector's own settings, whether the error is
    /// tried again, splits the batch, or counts for the breaker: see [`Blame`]. Default: [`Blame::Unknown`]. If it panics, that is the
    /// answer, too.
    ///
    /// ```
    /// use actix_batch::{Blame, prelude::*};
    ///
    /// #[derive(Debug, thiserror::Error)]
    /// enum StoreError {
    ///     #[error("the row breaks a rule of the table")]
    ///     Constraint,
    ///     #[error("the connection is lost")]
    ///     Connection,
    /// }
    ///
    /// struct Insert(u64);
    /// impl Job for Insert {
    ///     type Output = ();
    ///     type Error = StoreError;
    /// }
    ///
    /// struct Inserts;
    /// impl BatchProcessor for Inserts {
    ///     type Job = Insert;
    ///     async fn process(&mut self, batch: &Batch<Insert>) -> Result<Outcomes<Insert>, StoreError> {
    ///         Ok(Outcomes::each(batch.iter().map(|row| if row.0 == 0 { Err(StoreError::Constraint) } else { Ok(()) })))
    ///     }
    ///     fn blame(error: &StoreError) -> Blame {
    ///         match error {
    ///             StoreError::Constraint => Blame::Job,
    ///             StoreError::Connection => Blame::Downstream,
    ///         }
    ///     }
    /// }
    /// ```
    fn blame(_error: &<Self::Job as Job>::Error) -> Blame {
        Blame::Unknown
    }

    /// Says goodbye: writes what is buffered, closes the connection. Called once when the worker leaves for good – at the end of a
    /// shutdown, or when an adaptive pool shrinks – and before the processor is dropped; never after a panic or a time-out, which leave
    /// a processor in an unknown state. It may take as long as
    /// [`close_timeout`](crate::CollectorBuilder::close_timeout). The default does nothing.
    ///
    /// ```
    /// use std::io::{BufWriter, Write};
    ///
    /// use actix_batch::prelude::*;
    ///
    /// struct Line(String);
    /// impl Job for Line {
    ///     type Output = ();
    ///     type Error = std::io::Error;
    /// }
    ///
    /// struct Log(BufWriter<Vec<u8>>);
    /// impl BatchProcessor for Log {
    ///     type Job = Line;
    ///     async fn process(&mut self, batch: &Batch<Line>) -> Result<Outcomes<Line>, std::io::Error> {
    ///         batch.iter().try_for_each(|line| writeln!(self.0, "{}", line.0))?;
    ///         Ok(Outcomes::all(()))
    ///     }
    ///     async fn close(&mut self) {
    ///         if let Err(error) = self.0.flush() {
    ///             eprintln!("the end of the log is lost: {error}");
    ///         }
    ///     }
    /// }
    /// ```
    fn close(&mut self) -> impl Future<Output = ()> {
        async {}
    }

    /// Processes a batch: one request downstream, one outcome per job.
    ///
    /// # Errors
    ///
    /// An error of the whole batch: every job of it gets it, as [`JobError::Failed`](crate::JobError::Failed). For errors of
    /// single jobs return [`Outcomes::each`].
    fn process(
        &mut self,
        batch: &Batch<Self::Job>,
    ) -> impl Future<Output = Result<Outcomes<Self::Job>, <Self::Job as Job>::Error>>;
}
