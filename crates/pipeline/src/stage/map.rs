//! Another value for each record.

use std::{convert::Infallible, fmt::Display, marker::PhantomData};

use super::{Output, Stage};
use crate::record::Record;

pub(crate) struct Map<F>(pub(crate) F);

/// Another value for each record, or the reason why there is none.
pub(crate) struct TryMap<F, E>(pub(crate) F, pub(crate) PhantomData<fn() -> E>);

impl<I: 'static, T, F> Stage<I> for Map<F>
where
    T: Send + Sync + 'static,
    F: Fn(I) -> T + Send + Sync + 'static,
{
    type Out = T;

    fn name(&self) -> String {
        "map".to_owned()
    }

    async fn process(&self, records: Vec<Record<I>>, out: &mut Output<T>) {
        out.map(records, |value| Ok::<_, Infallible>((self.0)(value)));
    }
}

impl<I: 'static, T, E, F> Stage<I> for TryMap<F, E>
where
    T: Send + Sync + 'static,
    E: Display + 'static,
    F: Fn(I) -> Result<T, E> + Send + Sync + 'static,
{
    type Out = T;

    fn name(&self) -> String {
        "try_map".to_owned()
    }

    async fn process(&self, records: Vec<Record<I>>, out: &mut Output<T>) {
        out.map(records, &self.0);
    }
}
