//! scuffle-batching 0.1: its `Batcher`, which hands the processor a reply for each job.

use std::{marker::PhantomData, sync::Arc};

use scuffle_batching::{
    BatchExecutor, Batcher,
    batch::{BatchResponse, BatcherBuilder},
};

use crate::{
    contender::{Contender, Setup},
    payload::Payload,
    tally::Tally,
};

pub(crate) struct Scuffle;

impl<P: Payload> Contender<P> for Scuffle {
    const NAME: &'static str = "scuffle-batching";
    type Door = Arc<Batcher<Echo<P>>>;

    fn start(setup: Setup) -> Self::Door {
        let executor = Echo { tally: setup.tally, jobs: PhantomData };
        let builder = BatcherBuilder::new().batch_size(setup.batch).concurrency(1).delay(setup.interval);
        Arc::new(builder.build(executor))
    }

    async fn submit(door: &mut Self::Door, job: P) -> P {
        door.execute(job).await.expect("every job is answered")
    }
}

pub(crate) struct Echo<P> {
    tally: Arc<Tally>,
    jobs: PhantomData<fn(P)>,
}

impl<P: Payload> BatchExecutor for Echo<P> {
    type Request = P;
    type Response = P;

    async fn execute(&self, requests: Vec<(P, BatchResponse<P>)>) {
        self.tally.batch(requests.len());
        for (job, reply) in requests {
            reply.send(job);
        }
    }
}
