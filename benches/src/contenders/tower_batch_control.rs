//! tower-batch-control 1.1: a tower service in front of one that collects the jobs itself and is told when to flush.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::sync::oneshot;
use tower::{Service, ServiceExt};
use tower_batch_control::{Batch, BatchControl, RequestWeight};

use crate::{
    contender::{Contender, Setup},
    payload::Payload,
    tally::Tally,
};

pub(crate) struct TowerBatch;

impl<P: Payload> Contender<P> for TowerBatch {
    const NAME: &'static str = "tower-batch-control";
    // A tower service is called through `&mut`: every caller has a clone of its own, as tower means it.
    type Door = Batch<Echo<P>, Item<P>>;

    fn start(setup: Setup) -> Self::Door {
        let echo = Echo { tally: setup.tally, open: Vec::with_capacity(setup.batch) };
        // Its limit of batches at once also limits the jobs in its queue, to 64 batches at the most. There is never more than one
        // batch at a time here, because a flush is over when it returns, so the queue gets all the room that it can have.
        let batches = setup.callers.div_ceil(setup.batch);
        Batch::new(echo, setup.batch, batches, setup.interval)
    }

    async fn submit(door: &mut Self::Door, job: P) -> P {
        let service = door.ready().await.expect("the worker lives");
        service.call(Item(job)).await.expect("the processor returns its input").expect("an item has a reply")
    }
}

pub(crate) struct Item<P>(P);

impl<P> RequestWeight for Item<P> {}

/// Collects jobs and answers all of them when it is told to flush.
pub(crate) struct Echo<P> {
    tally: Arc<Tally>,
    open: Vec<(P, oneshot::Sender<P>)>,
}

impl<P: Payload> Echo<P> {
    fn collect(&mut self, job: P) -> Reply<P> {
        let (reply, answer) = oneshot::channel();
        self.open.push((job, reply));
        Reply::Item(answer)
    }

    fn flush(&mut self) -> Reply<P> {
        self.tally.batch(self.open.len());
        for (job, reply) in self.open.drain(..) {
            drop(reply.send(job));
        }
        Reply::Flushed(ready(()))
    }
}

impl<P: Payload> Service<BatchControl<Item<P>>> for Echo<P> {
    /// A job's reply; nothing for a flush.
    type Response = Option<P>;
    type Error = Infallible;
    type Future = Reply<P>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: BatchControl<Item<P>>) -> Self::Future {
        match request {
            BatchControl::Item(Item(job)) => self.collect(job),
            BatchControl::Flush => self.flush(),
        }
    }
}

pub(crate) enum Reply<P> {
    Item(oneshot::Receiver<P>),
    Flushed(Ready<()>),
}

impl<P> Future for Reply<P> {
    type Output = Result<Option<P>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut *self {
            Self::Item(answer) => Pin::new(answer).poll(cx).map(|job| Ok(job.ok())),
            Self::Flushed(done) => Pin::new(done).poll(cx).map(|()| Ok(None)),
        }
    }
}
