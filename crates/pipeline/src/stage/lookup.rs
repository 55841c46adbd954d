//! Every record enriched by batched lookups.

use std::{future::Future, time::Duration};

use actix_batch::{Collector, Job, Submit};
use futures_util::future::join_all;

use super::{Output, Stage};
use crate::{panics::catch, record::Record};

/// One collector, or a tuple of up to four, that each record asks.
///
/// With a tuple, the jobs are a tuple and the outputs are one, too: a record waits for all of them.
pub trait Lookup: Send + Sync + 'static {
    /// What one record asks.
    type Jobs: 'static;
    /// What it gets.
    type Outputs: 'static;
    /// Its jobs on their way.
    type Asked: 'static;

    /// Submits the jobs of one record.
    fn ask(&self, jobs: Self::Jobs) -> Self::Asked;

    /// Waits for the outputs of one record, or says why there are none.
    fn answer(asked: Self::Asked) -> impl Future<Output = Result<Self::Outputs, String>> + 'static;

    /// Sends what the collectors have buffered: no more jobs come from this chunk.
    fn flush(&self) -> impl Future<Output = ()>;
}

impl<J: Job> Lookup for Collector<J> {
    type Jobs = J;
    type Outputs = J::Output;
    type Asked = Submit<J>;

    fn ask(&self, job: J) -> Submit<J> {
        self.submit(job)
    }

    async fn answer(asked: Submit<J>) -> Result<J::Output, String> {
        asked.await.map_err(|error| error.to_string())
    }

    async fn flush(&self) {
        // A collector that has ended answers the jobs itself.
        let _ = Collector::flush(self).await;
    }
}

macro_rules! lookup_of_tuple {
    ($($name:ident $index:tt),+) => {
        impl<$($name: Lookup),+> Lookup for ($($name,)+) {
            type Jobs = ($($name::Jobs,)+);
            type Outputs = ($($name::Outputs,)+);
            type Asked = ($($name::Asked,)+);

            fn ask(&self, jobs: Self::Jobs) -> Self::Asked {
                ($(self.$index.ask(jobs.$index),)+)
            }

            async fn answer(asked: Self::Asked) -> Result<Self::Outputs, String> {
                // All of them are on their way already, so one after the other takes no longer.
                Ok(($($name::answer(asked.$index).await?,)+))
            }

            async fn flush(&self) {
                $(self.$index.flush().await;)+
            }
        }
    };
}

lookup_of_tuple!(A 0, B 1);
lookup_of_tuple!(A 0, B 1, C 2);
lookup_of_tuple!(A 0, B 1, C 2, D 3);

pub(crate) struct Through<L, J, M> {
    pub(crate) lookup: L,
    pub(crate) to_jobs: J,
    pub(crate) merge: M,
    /// How long a record waits for its answers.
    pub(crate) within: Option<Duration>,
}

impl<T, L, J, M> Stage<T> for Through<L, J, M>
where
    T: Send + Sync + 'static,
    L: Lookup,
    J: Fn(&T) -> L::Jobs + Send + Sync + 'static,
    M: Fn(&mut T, L::Outputs) + Send + Sync + 'static,
{
    type Out = T;

    fn name(&self) -> String {
        "through".to_owned()
    }

    async fn process(&self, records: Vec<Record<T>>, out: &mut Output<T>) {
        let ask = |record: Record<T>| {
            let asked = catch(|| self.lookup.ask((self.to_jobs)(&record)));
            (record, asked)
        };
        let asked: Vec<_> = records.into_iter().map(ask).collect();
        self.lookup.flush().await;
        for (mut record, answer) in join_all(asked.into_iter().map(|(record, asked)| self.answer(record, asked))).await
        {
            match answer.and_then(|outputs| catch(|| (self.merge)(&mut record, outputs))) {
                Ok(()) => out.emit(record),
                Err(error) => out.reject(&record, error),
            }
        }
    }
}

impl<L: Lookup, J, M> Through<L, J, M> {
    async fn answer<T>(
        &self,
        record: Record<T>,
        asked: Result<L::Asked, String>,
    ) -> (Record<T>, Result<L::Outputs, String>) {
        let answer = match (asked, self.within) {
            (Ok(asked), Some(within)) => tokio::time::timeout(within, L::answer(asked))
                .await
                .unwrap_or_else(|_| Err(format!("the lookup did not answer within {within:?}"))),
            (Ok(asked), None) => L::answer(asked).await,
            (Err(panic), _) => Err(panic),
        };
        (record, answer)
    }
}
