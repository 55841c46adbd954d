//! Ctrl-C, and the signal by which service managers say the same.

use std::future::Future;
use std::io::Result;

/// Ready when the process is asked to end. It listens from this call on, not from the first `await`.
#[cfg(unix)]
pub(crate) fn interrupted() -> Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};

    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

#[cfg(not(unix))]
pub(crate) fn interrupted() -> Result<impl Future<Output = ()>> {
    Ok(async {
        // Without a way to hear of Ctrl-C, only the end of the process ends the service.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending().await
        }
    })
}
