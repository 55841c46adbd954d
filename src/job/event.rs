//! What subscribers hear.

use std::sync::Arc;

use actix::Message;

use super::{JobIds, JobState};

/// Jobs of one batch have come into another state: what [`Subscribe`](crate::Subscribe)d recipients get.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct JobEvent {
    /// The collector's name.
    pub collector: Arc<str>,
    /// The batch's number. A retry, and each half of a split, is a batch of its own.
    pub batch: u64,
    /// As which attempt these jobs were sent last, or are about to be, from 1; 0 for jobs that ended without having been sent.
    pub attempt: u32,
    /// Where they are now.
    pub state: JobState,
    /// Which jobs.
    pub jobs: JobIds,
    /// How many events this subscriber has lost before this one, because its mailbox was full.
    pub missed: u64,
}

impl Message for JobEvent {
    type Result = ();
}
