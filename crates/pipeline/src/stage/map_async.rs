//! Another value for each record, awaited, several at once.

use std::{fmt::Display, future::Future, marker::PhantomData, panic::AssertUnwindSafe};

use futures_util::{FutureExt, StreamExt, stream};

use super::{Output, Stage};
use crate::{
    panics::{catch, message},
    record::Record,
};

pub(crate) struct MapAsync<F, E> {
    pub(crate) f: F,
    /// How many are awaited at once.
    pub(crate) at_once: usize,
    pub(crate) errors: PhantomData<fn() -> E>,
}

impl<I: 'static, T, E, Fut, F> Stage<I> for MapAsync<F, E>
where
    T: Send + Sync + 'static,
    E: Display + 'static,
    Fut: Future<Output = Result<T, E>> + 'static,
    F: Fn(I) -> Fut + Send + Sync + 'static,
{
    type Out = T;

    fn name(&self) -> String {
        "map_async".to_owned()
    }

    async fn process(&self, records: Vec<Record<I>>, out: &mut Output<T>) {
        let mut made = stream::iter(records).map(|record| self.one(record)).buffered(self.at_once);
        while let Some((place, value)) = made.next().await {
            match value {
                Ok(value) => out.emit(place.map(|()| value)),
                Err(error) => out.reject(&place, error),
            }
        }
    }
}

impl<F, E: Display> MapAsync<F, E> {
    async fn one<I, T, Fut>(&self, record: Record<I>) -> (Record<()>, Result<T, String>)
    where
        Fut: Future<Output = Result<T, E>>,
        F: Fn(I) -> Fut,
    {
        let (value, place) = record.take();
        let made = match catch(|| (self.f)(value)) {
            Ok(future) => AssertUnwindSafe(future).catch_unwind().await.map_err(|panic| message(&*panic)),
            Err(panic) => Err(panic),
        };
        (place, made.and_then(|made| made.map_err(|error| error.to_string())))
    }
}
