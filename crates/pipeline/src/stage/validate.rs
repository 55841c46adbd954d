//! Only valid records.

use std::{fmt::Display, marker::PhantomData};

use super::{Output, Stage};
use crate::record::Record;

pub(crate) struct Validate<F, O>(pub(crate) F, pub(crate) PhantomData<fn() -> O>);

impl<T, O, E, F> Stage<T> for Validate<F, Result<O, E>>
where
    T: Send + Sync + 'static,
    O: 'static,
    E: Display + 'static,
    F: Fn(&T) -> Result<O, E> + Send + Sync + 'static,
{
    type Out = T;

    fn name(&self) -> String {
        "validate".to_owned()
    }

    async fn process(&self, records: Vec<Record<T>>, out: &mut Output<T>) {
        out.try_keep(records, |record| (self.0)(record).map(|_| true));
    }
}
