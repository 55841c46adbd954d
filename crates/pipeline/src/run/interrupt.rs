//! Ctrl-C: once to stop cleanly, twice to end at once.

use actix_rt::task::JoinHandle;
use tokio::signal::ctrl_c;
use tracing::{info, warn};

use super::Control;

/// What a shell calls the end by Ctrl-C.
const INTERRUPTED: i32 = 130;

/// Listens for Ctrl-C until it is dropped.
#[derive(Debug)]
pub(super) struct Interrupt(JoinHandle<()>);

impl Interrupt {
    pub(super) fn listen(control: Control) -> Self {
        Self(actix_rt::spawn(async move {
            if let Err(error) = ctrl_c().await {
                return warn!("Ctrl-C cannot be heard: {error}");
            }
            info!("stopping: what is in flight is finished; press Ctrl-C again to end at once");
            control.update(|command| command.stopping = true);
            if ctrl_c().await.is_ok() {
                std::process::exit(INTERRUPTED);
            }
        }))
    }
}

impl Drop for Interrupt {
    fn drop(&mut self) {
        self.0.abort();
    }
}
