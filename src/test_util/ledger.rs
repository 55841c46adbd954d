//! Every submit held against every reply.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use actix::{MailboxError, Recipient};
use parking_lot::Mutex;

use super::balance::{Audit, Balance, Counted, Imbalance};
use crate::{
    collector::{Collector, Intake, SubmitJob},
    error::Rejected,
    job::{Job, JobId, JobResult},
    observe::Stats,
};

/// Submits jobs, records every submit and every reply, and at the end says whether the collector has kept its promises.
///
/// All of the collector's jobs must go through its ledger, from the first: what it has not seen does not add up. Clones write
/// in the same book. A ledger does not keep its collector alive, so that its end can be tested too.
///
/// ```
/// # use actix_batch::{prelude::*, test_util::Ledger};
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
/// let ledger = Ledger::new(&doubles);
///
/// assert_eq!(ledger.submit(Double(1)).await.unwrap(), 2);
/// assert_eq!(ledger.send(&doubles.recipient().unwrap(), Double(2)).await.unwrap().unwrap(), 4);
/// drop(ledger.submit(Double(3))); // a caller that goes
///
/// doubles.shutdown(Shutdown::drain()).await.unwrap();
/// let balance = ledger.check(&doubles.stats().await.unwrap()).unwrap();
/// assert_eq!((balance.submitted, balance.succeeded, balance.gone), (3, 2, 1));
/// # });
/// ```
pub struct Ledger<J: Job> {
    intake: Arc<Intake<J>>,
    book: Arc<Mutex<Book>>,
}

/// What has been recorded.
#[derive(Default)]
struct Book {
    balance: Balance,
    /// A moment at which jobs waited although there was room.
    idle_room: Option<Counted>,
}

impl<J: Job> Ledger<J> {
    /// A ledger for this collector, which has not yet been given a job.
    pub fn new(collector: &Collector<J>) -> Self {
        Self { intake: collector.intake(), book: Arc::default() }
    }

    /// Submits a job as [`Collector::submit`] does.
    pub fn submit(&self, job: impl Into<SubmitJob<J>>) -> Recorded<JobResult<J>> {
        let ticket = self.ticket();
        let (job, metadata) = job.into().into_parts();
        let submit = self.intake.submit(job, metadata);
        self.look();
        Recorded::new(submit.id(), ticket, submit, Ticket::reply)
    }

    /// Submits a job as [`Collector::try_submit`] does.
    ///
    /// # Errors
    ///
    /// [`Rejected`] hands the job back: the collector is full, or has been shut down.
    pub fn try_submit(&self, job: impl Into<SubmitJob<J>>) -> Result<Recorded<JobResult<J>>, Rejected<J>> {
        let mut ticket = self.ticket();
        let (job, metadata) = job.into().into_parts();
        let submit = self.intake.try_submit(job, metadata);
        self.look();
        match submit {
            Ok(submit) => Ok(Recorded::new(submit.id(), ticket, submit, Ticket::reply)),
            Err(rejected) => {
                ticket.close(|balance| balance.handed_back += 1);
                Err(rejected)
            }
        }
    }

    /// Submits a job as a message, to a recipient of this ledger's collector.
    pub fn send(
        &self,
        recipient: &Recipient<SubmitJob<J>>,
        job: impl Into<SubmitJob<J>>,
    ) -> Recorded<Result<JobResult<J>, MailboxError>> {
        let ticket = self.ticket();
        let request = recipient.send(job.into());
        Recorded::new(None, ticket, request, |ticket, reply| match reply {
            Ok(reply) => ticket.reply(reply),
            Err(_) => ticket.close(|balance| balance.undelivered += 1),
        })
    }

    /// Submits a job as a message and forgets the reply.
    pub fn do_send(&self, recipient: &Recipient<SubmitJob<J>>, job: impl Into<SubmitJob<J>>) {
        self.ticket().close(|balance| balance.forgotten += 1);
        recipient.do_send(job.into());
    }

    /// What has been recorded so far.
    pub fn balance(&self) -> Balance {
        self.look();
        self.book.lock().balance.clone()
    }

