//! batch-aint-one 0.16: with its `Immediate` policy, and with `Duration` as size or interval, whichever comes first.

use std::{convert::Infallible, marker::PhantomData, sync::Arc};

use batch_aint_one::{Batcher, BatchingPolicy, Limits, OnFull, Processor};

use crate::{
    contender::{Contender, Setup},
    payload::Payload,
    tally::Tally,
};

pub(crate) struct Immediate;

impl<P: Payload> Contender<P> for Immediate {
    const NAME: &'static str = "batch-aint-one/immediate";
    type Door = Door<P>;

    fn start(setup: Setup) -> Self::Door {
        start(setup, BatchingPolicy::Immediate)
    }

    async fn submit(door: &mut Self::Door, job: P) -> P {
        submit(door, job).await
    }
}

pub(crate) struct ByDuration;

impl<P: Payload> Contender<P> for ByDuration {
    const NAME: &'static str = "batch-aint-one/duration";
    type Door = Door<P>;

    fn start(setup: Setup) -> Self::Door {
        let policy = BatchingPolicy::Duration(setup.interval, OnFull::Process);
        start(setup, policy)
    }

    async fn submit(door: &mut Self::Door, job: P) -> P {
        submit(door, job).await
    }
}

type Door<P> = Arc<Batcher<Echo<P>>>;

fn start<P: Payload>(setup: Setup, policy: BatchingPolicy) -> Door<P> {
    // Its queue refuses jobs when it is full, so it gets room for every caller.
    let room = setup.callers.max(setup.batch);
    let limits = Limits::builder()
        .max_batch_size(setup.batch)
        .max_key_concurrency(1)
        .max_key_queued_items(room)
        .max_items_awaiting_worker(room)
        .build();
    let processor = Echo { tally: setup.tally, jobs: PhantomData };
    Arc::new(Batcher::builder().name("echo").processor(processor).limits(limits).batching_policy(policy).build())
}

async fn submit<P: Payload>(door: &Door<P>, job: P) -> P {
    door.add((), job).await.expect("the processor returns its input")
}

#[derive(Clone)]
pub(crate) struct Echo<P> {
    tally: Arc<Tally>,
    jobs: PhantomData<P>,
}

impl<P: Payload> Processor for Echo<P> {
    type Key = ();
    type Input = P;
    type Output = P;
    type Error = Infallible;
    type Resources = ();

    async fn acquire_resources(&self, (): ()) -> Result<(), Infallible> {
        Ok(())
    }

    async fn process(&self, (): (), jobs: impl Iterator<Item = P> + Send, (): ()) -> Result<Vec<P>, Infallible> {
        let jobs: Vec<P> = jobs.collect();
        self.tally.batch(jobs.len());
        Ok(jobs)
    }
}
