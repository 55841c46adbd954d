//! Several records from one.

use std::convert::Infallible;

use std::marker::PhantomData;

use super::{Output, Stage};
use crate::record::Record;

pub(crate) struct FlatMap<F, M>(pub(crate) F, pub(crate) PhantomData<fn() -> M>);

impl<I: 'static, M, F> Stage<I> for FlatMap<F, M>
where
    M: IntoIterator<Item: Send + Sync + 'static> + 'static,
    F: Fn(I) -> M + Send + Sync + 'static,
{
    type Out = M::Item;

    fn name(&self) -> String {
        "flat_map".to_owned()
    }

    async fn process(&self, records: Vec<Record<I>>, out: &mut Output<M::Item>) {
        // The iterator is user code, too: what it yields counts only if it comes to its end.
        let values = |value| Ok::<Vec<_>, Infallible>((self.0)(value).into_iter().collect());
        out.each(records, values, |out, place, values| out.emit_parts(&place, values));
    }
}