    /// Holds what callers saw against what the collector has counted, at the end: ask for the statistics after the last reply,
    /// or after a shutdown.
    ///
    /// # Errors
    ///
    /// [`Imbalance`] names every promise that was broken: each accepted job has exactly one reply; accepted = succeeded +
    /// failed, and each cause as often as callers saw it; nothing is pending; never more than `max_pending` jobs were held;
    /// no job waited while there was room.
    pub fn check(&self, stats: &Stats) -> Result<Balance, Imbalance> {
        let (mut audit, balance) = self.audit();
        audit.stats(&balance, stats);
        audit.verdict(balance)
    }

    /// As [`check`](Self::check), for a collector that has ended and cannot be asked for its statistics.
    ///
    /// # Errors
    ///
    /// [`Imbalance`] names every promise that was broken, as far as that can be told without the causes.
    pub fn check_ended(&self) -> Result<Balance, Imbalance> {
        let (audit, balance) = self.audit();
        audit.verdict(balance)
    }

    fn audit(&self) -> (Audit, Balance) {
        let counted = self.look();
        let book = self.book.lock();
        let mut audit = Audit::default();
        audit.replies(&book.balance, &counted);
        if let Some(Counted { pending, waiting, .. }) = book.idle_room {
            audit.note(format!("{waiting} jobs waited for room while only {pending} were held"));
        }
        (audit, book.balance.clone())
    }

    fn ticket(&self) -> Ticket<J> {
        let mut book = self.book.lock();
        book.balance.submitted += 1;
        book.balance.outstanding += 1;
        Ticket { ledger: self.clone(), open: true }
    }

    /// Looks at how much the collector holds, at this moment.
    fn look(&self) -> Counted {
        let (view, max_pending, room_is_idle) = self.intake.peek();
        let counted = Counted {
            accepted: view.counts.accepted,
            rejected: view.counts.rejected.total(),
            known_already: view.counts.replayed + view.counts.cache_hits,
            pending: view.counts.pending,
            waiting: view.counts.waiting,
            max_pending,
        };
        let mut book = self.book.lock();
        book.balance.most_pending = book.balance.most_pending.max(view.counts.pending);
        book.balance.most_waiting = book.balance.most_waiting.max(view.counts.waiting);
        if room_is_idle {
            book.idle_room.get_or_insert(counted);
        }
        counted
    }
}

impl<J: Job> Clone for Ledger<J> {
    fn clone(&self) -> Self {
        Self { intake: Arc::clone(&self.intake), book: Arc::clone(&self.book) }
    }
}

impl<J: Job> fmt::Debug for Ledger<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger").field("balance", &self.book.lock().balance).finish_non_exhaustive()
    }
}

/// One job's line in the book. Dropped open, the caller has gone.
struct Ticket<J: Job> {
    ledger: Ledger<J>,
    open: bool,
}

impl<J: Job> Ticket<J> {
    fn reply(&mut self, reply: &JobResult<J>) {
        self.close(|balance| balance.reply(reply));
    }

    fn close(&mut self, entry: impl FnOnce(&mut Balance)) {
        if std::mem::take(&mut self.open) {
            let mut book = self.ledger.book.lock();
            book.balance.outstanding -= 1;
            entry(&mut book.balance);
        }
    }
}

impl<J: Job> Drop for Ticket<J> {
    fn drop(&mut self) {
        self.close(|balance| balance.gone += 1);
    }
}

/// A reply that the ledger hears of too; made by [`Ledger::submit`] and its like.
///
/// Dropping it before it has answered abandons the job, as dropping a [`Submit`](crate::Submit) does.
#[must_use = "dropping it abandons the job"]
pub struct Recorded<T> {
    id: Option<JobId>,
    reply: Pin<Box<dyn Future<Output = T> + Send>>,
}

impl<T> Recorded<T> {
    fn new<J: Job>(
        id: Option<JobId>,
        mut ticket: Ticket<J>,
        reply: impl Future<Output = T> + Send + 'static,
        settle: impl FnOnce(&mut Ticket<J>, &T) + Send + 'static,
    ) -> Self {
        let reply = async move {
            let reply = reply.await;
            ticket.ledger.look();
            settle(&mut ticket, &reply);
            reply
        };
        Self { id, reply: Box::pin(reply) }
    }

    /// The job's number; `None` for a refused job and for a message.
    pub fn id(&self) -> Option<JobId> {
        self.id
    }
}

impl<T> Future for Recorded<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        self.reply.as_mut().poll(cx)
    }
}

impl<T> fmt::Debug for Recorded<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorded").field("id", &self.id).finish_non_exhaustive()
    }
}
