//! A collector's settings, their defaults, and what is allowed.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    error::ConfigError,
    flush::{Adaptive, Debounce, FixedInterval, FlushPolicy, Idle, SizeOrInterval, Strategy, Weight},
};

mod env;
mod workers;

pub use workers::{NoWorkers, Workers};

/// A collector's settings, as a configuration file or the environment holds them.
///
/// Every field has a default, unknown fields are refused, and durations are written as `"5ms"` or `"1s 500ms"`.
///
/// ```
/// use std::time::Duration;
///
/// use actix_batch::{CollectorConfig, Workers};
///
/// let config: CollectorConfig =
///     serde_json::from_str(r#"{ "name": "users", "max_size": 50, "interval": "2ms", "workers": { "threads": 4 } }"#)?;
/// assert_eq!(config.interval, Duration::from_millis(2));
/// assert_eq!(config.workers, Workers::threads(4));
/// assert_eq!(config.max_pending, 10_000);
///
/// assert!(serde_json::from_str::<CollectorConfig>(r#"{ "max_sise": 50 }"#).is_err());
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CollectorConfig {
    /// Labels every span, log line, event and statistic. Default: `"collector"`.
    pub name: String,
    /// Which flush policy decides when a batch leaves. Default: [`Strategy::SizeOrInterval`].
    pub strategy: Strategy,
    /// The largest number of jobs in a batch, from 1 to `max_pending`. Default: 100.
    pub max_size: usize,
    /// How long a batch's first job waits for others, up to 24 hours. See [`Strategy`] for what it means to each policy. Default: 5 ms.
    #[serde(with = "humantime_serde")]
    pub interval: Duration,
    /// For [`Strategy::Debounce`]: the longest wait of a batch's first job, however many jobs follow, from `interval` to 24 hours.
    /// Default: 10 × `interval`.
    #[serde(with = "humantime_serde", skip_serializing_if = "Option::is_none")]
    pub max_wait: Option<Duration>,
    /// For [`Strategy::Weight`], which needs it: the largest weight of a batch, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_weight: Option<u64>,
    /// For [`Strategy::Adaptive`]: how soon a job should be answered, up to 24 hours. Default: 4 × `interval`.
    #[serde(with = "humantime_serde", skip_serializing_if = "Option::is_none")]
    pub target_latency: Option<Duration>,
    /// The largest number of jobs that are accepted and not yet settled, up to 2³² − 1. Default: 10,000.
    pub max_pending: usize,
    /// The largest number of pending jobs of one partition, from 1 to `max_pending`; needs
    /// [`partition_by`](crate::CollectorBuilder::partition_by). Default: no bound but `max_pending`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_pending_per_partition: Option<usize>,
    /// The largest weight of all pending jobs, from 1; needs [`weigh`](crate::CollectorBuilder::weigh). Default: no bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_pending_weight: Option<u64>,
    /// How many workers, and where they run. Default: [`Workers::local(2)`](Workers::local).
    pub workers: Workers,
    /// What happens to jobs while no worker is able to work. Default: [`NoWorkers::Wait`].
    pub no_workers: NoWorkers,
}

impl Default for CollectorConfig {
    fn default() -> Self {
        Self {
            name: "collector".to_owned(),
            strategy: Strategy::SizeOrInterval,
            max_size: 100,
            interval: Duration::from_millis(5),
            max_wait: None,
            max_weight: None,
            target_latency: None,
            max_pending: 10_000,
            max_pending_per_partition: None,
            max_pending_weight: None,
            workers: Workers::local(2),
            no_workers: NoWorkers::Wait,
        }
    }
}

impl CollectorConfig {
    const LONGEST_MILLIS: u64 = 24 * 60 * 60 * 1000;
    const LONGEST: Duration = Duration::from_millis(Self::LONGEST_MILLIS);
    const MOST_PENDING: usize = u32::MAX as usize;
    const MOST_WORKERS: usize = 1024;

