//! Which jobs go first.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// How urgent a job is. Jobs of different priorities do not share a batch; of the batches that wait for a worker, the higher go
/// first – until a lower one has waited longer by [`CollectorBuilder::ageing`](crate::CollectorBuilder::ageing) for each step between them.
///
/// ```
/// use actix_batch::Priority;
///
/// assert!(Priority::High > Priority::Normal && Priority::Normal > Priority::Low);
/// assert_eq!(Priority::default(), Priority::Normal);
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// After the others.
    Low,
    /// What a job has that says nothing.
    #[default]
    Normal,
    /// Before the others.
    High,
}

impl Priority {
    /// The highest first.
    pub const ALL: [Self; 3] = [Self::High, Self::Normal, Self::Low];

    /// How many priorities are above it.
    pub(crate) fn rank(self) -> u32 {
        match self {
            Self::High => 0,
            Self::Normal => 1,
            Self::Low => 2,
        }
    }

    /// Of those that wait the earlier goes first: a lower priority counts as waiting since later.
    pub(crate) fn turn(self, since: Instant, ageing: Duration) -> Instant {
        since + ageing * self.rank()
    }

    /// Its name in logs and configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::High => "high",
            Self::Normal => "normal",
            Self::Low => "low",
        }
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
