//! The floor of every message: a bare actix actor that answers with what it got.

use std::sync::Arc;

use actix::prelude::*;

use crate::{
    contender::{Contender, Setup},
    host::Host,
    payload::Payload,
    tally::Tally,
};

pub(crate) struct BareEcho;

impl<P: Payload> Contender<P> for BareEcho {
    const NAME: &'static str = "bare-echo";
    const HOSTS: &'static [Host] = &[Host::System];
    type Door = Arc<Addr<Echo>>;

    fn start(setup: Setup) -> Self::Door {
        Arc::new(Echo { tally: setup.tally }.start())
    }

    async fn submit(door: &mut Self::Door, job: P) -> P {
        door.send(Say(job)).await.expect("the actor lives")
    }
}

pub(crate) struct Echo {
    tally: Arc<Tally>,
}

impl Actor for Echo {
    type Context = Context<Self>;
}

struct Say<P>(P);

impl<P: Payload> Message for Say<P> {
    type Result = P;
}

impl<P: Payload> Handler<Say<P>> for Echo {
    type Result = MessageResult<Say<P>>;

    fn handle(&mut self, Say(job): Say<P>, _: &mut Self::Context) -> Self::Result {
        self.tally.batch(1);
        MessageResult(job)
    }
}
