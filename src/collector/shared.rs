//! What the handles and the actor have in common.

use std::{
    fmt,
    future::Future,
    mem,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use actix::{Actor, Addr, Context, Handler, Recipient, WeakRecipient};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::{
    intake::{Flushing, Intake, Keying},
    messages::Shutdown,
    request::Request,
    submit_job::SubmitJob,
};
use crate::{
    bell::Bell,
    config::CollectorConfig,
    error::RecipientError,
    job::Job,
    observe::{Observer, Observers, ShutdownReport},
};

pub(crate) struct Shared<J: Job> {
    pub(super) name: Arc<str>,
    pub(super) intake: Arc<Intake<J>>,
    pub(super) bell: Arc<Bell>,
    pub(super) observers: Observers,
    /// How many jobs `submit_all` keeps submitted: enough for every worker, and for the batch that fills meanwhile.
    pub(super) ahead: usize,
    pub(super) max_pending: usize,
    /// `Collector` handles in existence.
    handles: AtomicUsize,
    requests: Mutex<Requests>,
    /// The actor's address, once it is known.
    address: Mutex<Option<Address<J>>>,
}

/// Where the actor's mailbox can be reached, without keeping the actor alive.
struct Address<J: Job> {
    submit: WeakRecipient<SubmitJob<J>>,
    shutdown: WeakRecipient<Shutdown>,
}

#[derive(Default)]
struct Requests {
    unread: Vec<Request>,
    /// The actor has ended, and will not read any more.
    ended: bool,
    /// The report of the shutdown, for requests that come after the end.
    report: Option<ShutdownReport>,
    /// Woken when the actor ends.
    at_end: Vec<oneshot::Sender<()>>,
}

impl<J: Job> Shared<J> {
    pub(super) fn new(
        config: &CollectorConfig,
        flushing: Flushing<J>,
        keying: Keying<J>,
        observers: Vec<Box<dyn Observer>>,
        keeps_rejected: bool,
    ) -> Self {
        let bell = Arc::new(Bell::default());
        let name: Arc<str> = config.name.as_str().into();
        let observers = Observers::new(&name, observers);
        let intake = Intake::new(
            config,
            flushing,
            keying,
            Arc::clone(&name),
            Arc::clone(&bell),
            observers.clone(),
            keeps_rejected,
        );
        Self {
            intake: Arc::new(intake),
            name,
            bell,
            observers,
            ahead: config.max_size.saturating_mul(config.workers.max() + 2).min(config.max_pending),
            max_pending: config.max_pending,
            handles: AtomicUsize::new(0),
            requests: Mutex::default(),
            address: Mutex::default(),
        }
    }

    /// Hands a request to the actor. A `Shutdown` refuses new jobs from this moment. After the actor's end it is dropped, and
    /// with it the sender – but for the report of a shutdown, which outlives the actor.
    pub(super) fn ask(&self, request: Request) {
        if let Request::Shutdown(..) = request {
            self.intake.reject_all();
        }
        let mut requests = self.requests.lock();
        if !requests.ended {
            requests.unread.push(request);
            drop(requests);
            return self.bell.ring();
        }
        let report = requests.report.clone();
        drop(requests);
        if let (Request::Shutdown(_, Some(sender)), Some(report)) = (request, report) {
            let _ = sender.send(report);
        }
    }

    pub(super) fn requests(&self) -> Vec<Request> {
        mem::take(&mut self.requests.lock().unread)
    }

    pub(super) fn reported(&self, report: ShutdownReport) {
        self.requests.lock().report = Some(report);
    }

    /// The actor is no more: unread requests are dropped, and so answered.
    pub(super) fn end(&self) {
        let mut requests = self.requests.lock();
        requests.ended = true;
        let unread = (mem::take(&mut requests.unread), mem::take(&mut requests.at_end));
        drop(requests);
        drop(unread);
    }

    /// Resolves when the actor is no more.
    pub(super) fn ended(&self) -> impl Future<Output = ()> + use<J> {
        let (sender, ended) = oneshot::channel();
        self.requests.lock().at_end.push(sender);
        async { drop(ended.await) }
    }

    pub(super) fn has_ended(&self) -> bool {
        self.requests.lock().ended
    }

    /// From now on messages reach the actor through the handle, too.
    pub(super) fn publish_address<A>(&self, address: &Addr<A>)
    where
        A: Actor<Context = Context<A>> + Handler<SubmitJob<J>> + Handler<Shutdown>,
    {
        let submit = address.clone().recipient().downgrade();
        let shutdown = address.clone().recipient().downgrade();
        *self.address.lock() = Some(Address { submit, shutdown });
    }

    pub(super) fn recipient(&self) -> Result<Recipient<SubmitJob<J>>, RecipientError> {
        if self.has_ended() {
            return Err(RecipientError::Ended);
        }
        let address = self.address.lock();
        let address = address.as_ref().ok_or(RecipientError::NotStarted)?;
        address.submit.upgrade().ok_or(RecipientError::Ended)
    }

    /// The way for a shutdown that comes behind all messages that were sent before. `None`: no message can have been sent, or
    /// the actor has ended.
    pub(super) fn shutdown_recipient(&self) -> Option<Recipient<Shutdown>> {
        self.address.lock().as_ref()?.shutdown.upgrade()
    }

    pub(super) fn add_handle(&self) {
        self.handles.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn drop_handle(&self) {
        if self.handles.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.bell.ring();
        }
    }

    pub(super) fn has_handles(&self) -> bool {
        self.handles.load(Ordering::Acquire) > 0
    }
}

impl<J: Job> fmt::Debug for Shared<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("name", &self.name).finish_non_exhaustive()
    }
}

impl<J: Job> fmt::Debug for Intake<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Intake").finish_non_exhaustive()
    }
}
