//! Each record to the sink that a closure names.

use std::fmt;

use actix_batch::{Collector, StartError};
use futures_util::future::{LocalBoxFuture, try_join_all};

use super::{Outlet, OutletContext};
use crate::{
    checkpoint::{RunId, Store},
    panics::catch,
    record::Record,
    sink::{Promises, SinkError},
};

/// The number of the outlet that gets a record.
type Choose<T> = dyn Fn(&T) -> Option<usize> + Send + Sync;

/// Sends each record to one of several outlets, or to none: then it is filtered.
pub struct Route<T> {
    pub(crate) outlets: Vec<Box<dyn Outlet<T>>>,
    pub(crate) choose: Box<Choose<T>>,
}

impl<T: Send + Sync + 'static> Route<T> {
    fn all<R>(&self, get: impl Fn(&dyn Outlet<T>) -> Vec<R>) -> Vec<R> {
        self.outlets.iter().flat_map(|outlet| get(outlet.as_ref())).collect()
    }
}

impl<T: Send + Sync + 'static> Outlet<T> for Route<T> {
    fn describe(&self) -> Vec<String> {
        self.all(Outlet::describe)
    }

    fn promises(&self) -> Vec<Promises> {
        self.all(Outlet::promises)
    }

    fn stores(&self, run: &RunId) -> Vec<Option<Box<dyn Store>>> {
        let mut stores = Vec::new();
        for outlet in &self.outlets {
            stores.extend(outlet.stores(&run.behind(stores.len())));
        }
        stores
    }

    fn start(&self, context: &OutletContext) -> Result<Vec<Collector<Record<T>>>, StartError> {
        let mut collectors = Vec::new();
        for outlet in &self.outlets {
            collectors.extend(outlet.start(&context.behind(collectors.len()))?);
        }
        Ok(collectors)
    }

    fn send(&self, record: Record<T>, to: &mut dyn FnMut(usize, Record<T>)) -> Result<(), String> {
        let Some(chosen) = catch(|| (self.choose)(&record))? else { return Ok(()) };
        let before: usize = self.outlets.iter().take(chosen).map(|outlet| outlet.promises().len()).sum();
        let Some(outlet) = self.outlets.get(chosen) else { return Ok(()) };
        outlet.send(record, &mut |sink, record| to(before + sink, record))
    }

    fn whole(&self) -> Option<String> {
        self.outlets.iter().find_map(|outlet| outlet.whole())
    }

    fn publish(&self) -> LocalBoxFuture<'_, Result<(), SinkError>> {
        Box::pin(async move {
            try_join_all(self.outlets.iter().map(|outlet| outlet.publish())).await?;
            Ok(())
        })
    }
}

impl<T: Send + Sync + 'static> fmt::Debug for Route<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Route").field("sinks", &self.describe()).finish_non_exhaustive()
    }
}
