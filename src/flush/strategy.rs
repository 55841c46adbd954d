//! The policies' words in configuration.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::error::ConfigError;

/// Which flush policy decides when a batch leaves, as configuration says it. What
/// [`max_size`](crate::CollectorConfig::max_size) and [`interval`](crate::CollectorConfig::interval) mean to it, and the
/// environment's `BATCH_CAPACITY` and `BATCH_TIME_WINDOW` with them, stands at each.
///
/// ```
/// use actix_batch::Strategy;
///
/// assert_eq!("fixed-window".parse(), Ok(Strategy::FixedWindow));
/// assert_eq!(Strategy::FixedWindow.to_string(), "fixed-window");
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Strategy {
    /// `size-or-interval`: [`SizeOrInterval`](crate::flush::SizeOrInterval), of `max_size` jobs or after `interval`.
    #[default]
    SizeOrInterval,
    /// `capacity`: `max_size` jobs, however long that takes; no interval.
    Capacity,
    /// `fixed-window`: [`FixedInterval`](crate::flush::FixedInterval), a tick every `interval`, up to `max_size` jobs.
    FixedWindow,
    /// `session`: [`Debounce`](crate::flush::Debounce), quiet for `interval` and after `max_wait` at the latest, up to
    /// `max_size` jobs.
    Session,
    /// `sliding-window`: another word for `session`, because each job slides the window.
    SlidingWindow,
    /// `idle`: [`Idle`](crate::flush::Idle), up to `max_size` jobs; no interval.
    Idle,
    /// `weight`: [`Weight`](crate::flush::Weight), up to `max_weight` (the environment's `BATCH_CAPACITY`) and `max_size`
    /// jobs, or after `interval`. It needs [`CollectorBuilder::weigh`](crate::CollectorBuilder::weigh).
    Weight,
    /// `adaptive`: [`Adaptive`](crate::flush::Adaptive), towards `target_latency` with 1 to `max_size` jobs, after `interval`
    /// at the latest.
    Adaptive,
}

impl Strategy {
    /// Every strategy.
    pub const ALL: &'static [Self] = &[
        Self::SizeOrInterval,
        Self::Capacity,
        Self::FixedWindow,
        Self::Session,
        Self::SlidingWindow,
        Self::Idle,
        Self::Weight,
        Self::Adaptive,
    ];

    /// Its word in configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SizeOrInterval => "size-or-interval",
            Self::Capacity => "capacity",
            Self::FixedWindow => "fixed-window",
            Self::Session => "session",
            Self::SlidingWindow => "sliding-window",
            Self::Idle => "idle",
            Self::Weight => "weight",
            Self::Adaptive => "adaptive",
        }
    }

    pub(crate) fn allowed() -> String {
        let words: Vec<_> = Self::ALL.iter().map(|strategy| format!("`{strategy}`")).collect();
        format!("one of {}", words.join(", "))
    }
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Strategy {
    type Err = ConfigError;

    fn from_str(word: &str) -> Result<Self, ConfigError> {
        let found = Self::ALL.iter().copied().find(|strategy| strategy.as_str() == word);
        found.ok_or_else(|| ConfigError::new("strategy", format_args!("`{word}`"), Self::allowed()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_survives_a_round_trip() {
        for strategy in Strategy::ALL {
            assert_eq!(strategy.as_str().parse(), Ok(*strategy));
            assert_eq!(serde_json::to_value(strategy).unwrap(), strategy.as_str());
            assert_eq!(serde_json::from_value::<Strategy>(strategy.as_str().into()).unwrap(), *strategy);
        }
    }

    #[test]
    fn an_unknown_word_is_refused_with_the_valid_ones() {
        let said = "often".parse::<Strategy>().unwrap_err().to_string();
        assert_eq!(
            said,
            "`strategy` cannot be `often`: one of `size-or-interval`, `capacity`, `fixed-window`, `session`, \
             `sliding-window`, `idle`, `weight`, `adaptive`"
        );
    }
}
