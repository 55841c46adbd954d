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

use actix::WeakRecipient;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::{
    intake::{Flushing, Intake, Keying},
    request::Request,
    submit_job::SubmitJob,
};
use crate::{
    bell::Bell,
    config::CollectorConfig,
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
    /// `Collector` handles in existence.
    handles: AtomicUsize,
    requests: Mutex<Requests>,
    /// The actor's address, once it has started.
    address: Mutex<Option<WeakRecipient<SubmitJob<J>>>>,
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
    ) -> Self {
        let bell = Arc::new(Bell::default());
        let name: Arc<str> = config.name.as_str().into();
        let observers = Observers::new(&name, observers);
        let intake = Intake::new(config, flushing, keying, Arc::clone(&name), Arc::clone(&bell), observers.clone());
        Self {
            intake: Arc::new(intake),
            name,
            bell,
            observers,
            ahead: config.max_size.saturating_mul(config.workers.max() + 2).min(config.max_pending),
            handles: AtomicUsize::new(0),
            requests: Mutex::default(),
            address: Mutex::default(),
        }
    }

    /// Hands a request to the actor. A `Shutdown` refuses new jobs from this moment. After the actor's end it is dropped, and
    /// with it the sender – but for the report of a shutdown, which outlives the actor.
    pub(super) fn ask(&self, request: Request) {
        if let Request::Shutdown(..) = request {
            self.intake.refuse();
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

    pub(super) fn publish_address(&self, address: WeakRecipient<SubmitJob<J>>) {
        *self.address.lock() = Some(address);
    }

    pub(super) fn address(&self) -> Option<WeakRecipient<SubmitJob<J>>> {
        self.address.lock().clone()
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
