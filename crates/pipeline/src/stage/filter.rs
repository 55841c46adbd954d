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
        let keep = |record: &Record<T>| (self.0)(record);
        out.each_ref(records, keep, |out, record, keep| if keep { out.emit(record) } else { out.filter(record) });
    }
}
