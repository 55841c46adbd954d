//! The flush policies' words in configuration.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::error::ConfigError;

/// Which flush policy decides when a batch leaves, as a word in configuration. Each variant says what
/// [`max_size`](crate::CollectorConfig::max_size) and [`interval`](crate::CollectorConfig::interval) mean to its policy – and so
/// what the environment's `BATCH_CAPACITY` and `BATCH_TIME_WINDOW` mean.
///
/// ```
/// use actix_batch::Strategy;
///
/// assert_eq!("fixed-interval".parse(), Ok(Strategy::FixedInterval));
/// assert_eq!("fixed-window".parse(), Ok(Strategy::FixedInterval)); // another word for it
/// assert_eq!(Strategy::FixedInterval.to_string(), "fixed-interval");
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Strategy {
    /// `size-or-interval`: [`SizeOrInterval`](crate::flush::SizeOrInterval), `max_size` jobs, or after `interval`.
    #[default]
    SizeOrInterval,
    /// `capacity`: `max_size` jobs, however long that takes; no interval.
    Capacity,
    /// `fixed-interval`, also accepted as `fixed-window`: [`FixedInterval`](crate::flush::FixedInterval), at each tick of
    /// `interval`, up to `max_size` jobs.
    #[serde(alias = "fixed-window")]
    FixedInterval,
    /// `debounce`, also accepted as `session` and `sliding-window`: [`Debounce`](crate::flush::Debounce), when no job has come
    /// for `interval`, after `max_wait` at the latest, up to `max_size` jobs.
    #[serde(alias = "session", alias = "sliding-window")]
    Debounce,
    /// `idle`: [`Idle`](crate::flush::Idle), when a worker is free, up to `max_size` jobs; no interval.
    Idle,
    /// `weight`: [`Weight`](crate::flush::Weight), up to `max_weight` (the environment's `BATCH_CAPACITY`) and `max_size`
    /// jobs, or after `interval`. It needs [`CollectorBuilder::weigh`](crate::CollectorBuilder::weigh).
    Weight,
    /// `adaptive`: [`Adaptive`](crate::flush::Adaptive), 1 to `max_size` jobs, aiming at `target_latency`, after `interval` at
    /// the latest.
    Adaptive,
}

impl Strategy {
    /// Every strategy.
    pub const ALL: &'static [Self] = &[
        Self::SizeOrInterval,
        Self::Capacity,
        Self::FixedInterval,
        Self::Debounce,
        Self::Idle,
        Self::Weight,
        Self::Adaptive,
    ];

    /// Its word in configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SizeOrInterval => "size-or-interval",
            Self::Capacity => "capacity",
            Self::FixedInterval => "fixed-interval",
            Self::Debounce => "debounce",
            Self::Idle => "idle",
            Self::Weight => "weight",
            Self::Adaptive => "adaptive",
        }
    }

    /// Other words that configuration accepts for it.
    fn aliases(self) -> &'static [&'static str] {
        match self {
            Self::FixedInterval => &["fixed-window"],
            Self::Debounce => &["session", "sliding-window"],
            _ => &[],
        }
    }

    fn is_called(self, word: &str) -> bool {
        self.as_str() == word || self.aliases().contains(&word)
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
        let word = word.trim();
        let found = Self::ALL.iter().copied().find(|strategy| strategy.is_called(word));
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
    fn a_word_may_have_space_around_it_and_other_words_are_accepted() {
        assert_eq!(" idle\n".parse(), Ok(Strategy::Idle));
        for (word, strategy) in [
            ("fixed-window", Strategy::FixedInterval),
            ("session", Strategy::Debounce),
            ("sliding-window", Strategy::Debounce),
        ] {
            assert_eq!(word.parse(), Ok(strategy));
            assert_eq!(serde_json::from_value::<Strategy>(word.into()).unwrap(), strategy);
        }
    }

    #[test]
    fn an_unknown_word_is_refused_with_the_valid_ones() {
        let said = "often".parse::<Strategy>().unwrap_err().to_string();
        assert_eq!(
            said,
            "`strategy` must be one of `size-or-interval`, `capacity`, `fixed-interval`, `debounce`, \
             `idle`, `weight`, `adaptive` (got `often`)"
        );
    }
}
