//! actix-batch itself: by message to the actor's address, and by its handle.

use std::{convert::Infallible, marker::PhantomData, sync::Arc};

use actix_batch::prelude::*;

use crate::{
    contender::{Contender, Setup},
    host::Host,
    payload::Payload,
    tally::Tally,
};

pub(crate) struct ByMessage;

impl<P: Payload> Contender<P> for ByMessage {
    const NAME: &'static str = "message";
    const HOSTS: &'static [Host] = &[Host::System];
    type Door = Arc<Addr<CollectorActor<Echo<P>>>>;

    fn start(setup: Setup) -> Self::Door {
        let actor = collector(setup);
        Arc::new(Supervisor::start(|_| actor))
    }

    async fn submit(door: &mut Self::Door, job: P) -> P {
        door.send(SubmitJob::new(Echoed(job))).await.expect("the actor lives").expect("the processor returns its input")
    }
}

pub(crate) struct ByHandle;

impl<P: Payload> Contender<P> for ByHandle {
    const NAME: &'static str = "handle";
    const HOSTS: &'static [Host] = &[Host::System];
    type Door = Arc<Collector<Echoed<P>>>;

    fn start(setup: Setup) -> Self::Door {
        let actor = collector(setup);
        let handle = actor.handle();
        Supervisor::start(|_| actor);
        Arc::new(handle)
    }

    async fn submit(door: &mut Self::Door, job: P) -> P {
        door.submit(Echoed(job)).await.expect("the processor returns its input")
    }
}

fn collector<P: Payload>(setup: Setup) -> CollectorActor<Echo<P>> {
    let Setup { batch, callers, interval, tally } = setup;
    Collector::builder(move || Echo { tally: Arc::clone(&tally), jobs: PhantomData })
        .max_size(batch)
        .max_pending(callers.max(batch))
        .interval(interval)
        .workers(Workers::local(1))
        .build()
        .expect("the settings are good")
}

pub(crate) struct Echoed<P>(P);

impl<P: Payload> Job for Echoed<P> {
    type Output = P;
    type Error = Infallible;
}

pub(crate) struct Echo<P> {
    tally: Arc<Tally>,
    jobs: PhantomData<fn(P)>,
}

impl<P: Payload> BatchProcessor for Echo<P> {
    type Job = Echoed<P>;

    async fn process(&mut self, batch: &Batch<Echoed<P>>) -> Result<Outcomes<Echoed<P>>, Infallible> {
        self.tally.batch(batch.len());
        Ok(Outcomes::in_order(batch.iter().map(|job| job.0.clone())))
    }
}
