//! `/health`: whether anything can be processed.

use actix_batch::Stats;

/// Each collector has a worker that can work.
pub(crate) fn is_able(collectors: &[Stats]) -> bool {
    collectors.iter().all(|stats| stats.workers.able > 0)
}
