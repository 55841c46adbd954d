//! What every contender has to do.

use std::{future::Future, sync::Arc, time::Duration};

use crate::{host::Host, payload::Payload, tally::Tally};

/// A way to submit one job and get that job's own reply, while the processor sees batches.
///
/// Every contender gets the same: the batch size, one batch at a time, room for all callers, the interval where there is one, and a
/// processor that counts the batch and returns its input.
pub(crate) trait Contender<P: Payload>: 'static {
    const NAME: &'static str;

    /// The runtimes to try; the fastest one counts.
    const HOSTS: &'static [Host] = &[Host::CurrentThread, Host::TwoWorkers];

    /// What each caller holds.
    type Door: Clone + Send + 'static;

    /// Starts it in the runtime that this is called in.
    fn start(setup: Setup) -> Self::Door;

    fn submit(door: &mut Self::Door, job: P) -> impl Future<Output = P> + Send;
}

/// How to set a contender up.
pub(crate) struct Setup {
    /// Jobs per batch.
    pub(crate) batch: usize,
    /// Callers at the same time: none of them may have to wait for room.
    pub(crate) callers: usize,
    /// How long a batch that does not fill up waits at most.
    pub(crate) interval: Duration,
    /// Where the processor counts.
    pub(crate) tally: Arc<Tally>,
}
