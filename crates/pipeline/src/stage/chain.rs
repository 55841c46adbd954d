//! The stages of a pipeline, one after the other.

use std::{panic::AssertUnwindSafe, sync::Arc};

use futures_util::{FutureExt, future::LocalBoxFuture};

use super::{Output, Stage};
use crate::{panics::message, record::Record, rejection::Rejection};

/// What the stages did with one chunk, besides the records that came out.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) filtered: u64,
    pub(crate) produced: u64,
    pub(crate) rejected: Vec<Rejection>,
    /// The first stage that broke its promise.
    pub(crate) broken: Option<BrokenStage>,
}

/// A stage whose records cannot be accounted for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum BrokenStage {
    /// They do not add up.
    Sum { stage: String, came_in: u64, accounted_for: u64 },
    /// It panicked outside of the closures that see one record at a time.
    Panicked { stage: String, panic: String },
}

/// From the records of a source to those for the sink: one boxed call for each chunk and stage.
pub(crate) trait Chain<S, T>: Send + Sync + 'static {
    fn run<'a>(&'a self, records: Vec<Record<S>>, ledger: &'a mut Ledger) -> LocalBoxFuture<'a, Vec<Record<T>>>;

    /// A run begins.
    fn begin(&self);

    /// The stages' names, in order.
    fn names(&self) -> Vec<String>;

    /// Whether chunks must pass one by one.
    fn is_stateful(&self) -> bool;
}

/// No stage yet.
pub(crate) struct Start;

/// One stage after others.
pub(crate) struct Then<S, I, G> {
    pub(crate) before: Arc<dyn Chain<S, I>>,
    pub(crate) stage: G,
    pub(crate) name: String,
}

impl<S: 'static> Chain<S, S> for Start {
    fn run<'a>(&'a self, records: Vec<Record<S>>, _ledger: &'a mut Ledger) -> LocalBoxFuture<'a, Vec<Record<S>>> {
        Box::pin(std::future::ready(records))
    }

    fn begin(&self) {}

    fn names(&self) -> Vec<String> {
        Vec::new()
    }

    fn is_stateful(&self) -> bool {
        false
    }
}

impl<S: 'static, I: 'static, G: Stage<I>> Chain<S, G::Out> for Then<S, I, G> {
    fn run<'a>(&'a self, records: Vec<Record<S>>, ledger: &'a mut Ledger) -> LocalBoxFuture<'a, Vec<Record<G::Out>>> {
        Box::pin(async move {
            let records = self.before.run(records, ledger).await;
            let came_in = records.len() as u64;
            let mut out = Output::new(self.name.clone(), records.len());
            let processed = AssertUnwindSafe(self.stage.process(records, &mut out)).catch_unwind().await;
            let (stage, accounted_for) = (|| self.name.clone(), out.accounted_for());
            if let Err(panic) = processed {
                ledger.broken.get_or_insert(BrokenStage::Panicked { stage: stage(), panic: message(&*panic) });
            } else if accounted_for != came_in {
                ledger.broken.get_or_insert(BrokenStage::Sum { stage: stage(), came_in, accounted_for });
            }
            ledger.filtered += out.filtered;
            ledger.produced += out.produced;
            ledger.rejected.append(&mut out.rejected);
            out.records
        })
    }

    fn begin(&self) {
        self.before.begin();
        self.stage.begin();
    }

    fn names(&self) -> Vec<String> {
        let mut names = self.before.names();
        names.push(self.name.clone());
        names
    }

    fn is_stateful(&self) -> bool {
        self.before.is_stateful() || self.stage.is_stateful()
    }
}