    /// Checks whether a collector can be built from these settings. `build` and `start` check it too.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] with the first setting that is refused, its value, and what is allowed.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let refuse = |key: &str, value: &dyn fmt::Display, allowed: String| Err(ConfigError::new(key, value, allowed));
        if self.max_size == 0 {
            return refuse("max_size", &0, "at least 1".to_owned());
        }
        if self.max_pending == 0 || self.max_pending > Self::MOST_PENDING {
            return refuse("max_pending", &self.max_pending, format!("from 1 to {}", Self::MOST_PENDING));
        }
        if self.max_size > self.max_pending {
            return refuse("max_size", &self.max_size, format!("at most `max_pending`, which is {}", self.max_pending));
        }
        if self.max_pending_per_partition.is_some_and(|jobs| jobs == 0 || jobs > self.max_pending) {
            let jobs = self.max_pending_per_partition.unwrap_or_default();
            let allowed = format!("from 1 to `max_pending`, which is {}", self.max_pending);
            return refuse("max_pending_per_partition", &jobs, allowed);
        }
        if self.max_pending_weight == Some(0) {
            return refuse("max_pending_weight", &0, "at least 1".to_owned());
        }
        if self.interval.is_zero() || self.interval > Self::LONGEST {
            let allowed = "more than 0 and at most 24 hours (a `max_size` of 1 sends every job at once)".to_owned();
            return refuse("interval", &format_args!("{:?}", self.interval), allowed);
        }
        if self.max_wait.is_some_and(|max_wait| max_wait < self.interval || max_wait > Self::LONGEST) {
            let allowed = format!("at least `interval`, which is {:?}, and at most 24 hours", self.interval);
            return refuse("max_wait", &shown(self.max_wait), allowed);
        }
        if self.max_weight == Some(0) || (self.max_weight.is_none() && self.strategy == Strategy::Weight) {
            let value = self.max_weight.map_or("unset".to_owned(), |weight| weight.to_string());
            return refuse("max_weight", &value, "at least 1, and the strategy `weight` needs it".to_owned());
        }
        if self.target_latency.is_some_and(|target| target.is_zero() || target > Self::LONGEST) {
            let allowed = "more than 0 and at most 24 hours".to_owned();
            return refuse("target_latency", &shown(self.target_latency), allowed);
        }
        let (min, max) = (self.workers.min(), self.workers.max());
        if min == 0 || min > max || max > Self::MOST_WORKERS {
            let value = if min == max { min.to_string() } else { format!("{min}..={max}") };
            return refuse("workers", &value, format!("from 1 to {}", Self::MOST_WORKERS));
        }
        Ok(())
    }

    /// The flush policy of the [`strategy`](Self::strategy), with these settings. A collector uses it, and
    /// [`replay`](crate::flush::replay::replay) can use it too.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use actix_batch::{CollectorConfig, flush::replay::{Incoming, Setting, replay}};
    ///
    /// let config = CollectorConfig::default();
    /// let cuts = replay(config.policy(), &Setting::default(), &[Incoming::at(Duration::from_millis(2))]);
    /// assert_eq!(cuts[0].left, Duration::from_millis(7));
    /// ```
    pub fn policy(&self) -> Box<dyn FlushPolicy> {
        match self.strategy {
            Strategy::SizeOrInterval => Box::new(SizeOrInterval::new(self.max_size, Some(self.interval))),
            Strategy::Capacity => Box::new(SizeOrInterval::new(self.max_size, None)),
            Strategy::FixedInterval => Box::new(FixedInterval::new(self.interval)),
            Strategy::Debounce => Box::new(self.debounce()),
            Strategy::Idle => Box::new(Idle),
            Strategy::Weight => Box::new(Weight::new(self.max_weight.unwrap_or(u64::MAX)).interval(self.interval)),
            Strategy::Adaptive => Box::new(self.adaptive()),
        }
    }

    fn debounce(&self) -> Debounce {
        let debounce = Debounce::new(self.interval);
        self.max_wait.map_or(debounce, |max_wait| debounce.max_wait(max_wait))
    }

    fn adaptive(&self) -> Adaptive {
        let target = self.target_latency.unwrap_or(self.interval * 4);
        Adaptive::new(target, 1..=self.max_size, Duration::ZERO..=self.interval)
    }
}

fn shown(duration: Option<Duration>) -> String {
    duration.map_or("unset".to_owned(), |duration| format!("{duration:?}"))
}

#[cfg(test)]
mod tests {
    use std::ops::RangeInclusive;

    use super::*;

    #[test]
    fn settings_that_cannot_be_are_refused_by_name() {
        let default = CollectorConfig::default;
        let refused = [
            ("max_size", CollectorConfig { max_size: 0, ..default() }),
            ("max_size", CollectorConfig { max_size: 11, max_pending: 10, ..default() }),
            ("max_pending", CollectorConfig { max_pending: 0, ..default() }),
            ("max_pending", CollectorConfig { max_pending: usize::MAX, ..default() }),
            ("max_pending_per_partition", CollectorConfig { max_pending_per_partition: Some(0), ..default() }),
            ("max_pending_per_partition", CollectorConfig { max_pending_per_partition: Some(10_001), ..default() }),
            ("max_pending_weight", CollectorConfig { max_pending_weight: Some(0), ..default() }),
            ("interval", CollectorConfig { interval: Duration::ZERO, ..default() }),
            ("interval", CollectorConfig { interval: Duration::MAX, ..default() }),
            ("max_wait", CollectorConfig { max_wait: Some(Duration::from_millis(4)), ..default() }),
            ("max_wait", CollectorConfig { max_wait: Some(Duration::MAX), ..default() }),
            ("max_weight", CollectorConfig { max_weight: Some(0), ..default() }),
            ("max_weight", CollectorConfig { strategy: Strategy::Weight, ..default() }),
            ("target_latency", CollectorConfig { target_latency: Some(Duration::ZERO), ..default() }),
            ("target_latency", CollectorConfig { target_latency: Some(Duration::MAX), ..default() }),
            ("workers", CollectorConfig { workers: Workers::local(0), ..default() }),
            ("workers", CollectorConfig { workers: Workers::threads(usize::MAX), ..default() }),
            (
                "workers",
                CollectorConfig { workers: Workers::local(1).adaptive(RangeInclusive::new(3, 2)), ..default() },
            ),
            ("workers", CollectorConfig { workers: Workers::local(1).adaptive(0..=2), ..default() }),
        ];
        for (key, config) in refused {
            assert_eq!(config.validate().unwrap_err().key, key, "{config:?}");
        }
        assert_eq!(default().validate(), Ok(()));
    }

    #[test]
    fn configuration_survives_a_round_trip() {
        let config = CollectorConfig {
            workers: Workers::threads(3).adaptive(3..=5),
            strategy: Strategy::Debounce,
            interval: Duration::from_micros(1500),
            max_wait: Some(Duration::from_millis(20)),
            max_weight: Some(u64::MAX),
            max_pending_per_partition: Some(1),
            max_pending_weight: Some(u64::MAX),
            target_latency: Some(Duration::from_secs(1)),
            no_workers: NoWorkers::Fail,
            ..Default::default()
        };
        for config in [config, CollectorConfig::default()] {
            let json = serde_json::to_string(&config).unwrap();
            assert_eq!(serde_json::from_str::<CollectorConfig>(&json).unwrap(), config);
        }
    }
}
