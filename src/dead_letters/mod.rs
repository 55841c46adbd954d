//! Where jobs go that failed for good.

use std::{io, time::SystemTime};

use crate::{error::JobError, job::Job};

#[cfg(feature = "dead-letters")]
mod file;

#[cfg(feature = "dead-letters")]
pub use file::{DeadLetterFile, DeadRecord, DeadRecords};

/// A job that failed for good, and what is known of it.
#[derive(Debug)]
#[non_exhaustive]
pub struct DeadLetter<J: Job> {
    /// The job, as it was submitted.
    pub job: J,
    /// What its caller was told.
    pub error: JobError<J::Error>,
    /// The number of its last attempt; 0 if it was never sent.
    pub attempts: u32,
    /// When the first job of its batch was accepted.
    pub accepted_at: SystemTime,
    /// When it failed.
    pub failed_at: SystemTime,
}

/// Takes the jobs that failed for good; every closure `FnMut(DeadLetter<J>)` is one.
///
/// It is called on the collector's thread, before the caller is told, so it should be quick. If it fails or panics, that letter is
/// lost, counted in [`Stats::lost_dead_letters`](crate::Stats::lost_dead_letters), and logged. It gets every job whose reply is an
/// error, and every refused `do_send`; not jobs whose callers have gone. Jobs that a worker still has when they are settled are lost,
/// too: a job that timed out is awaited from its worker first, for a second at most.
///
/// ```
/// use std::sync::mpsc;
///
/// use actix_batch::{DeadLetter, prelude::*};
/// # struct Insert(u64);
/// # impl Job for Insert { type Output = (); type Error = String; }
/// # struct Inserts;
/// # impl BatchProcessor for Inserts {
/// #     type Job = Insert;
/// #     async fn process(&mut self, _: &Batch<Insert>) -> Result<Outcomes<Insert>, String> { Err("disk full".to_owned()) }
/// # }
/// # actix_rt::System::new().block_on(async {
/// let (dead, letters) = mpsc::channel();
/// let inserts = Collector::builder(|| Inserts)
///     .dead_letters(move |letter: DeadLetter<Insert>| dead.send((letter.job.0, letter.error.to_string())).unwrap())
///     .start()
///     .unwrap();
/// assert!(inserts.submit(Insert(7)).await.is_err());
/// assert_eq!(letters.recv().unwrap(), (7, "the processor failed: disk full".to_owned()));
/// # });
/// ```
pub trait DeadLetters<J: Job>: Send + 'static {
    /// A job has failed for good.
    ///
    /// # Errors
    ///
    /// The letter is lost: it is counted in [`Stats::lost_dead_letters`](crate::Stats::lost_dead_letters).
    fn push(&mut self, letter: DeadLetter<J>) -> io::Result<()>;
}

impl<J: Job, F: FnMut(DeadLetter<J>) + Send + 'static> DeadLetters<J> for F {
    fn push(&mut self, letter: DeadLetter<J>) -> io::Result<()> {
        self(letter);
        Ok(())
    }
}
