//! What a run is told from outside: pause, go on, stop.

use std::sync::Arc;

use tokio::sync::watch;

/// Tells a run what to do. Clones tell the same run.
#[derive(Debug, Clone)]
pub(crate) struct Control(Arc<watch::Sender<Command>>);

/// What a run is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Command {
    /// Nothing is read or sent, unless the run is stopping.
    pub(crate) paused: bool,
    /// Nothing more is read; what is in flight is finished, also if the run was paused.
    pub(crate) stopping: bool,
    /// Nothing is finished.
    pub(crate) failed: bool,
    /// Batches in flight at most.
    pub(crate) in_flight: Option<usize>,
}

impl Command {
    /// Whether the stages hold what they have.
    pub(crate) fn holds_stages(self) -> bool {
        self.paused && !self.stopping
    }

    /// Whether the sinks hold what they have.
    pub(crate) fn holds_sinks(self) -> bool {
        (self.paused || self.in_flight == Some(0)) && !self.stopping
    }
}

/// The run's side.
#[derive(Debug, Clone)]
pub(crate) struct Commands(watch::Receiver<Command>);

impl Default for Control {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(Command::default())))
    }
}

impl Control {
    pub(crate) fn update(&self, change: impl FnOnce(&mut Command)) {
        self.0.send_modify(change);
    }

    pub(crate) fn commands(&self) -> Commands {
        Commands(self.0.subscribe())
    }
}

impl Commands {
    pub(crate) fn now(&self) -> Command {
        *self.0.borrow()
    }

    /// Resolves when the run has failed.
    pub(crate) async fn failed(&mut self) {
        while !self.now().failed {
            self.changed().await;
        }
    }

    /// Resolves with the next change. It never does if nobody is left who could change anything.
    pub(crate) async fn changed(&mut self) -> Command {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        *self.0.borrow_and_update()
    }
}
