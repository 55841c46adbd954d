//! As soon as a worker is free.

use tokio::time::Instant;

use super::{Arrival, Decision, FlushPolicy, OnFree, OpenBatch};

/// A free worker takes what has gathered; batches grow only while all workers are busy.
///
/// No job waits for company, so a lone one is as fast as without batching, and under load the batches become as large as the
/// downstream is slow. What comes while the collector is at other work still shares a batch. The largest size is the
/// collector's `max_size`.
///
/// ```
/// use actix_batch::flush::{FlushPolicy, Idle, OnFree, OpenBatch};
///
/// let mut open = OpenBatch::default();
/// open.jobs = 3;
/// assert_eq!(Idle.on_free(&open), OnFree::Send);
/// assert_eq!(Idle.due(&open), None);
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Idle;

impl FlushPolicy for Idle {
    fn on_job(&mut self, _: &OpenBatch, _: &Arrival) -> Decision {
        Decision::Add
    }

    fn due(&self, _: &OpenBatch) -> Option<Instant> {
        None
    }

    fn on_free(&mut self, _: &OpenBatch) -> OnFree {
        OnFree::Send
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_free_worker_makes_a_batch_leave() {
        let open = OpenBatch { jobs: 1_000, opened_at: Some(Instant::now()), ..OpenBatch::default() };
        assert_eq!(Idle.on_job(&open, &Arrival::default()), Decision::Add);
        assert_eq!(Idle.due(&open), None);
        assert_eq!(Idle.on_free(&open), OnFree::Send);
    }
}
