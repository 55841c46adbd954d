//! How the actor's mailbox is answered.
//!
//! The responses have a [`MessageResponse`] of their own, which moves actix's sender to where the answer will be known. actix's
//! ready-made response futures would cost an allocation and a task for each message (`ResponseFuture`), or a place among the
//! context's futures, all of which are polled at every wake-up – and of which actix polls only some while a flood makes the
//! context yield.

use std::sync::Arc;

use actix::{
    Actor, Context, Handler,
    dev::{MessageResponse, OneshotSender},
};

use super::{
    actor::{CollectorActor, yield_once},
    intake::Intake,
    messages::{
        Barrier, Flush, GetJobState, GetStats, Pause, Resume, SetMaxInFlight, Shutdown, Subscribe, Unsubscribe,
    },
    request::Ask,
    shared::Shared,
    submit_job::SubmitJob,
};
use crate::{
    job::{Job, JobResult},
    processor::BatchProcessor,
};

#[doc(hidden)] // Public, because `Handler::Result` has to be.
/// The response to [`SubmitJob`]: actix's sender joins the open batch together with the job, and is the job's reply.
#[derive(Debug)]
pub struct Admission<J: Job> {
    message: SubmitJob<J>,
    intake: Arc<Intake<J>>,
}

impl<P: BatchProcessor> Handler<SubmitJob<P::Job>> for CollectorActor<P> {
    type Result = Admission<P::Job>;

    #[inline]
    fn handle(&mut self, message: SubmitJob<P::Job>, ctx: &mut Context<Self>) -> Self::Result {
        self.count_message(ctx);
        Admission { message, intake: Arc::clone(self.intake()) }
    }
}

impl<P: BatchProcessor> MessageResponse<CollectorActor<P>, SubmitJob<P::Job>> for Admission<P::Job> {
    #[inline]
    fn handle(self, ctx: &mut Context<CollectorActor<P>>, sender: Option<OneshotSender<JobResult<P::Job>>>) {
        let (job, metadata) = self.message.into_parts();
        if self.intake.message(job, metadata, sender) {
            yield_once(ctx);
        }
    }
}

#[doc(hidden)]
/// The response to every other message: moves actix's sender to where the answer will be known.
#[derive(Debug)]
pub struct Answer<J: Job, M> {
    message: M,
    shared: Arc<Shared<J>>,
}

impl<A: Actor, J: Job, M: Ask<Result: Send>> MessageResponse<A, M> for Answer<J, M> {
    fn handle(self, _: &mut A::Context, sender: Option<OneshotSender<M::Result>>) {
        self.shared.ask(self.message.request(sender));
    }
}

macro_rules! handlers {
    ($($message:ident),+ $(,)?) => {$(
        impl<P: BatchProcessor> Handler<$message> for CollectorActor<P> {
            type Result = Answer<P::Job, $message>;

            fn handle(&mut self, message: $message, _: &mut Context<Self>) -> Self::Result {
                Answer { message, shared: Arc::clone(self.shared()) }
            }
        }
    )+};
}

handlers!(Barrier, Flush, Pause, Resume, SetMaxInFlight, GetJobState, Subscribe, Unsubscribe, GetStats, Shutdown);
