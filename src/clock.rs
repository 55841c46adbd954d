//! The collector's own clock, whichever thread asks.
//!
//! tokio's clock belongs to a runtime, and a test can stop it. A submitter on another runtime must not decide with its clock when
//! other callers' jobs leave.

use std::{sync::OnceLock, time::Duration};

use tokio::{runtime::Handle, time::Instant};

/// The clock of the runtime that the collector runs on. Until the collector has been started, it is the clock of the thread that
/// asks.
#[derive(Debug, Default)]
pub(crate) struct Clock(OnceLock<Handle>);

impl Clock {
    /// Clocks that differ by less are the same one, read at two times.
    const SAME: Duration = Duration::from_millis(1);

    /// From now on it is the clock of this thread's runtime.
    pub(crate) fn start(&self) {
        if let Ok(handle) = Handle::try_current() {
            let _ = self.0.set(handle);
        }
    }

    pub(crate) fn now(&self) -> Instant {
        // A thread that ends has no runtime to leave and to enter again.
        let ends = || Handle::try_current().is_err_and(|error| error.is_thread_local_destroyed());
        let Some(runtime) = self.0.get().filter(|_| !ends()) else { return Instant::now() };
        let _within = runtime.enter();
        Instant::now()
    }

    /// What this instant of the calling thread's clock is on this clock: it is as far away from now.
    pub(crate) fn translate(&self, instant: Instant) -> Instant {
        let (here, there) = (Instant::now(), self.now());
        if there.max(here) - there.min(here) < Self::SAME {
            return instant;
        }
        match instant.checked_duration_since(here) {
            Some(left) => there.checked_add(left).unwrap_or(instant),
            None => there,
        }
    }
}
