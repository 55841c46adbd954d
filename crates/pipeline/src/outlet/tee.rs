//! Every record to each of two sinks.

use std::fmt;

use actix_batch::{Collector, StartError};
use futures_util::future::LocalBoxFuture;

use super::{Outlet, OutletContext};
use crate::{
    checkpoint::{RunId, Store},
    record::Record,
    sink::{Promises, SinkError},
};

/// Sends every record to both outlets, which may be several sinks themselves. A record has settled when all have settled it.
pub struct Tee<A, B> {
    pub(crate) first: A,
    pub(crate) second: B,
}

impl<T: Clone + Send + Sync + 'static, A: Outlet<T>, B: Outlet<T>> Outlet<T> for Tee<A, B> {
    fn describe(&self) -> Vec<String> {
        both(self.first.describe(), self.second.describe())
    }

    fn promises(&self) -> Vec<Promises> {
        both(self.first.promises(), self.second.promises())
    }

    fn stores(&self, run: &RunId) -> Vec<Option<Box<dyn Store>>> {
        both(self.first.stores(run), self.second.stores(&run.behind(self.first.promises().len())))
    }

    fn start(&self, context: &OutletContext) -> Result<Vec<Collector<Record<T>>>, StartError> {
        let behind = context.behind(self.first.promises().len());
        Ok(both(self.first.start(context)?, self.second.start(&behind)?))
    }

    fn send(&self, record: Record<T>, to: &mut dyn FnMut(usize, Record<T>)) -> Result<(), String> {
        let sinks = self.first.promises().len();
        let first = self.first.send(record.clone(), to);
        first.and(self.second.send(record, &mut |sink, record| to(sinks + sink, record)))
    }

    fn whole(&self) -> Option<String> {
        self.first.whole().or_else(|| self.second.whole())
    }

    fn publish(&self) -> LocalBoxFuture<'_, Result<(), SinkError>> {
        Box::pin(async move {
            self.first.publish().await?;
            self.second.publish().await
        })
    }
}

fn both<T>(mut first: Vec<T>, second: Vec<T>) -> Vec<T> {
    first.extend(second);
    first
}

impl<A: fmt::Debug, B: fmt::Debug> fmt::Debug for Tee<A, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tee").field("first", &self.first).field("second", &self.second).finish()
    }
}
