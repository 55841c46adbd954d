//! The events that subscribers receive.

use std::sync::Arc;

use actix::Message;

use super::{JobIds, JobState};

/// Jobs of one batch have entered a new state. Recipients that have [`Subscribe`](crate::Subscribe)d receive these events.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct JobEvent {
    /// The collector's name.
    pub collector: Arc<str>,
    /// The batch's number. A retry is a new batch, and so is each half of a split.
    pub batch: u64,
    /// The latest or next attempt of these jobs, counted from 1. It is 0 for jobs that ended without being sent.
    pub attempt: u32,
    /// The new state.
    pub state: JobState,
    /// The jobs.
    pub jobs: JobIds,
    /// How many events this subscriber has missed so far, because its mailbox was full.
    pub missed: u64,
}

impl Message for JobEvent {
    type Result = ();
}
