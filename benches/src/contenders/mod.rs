//! Who takes part. Another contender is one more file with its `Contender`, and one more line in [`all`].

use std::{future::Future, sync::Arc, time::Duration};

use crate::{
    home::Home,
    payload::{Large, Payload, Small},
    tally::Tally,
    trial::{self, Sample, Trial},
};

mod actix_batch;
mod bare_echo;
mod batch_aint_one;
mod dataloader;
mod hand_written;
mod scuffle_batching;
mod tower_batch_control;
mod ultra_batch;

/// A way to submit one job and get that job's own reply, while the processor sees batches.
///
/// The same for everybody: the batch size, one batch at a time, room for all callers, the interval where there is one, and a
/// processor that counts the batch and returns its input.
pub(crate) trait Contender<P: Payload>: 'static {
    const NAME: &'static str;

    /// The runtimes to try; the better one is counted.
    const HOMES: &'static [Home] = &[Home::CurrentThread, Home::TwoWorkers];

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

/// A contender without its types.
pub(crate) struct Entry {
    pub(crate) name: &'static str,
    pub(crate) homes: &'static [Home],
    small: fn(&Trial) -> Sample,
    large: fn(&Trial) -> Sample,
}

impl Entry {
    fn of<C: Contender<Small> + Contender<Large>>() -> Self {
        Self {
            name: <C as Contender<Small>>::NAME,
            homes: <C as Contender<Small>>::HOMES,
            small: trial::run::<C, Small>,
            large: trial::run::<C, Large>,
        }
    }

    pub(crate) fn run(&self, bytes: JobBytes, trial: &Trial) -> Sample {
        match bytes {
            JobBytes::Eight => (self.small)(trial),
            JobBytes::Kibi => (self.large)(trial),
        }
    }
}

/// How large a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum JobBytes {
    Eight,
    Kibi,
}

impl JobBytes {
    pub(crate) fn bytes(self) -> usize {
        match self {
            Self::Eight => size_of::<Small>(),
            Self::Kibi => size_of::<Large>(),
        }
    }
}

/// Everybody, in the order of the table.
pub(crate) fn all() -> Vec<Entry> {
    vec![
        Entry::of::<bare_echo::BareEcho>(),
        Entry::of::<hand_written::HandWritten>(),
        Entry::of::<actix_batch::ByMessage>(),
        Entry::of::<actix_batch::ByHandle>(),
        Entry::of::<batch_aint_one::Immediate>(),
        Entry::of::<batch_aint_one::ByDuration>(),
        Entry::of::<scuffle_batching::Scuffle>(),
        Entry::of::<tower_batch_control::TowerBatch>(),
        Entry::of::<ultra_batch::Ultra>(),
        Entry::of::<dataloader::DataLoader>(),
    ]
}
