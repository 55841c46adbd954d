//! How a shutdown went.

use std::time::Duration;

/// How a shutdown went.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShutdownReport {
    /// Accepted jobs that were outstanding when the shutdown began and got the reply that they would have got anyway.
    pub completed: u64,
    /// Accepted jobs that the limit cut off: settled with [`JobError::ShutDown`](crate::JobError::ShutDown).
    pub shut_down: u64,
    /// Workers that did not close their processors before the limit or the
    /// [`close_timeout`](crate::CollectorBuilder::close_timeout).
    pub unclosed: usize,
    /// From the request to the last reply, and until every processor was closed and dropped and every worker's thread had ended.
    pub elapsed: Duration,
}
