//! What people write themselves: a channel, a task that takes up to a batch of what has come, and a `oneshot` per job.
//!
//! No interval, no limit of time, no care for a processor that fails: the least that answers every caller.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use crate::{
    contender::{Contender, Setup},
    payload::Payload,
    tally::Tally,
};

pub(crate) struct HandWritten;

impl<P: Payload> Contender<P> for HandWritten {
    const NAME: &'static str = "hand-written";
    type Door = Arc<mpsc::Sender<Request<P>>>;

    fn start(setup: Setup) -> Self::Door {
        let (inbox, requests) = mpsc::channel(setup.callers.max(setup.batch));
        tokio::spawn(serve(requests, setup.batch, Processor { tally: setup.tally }));
        Arc::new(inbox)
    }

    async fn submit(door: &mut Self::Door, job: P) -> P {
        let (reply, answer) = oneshot::channel();
        door.send(Request { job, reply }).await.expect("the task lives");
        answer.await.expect("every request is answered")
    }
}

#[derive(Debug)]
pub(crate) struct Request<P> {
    job: P,
    reply: oneshot::Sender<P>,
}

async fn serve<P: Payload>(mut requests: mpsc::Receiver<Request<P>>, batch: usize, mut processor: Processor) {
    let mut arrived = Vec::with_capacity(batch);
    let mut replies = Vec::with_capacity(batch);
    while requests.recv_many(&mut arrived, batch).await > 0 {
        let mut jobs = Vec::with_capacity(arrived.len());
        for Request { job, reply } in arrived.drain(..) {
            jobs.push(job);
            replies.push(reply);
        }
        for (reply, output) in replies.drain(..).zip(processor.process(jobs).await) {
            // A caller that has gone wants no answer.
            drop(reply.send(output));
        }
    }
}

struct Processor {
    tally: Arc<Tally>,
}

impl Processor {
    #[expect(clippy::unused_async, reason = "a processor awaits its downstream; this one has none")]
    async fn process<P>(&mut self, jobs: Vec<P>) -> Vec<P> {
        self.tally.batch(jobs.len());
        jobs
    }
}
