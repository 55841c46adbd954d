//! Only some records.

use super::{Output, Stage};
use crate::record::Record;

pub(crate) struct Filter<F>(pub(crate) F);

impl<T, F> Stage<T> for Filter<F>
where
    T: Send + Sync + 'static,
    F: Fn(&T) -> bool + Send + Sync + 'static,
{
    type Out = T;

    fn name(&self) -> String {
        "filter".to_owned()
    }

    async fn process(&self, records: Vec<Record<T>>, out: &mut Output<T>) {
        out.keep(records, |record| (self.0)(record));
    }
}
