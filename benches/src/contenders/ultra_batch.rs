//! ultra-batch 0.3: its `BatchExecutor`.

use std::{convert::Infallible, marker::PhantomData, sync::Arc};

use ultra_batch::{BatchExecutor, Executor};

use crate::{
    contender::{Contender, Setup},
    payload::Payload,
    tally::Tally,
};

pub(crate) struct Ultra;

impl<P: Payload> Contender<P> for Ultra {
    const NAME: &'static str = "ultra-batch";
    type Door = Arc<BatchExecutor<Echo<P>>>;

    fn start(setup: Setup) -> Self::Door {
        let echo = Echo { tally: setup.tally, jobs: PhantomData };
        let executor = BatchExecutor::build(echo).eager_batch_size(Some(setup.batch)).delay_duration(setup.interval);
        Arc::new(executor.finish())
    }

    async fn submit(door: &mut Self::Door, job: P) -> P {
        door.execute(job).await.expect("the processor returns its input").expect("every job is answered")
    }
}

pub(crate) struct Echo<P> {
    tally: Arc<Tally>,
    jobs: PhantomData<fn(P)>,
}

impl<P: Payload> Executor for Echo<P> {
    type Value = P;
    type Result = P;
    type Error = Infallible;

    async fn execute(&self, jobs: Vec<P>) -> Result<Vec<P>, Infallible> {
        self.tally.batch(jobs.len());
        Ok(jobs)
    }
}
