//! What a gate says to a batch.

use std::time::Duration;

use tokio::time::Instant;

/// Whether a gate lets a batch through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gate {
    Open,
    /// Closed until that time; `None`: until an answer comes.
    Closed(Option<Instant>),
    /// The batch fails now.
    Reject {
        retry_in: Duration,
    },
}

impl Gate {
    /// Whether a batch would not have to wait: it is let through, or fails.
    pub(super) fn is_passable(self) -> bool {
        !matches!(self, Self::Closed(_))
    }
}
