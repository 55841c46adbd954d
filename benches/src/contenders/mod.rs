//! The contenders. To add one, write its `Contender` in a file of its own and add a line to [`all`].

use crate::{
    contender::Contender,
    host::Host,
    payload::{Large, Small},
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

/// A contender without its types.
pub(crate) struct Entry {
    pub(crate) name: &'static str,
    pub(crate) hosts: &'static [Host],
    small: fn(&Trial) -> Sample,
    large: fn(&Trial) -> Sample,
}

impl Entry {
    fn of<C: Contender<Small> + Contender<Large>>() -> Self {
        Self {
            name: <C as Contender<Small>>::NAME,
            hosts: <C as Contender<Small>>::HOSTS,
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
