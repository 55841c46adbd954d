//! Where a record goes: to one sink, to one of several, or to all of them.
//!
//! Each sink has a collector of its own. A record has settled when every sink that it was sent to has answered.

use std::sync::Arc;

use actix_batch::{Collector, StartError};
use futures_util::future::LocalBoxFuture;

use crate::{
    checkpoint::{RunId, Settled, Store},
    dead_letters::Letters,
    record::Record,
    sink::{Promises, SinkError, SinkMonitor},
};

mod one;
mod route;
mod tee;

pub use one::One;
pub(crate) use one::is_rejection;
pub use route::Route;
pub use tee::Tee;

/// Where the records of a pipeline go. Sinks become one by [`Flow::write`](crate::Flow::write), [`Flow::tee`](crate::Flow::tee),
/// [`Flow::branch`](crate::Flow::branch) and [`Flow::route`](crate::Flow::route).
pub trait Outlet<T: Send + Sync + 'static>: Send + Sync + 'static {
    /// The sinks, for people and for the plan's fingerprint.
    fn describe(&self) -> Vec<String>;

    /// What each of the sinks promises.
    fn promises(&self) -> Vec<Promises>;

    /// The store of each sink that keeps the checkpoint beside its data; `run` is that of the first.
    fn stores(&self, run: &RunId) -> Vec<Option<Box<dyn Store>>>;

    /// Starts the collector of each sink.
    ///
    /// # Errors
    ///
    /// If a setting of a collector is refused.
    fn start(&self, context: &OutletContext) -> Result<Vec<Collector<Record<T>>>, StartError>;

    /// Sends a record to the sinks, by their number. Sent to none, it is filtered.
    ///
    /// # Errors
    ///
    /// Why it is not known where the record goes: it is rejected.
    fn send(&self, record: Record<T>, to: &mut dyn FnMut(usize, Record<T>)) -> Result<(), String>;

    /// The sink that writes one file as a whole, so that only one process can write to it.
    fn whole(&self) -> Option<String>;

    /// Whether there is one sink, and it gets every record: then [`send`](Self::send) need not be asked.
    fn is_one(&self) -> bool {
        false
    }

    /// Gives what was written its final name.
    fn publish(&self) -> LocalBoxFuture<'_, Result<(), SinkError>>;
}

/// What sinks share with their run.
#[derive(Debug, Clone)]
pub struct OutletContext {
    pub(crate) run: RunId,
    pub(crate) settled: Arc<Settled>,
    pub(crate) letters: Arc<Letters>,
    /// Enough room in the collector for all that the readers send ahead.
    pub(crate) max_pending: usize,
    pub(crate) monitor: Arc<SinkMonitor>,
}

impl OutletContext {
    /// For the sinks that stand so many further.
    fn behind(&self, sinks: usize) -> Self {
        Self { run: self.run.behind(sinks), ..self.clone() }
    }
}
