//! A sealed batch: it has left the intake and does not have a number yet.

use tokio::time::Instant;

use super::{Replies, Trigger};
use crate::job::{Job, Priority};

/// A batch as the intake hands it to the actor.
pub(crate) struct Sealed<J: Job> {
    pub(crate) jobs: Vec<J>,
    pub(crate) replies: Replies<J>,
    pub(crate) trigger: Trigger,
    pub(crate) opened_at: Instant,
    pub(crate) priority: Priority,
}
