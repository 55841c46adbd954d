//! Priorities: which jobs go first.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// How urgent a job is.
///
/// Jobs of different priorities do not share a batch. Of the batches that wait for a worker, the one with the higher priority
/// goes first, unless the other has waited longer by [`CollectorBuilder::ageing`](crate::CollectorBuilder::ageing) for each
/// step between the two.
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
    /// The default.
    #[default]
    Normal,
    /// Before the others.
    High,
}

impl Priority {
    /// All priorities, the highest first.
    pub const ALL: [Self; 3] = [Self::High, Self::Normal, Self::Low];

    /// How many priorities are higher.
    pub(crate) fn rank(self) -> u32 {
        match self {
            Self::High => 0,
            Self::Normal => 1,
            Self::Low => 2,
        }
    }

    /// When a batch that has waited since `since` has its turn; the earliest turn goes first. Each step down in priority counts
    /// as a later start.
    pub(crate) fn turn(self, since: Instant, ageing: Duration) -> Instant {
        since + ageing * self.rank()
    }

    /// The priority's name in logs and configuration.
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
