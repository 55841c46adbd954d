//! Starts a collector: on this thread's arbiter, or on a thread of its own.

use std::{
    io,
    sync::{Arc, mpsc},
    thread,
};

use actix::{Actor, Supervisor};
use actix_rt::{Arbiter, System};

use super::{Collector, builder::CollectorBuilder};
use crate::{error::StartError, processor::BatchProcessor};

impl<P: BatchProcessor> CollectorBuilder<P> {
    /// Starts the collector on this thread's arbiter, under actix's `Supervisor`.
    ///
    /// The collector ends when the last handle and address are dropped and every job is settled.
    ///
    /// # Errors
    ///
    /// [`StartError::Config`] for a setting that is refused; [`StartError::NoSystem`] where no actix `System` runs.
    pub fn start(self) -> Result<Collector<P::Job>, StartError> {
        let actor = self.build()?;
        let arbiter = Arbiter::try_current().filter(|arbiter| System::is_registered() && arbiter.alive());
        let arbiter = arbiter.ok_or(StartError::NoSystem)?;
        let handle = actor.handle();
        let shared = Arc::clone(actor.shared());
        shared.intake.clock.start();
        shared.publish_address(&Supervisor::start_in_arbiter(&arbiter, move |_| actor));
        Ok(handle)
    }

    /// Starts the collector on a thread and `System` of its own, for programs under `#[tokio::main]` or without a runtime.
    ///
    /// The thread ends with the collector, when the last handle and address are dropped and every job is settled. If the process
    /// exits earlier, jobs are lost: await [`Collector::shutdown`] first.
    ///
    /// # Errors
    ///
    /// [`StartError::Config`] for a setting that is refused; [`StartError::Thread`] if the thread could not be started.
    pub fn start_on_thread(self) -> Result<Collector<P::Job>, StartError> {
        let actor = self.build()?;
        let handle = actor.handle();
        let (up, is_up) = mpsc::channel();
        // A thread's name may hold no NUL; std would panic.
        let name = actor.shared().name.replace('\0', "");
        thread::Builder::new().name(name).spawn(move || {
            let system = System::new();
            let ended = actor.shared().ended();
            system.block_on(async move {
                let shared = Arc::clone(actor.shared());
                shared.intake.clock.start();
                shared.publish_address(&actor.start());
                let _ = up.send(());
                ended.await;
                System::current().stop();
            });
        })?;
        // An error means that the thread could not start its `System`; the actor was dropped, and the intake is closed.
        is_up.recv().map_err(|_| StartError::Thread(io::Error::other("its `System` did not start")))?;
        Ok(handle)
    }
}
