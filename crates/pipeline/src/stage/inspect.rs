//! A look at each record, which changes nothing.

use super::{Output, Stage};
use crate::record::Record;

pub(crate) struct Inspect<F>(pub(crate) F);

impl<T, F> Stage<T> for Inspect<F>
where
    T: Send + Sync + 'static,
    F: Fn(&Record<T>) + Send + Sync + 'static,
{
    type Out = T;

    fn name(&self) -> String {
        "inspect".to_owned()
    }

    async fn process(&self, records: Vec<Record<T>>, out: &mut Output<T>) {
        out.keep(records, |record| {
            (self.0)(record);
            true
        });
    }
}
