//! Why a batch left.

use std::fmt;

/// Why a batch left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Trigger {
    /// It reached `max_size`.
    Size,
    /// Its first job had waited for the interval, or another time that the flush policy set had come.
    Interval,
    /// It reached the maximum weight.
    Weight,
    /// A worker was free.
    Idle,
    /// A job's deadline was near.
    Deadline,
    /// The collector was full: it held `max_pending` jobs, or `max_partitions` partitions were open.
    Full,
    /// A call of `flush` or a `Flush` message asked for it.
    Manual,
    /// The collector shut down.
    Drain,
    /// Its jobs failed and are being retried.
    Retry,
    /// It is one half of a batch that failed or was too large.
    Split,
}

impl Trigger {
    #[cfg(feature = "metrics")]
    pub(crate) const ALL: [Self; 10] = [
        Self::Size,
        Self::Interval,
        Self::Weight,
        Self::Idle,
        Self::Deadline,
        Self::Full,
        Self::Manual,
        Self::Drain,
        Self::Retry,
        Self::Split,
    ];

    /// The trigger's name in logs, statistics and events.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Size => "size",
            Self::Interval => "interval",
            Self::Weight => "weight",
            Self::Idle => "idle",
            Self::Deadline => "deadline",
            Self::Full => "full",
            Self::Manual => "manual",
            Self::Drain => "drain",
            Self::Retry => "retry",
            Self::Split => "split",
        }
    }
}

impl fmt::Display for Trigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
