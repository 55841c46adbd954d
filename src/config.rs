//! Settings, their defaults, and what is allowed.

use std::{env, fmt, ops::RangeInclusive, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    error::ConfigError,
    flush::{Adaptive, Debounce, FixedInterval, FlushPolicy, Idle, SizeOrInterval, Strategy, Weight},
};

/// A collector's settings, as a configuration file or the environment holds them.
///
/// Every field has a default, unknown fields are refused, durations read as `"5ms"` or `"1s 500ms"`.
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
    /// Jobs per batch at the most, from 1 to `max_pending`. Default: 100.
    pub max_size: usize,
    /// How long a batch's first job waits for others, up to 24 hours; [`Strategy`] says what it is to each. Default: 5 ms.
    #[serde(with = "humantime_serde")]
    pub interval: Duration,
    /// For [`Strategy::Session`]: how long a batch's first job waits at most, however many follow, from `interval` to 24 hours.
    /// Default: 10 × `interval`.
    #[serde(with = "humantime_serde", skip_serializing_if = "Option::is_none")]
    pub max_wait: Option<Duration>,
    /// For [`Strategy::Weight`], which needs it: what the jobs of a batch weigh together at the most, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_weight: Option<u64>,
    /// For [`Strategy::Adaptive`]: how soon a job should be answered, up to 24 hours. Default: 4 × `interval`.
    #[serde(with = "humantime_serde", skip_serializing_if = "Option::is_none")]
    pub target_latency: Option<Duration>,
    /// Jobs accepted and not yet settled at the most, up to 2³² − 1. Default: 10,000.
    pub max_pending: usize,
    /// How many workers, and where they run. Default: [`Workers::local(2)`](Workers::local).
    pub workers: Workers,
    /// What becomes of jobs while every worker rests. Default: [`NoWorkers::Wait`].
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

    /// Reads `STRATEGY`, `BATCH_CAPACITY` and `BATCH_TIME_WINDOW` from the environment; what is not set keeps its default.
    ///
    /// `BATCH_CAPACITY` is `max_size`, in jobs – with the strategy `weight` it is `max_weight`. `BATCH_TIME_WINDOW` is
    /// `interval`, in milliseconds. [`Strategy`] says what they mean to each.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] with the variable's name for an unknown strategy, a number that cannot be parsed, and 0.
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::from_env_with_prefix("")
    }

    /// As [`from_env`](Self::from_env), with a prefix before each name: `"USERS_"` reads `USERS_BATCH_CAPACITY`.
    ///
    /// # Errors
    ///
    /// As [`from_env`](Self::from_env).
    pub fn from_env_with_prefix(prefix: &str) -> Result<Self, ConfigError> {
        Self::from_vars(prefix, |name| env::var_os(name).map(|value| value.to_string_lossy().into_owned()))
    }

    fn from_vars(prefix: &str, lookup: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let mut config = Self::default();
        let variable = |name: &str| {
            let key = format!("{prefix}{name}");
            lookup(&key).map(|value| (key, value))
        };
        if let Some((key, value)) = variable("STRATEGY") {
            config.strategy =
                value.parse().map_err(|_| ConfigError::new(&key, format_args!("`{value}`"), Strategy::allowed()))?;
        }
        if let Some((key, value)) = variable("BATCH_CAPACITY") {
            if config.strategy == Strategy::Weight {
                config.max_weight = Some(number(&key, &value, u64::MAX, "weight")?);
            } else {
                config.max_size = number(&key, &value, Self::MOST_PENDING, "jobs")?;
            }
        }
        if let Some((key, value)) = variable("BATCH_TIME_WINDOW") {
            config.interval = Duration::from_millis(number(&key, &value, Self::LONGEST_MILLIS, "milliseconds")?);
        }
        Ok(config)
    }

    /// Whether a collector can be built from these settings. `build` and `start` ask it too.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] with the first setting that cannot be, its value, and what is allowed.
    pub fn check(&self) -> Result<(), ConfigError> {
        let refuse = |key: &str, value: &dyn fmt::Display, allowed: String| Err(ConfigError::new(key, value, allowed));
        if self.max_size == 0 {
            return refuse("max_size", &0, "at least 1 job".to_owned());
        }
        if self.max_pending == 0 || self.max_pending > Self::MOST_PENDING {
            return refuse("max_pending", &self.max_pending, format!("1 to {} jobs", Self::MOST_PENDING));
        }
        if self.max_size > self.max_pending {
            return refuse("max_size", &self.max_size, format!("at most `max_pending`, which is {}", self.max_pending));
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
        let Workers { min, max, .. } = self.workers;
        if min == 0 || min > max || max > Self::MOST_WORKERS {
            let value = if min == max { min.to_string() } else { format!("{min}..={max}") };
            return refuse("workers", &value, format!("1 to {} workers", Self::MOST_WORKERS));
        }
        Ok(())
    }

    /// The policy that the [`strategy`](Self::strategy) means, with these settings: what a collector asks, and what
    /// [`replay`](crate::flush::replay::replay) can ask as well.
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
            Strategy::FixedWindow => Box::new(FixedInterval::new(self.interval)),
            Strategy::Session | Strategy::SlidingWindow => Box::new(self.debounce()),
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

/// A whole number from 1 to `most`.
fn number<N>(key: &str, value: &str, most: N, unit: &str) -> Result<N, ConfigError>
where
    N: FromStr + PartialOrd + From<u8> + fmt::Display + Copy,
{
    let parsed = value.trim().parse().ok().filter(|number| *number >= N::from(1) && *number <= most);
    parsed.ok_or_else(|| {
        ConfigError::new(key, format_args!("`{value}`"), format!("a whole number of {unit} from 1 to {most}"))
    })
}

/// How many workers, and where they run.
///
/// In configuration: `{ "local": 2 }`, `{ "threads": 4 }` or `{ "threads": { "min": 1, "max": 8 } }`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Place", from = "Place")]
pub struct Workers {
    min: usize,
    max: usize,
    threads: bool,
}

impl Workers {
    /// Workers on the collector's own arbiter, for processors that await. One that blocks its thread blocks the collector.
    pub const fn local(count: usize) -> Self {
        Self { min: count, max: count, threads: false }
    }

    /// Workers with an arbiter thread each, for processors that block or burn CPU.
    pub const fn threads(count: usize) -> Self {
        Self { min: count, max: count, threads: true }
    }

    /// As many as the load asks for, instead of a fixed number. It begins with the least.
    ///
    /// One is added whenever batches have waited for a worker for 100 ms without a break, and one is let go whenever a worker has
    /// been idle for 10 s without a break; both clocks start anew after each change.
    ///
    /// ```
    /// use actix_batch::Workers;
    ///
    /// let workers = Workers::threads(1).adaptive(1..=8);
    /// assert_eq!((workers.min(), workers.max()), (1, 8));
    /// ```
    pub const fn adaptive(self, range: RangeInclusive<usize>) -> Self {
        Self { min: *range.start(), max: *range.end(), ..self }
    }

    /// The least number.
    pub const fn min(self) -> usize {
        self.min
    }

    /// The largest number; the same as [`min`](Self::min) unless they are adaptive.
    pub const fn max(self) -> usize {
        self.max
    }

    /// Whether each has a thread of its own.
    pub const fn on_threads(self) -> bool {
        self.threads
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Place {
    Local(Number),
    Threads(Number),
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum Number {
    Fixed(usize),
    Adaptive { min: usize, max: usize },
}

impl From<Workers> for Place {
    fn from(Workers { min, max, threads }: Workers) -> Self {
        let number = if min == max { Number::Fixed(min) } else { Number::Adaptive { min, max } };
        if threads { Self::Threads(number) } else { Self::Local(number) }
    }
}

impl From<Place> for Workers {
    fn from(place: Place) -> Self {
        let (number, threads) = match place {
            Place::Local(number) => (number, false),
            Place::Threads(number) => (number, true),
        };
        match number {
            Number::Fixed(count) => Self { min: count, max: count, threads },
            Number::Adaptive { min, max } => Self { min, max, threads },
        }
    }
}

/// What becomes of jobs while every worker rests after too many restarts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NoWorkers {
    /// They wait, within `max_pending`.
    #[default]
    Wait,
    /// They fail with [`JobError::NoWorkers`](crate::JobError::NoWorkers).
    Fail,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from_vars(vars: &[(&str, &str)]) -> Result<CollectorConfig, ConfigError> {
        CollectorConfig::from_vars("", |name| {
            vars.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn the_environment_sets_strategy_size_and_interval() {
        let config =
            from_vars(&[("STRATEGY", "capacity"), ("BATCH_CAPACITY", "7"), ("BATCH_TIME_WINDOW", "250")]).unwrap();
        assert_eq!(
            (config.strategy, config.max_size, config.interval),
            (Strategy::Capacity, 7, Duration::from_millis(250))
        );
        assert_eq!(from_vars(&[]).unwrap(), CollectorConfig::default());
    }

    #[test]
    fn a_prefix_names_one_collector_among_several() {
        let lookup = |name: &str| (name == "USERS_BATCH_CAPACITY").then(|| "3".to_owned());
        assert_eq!(CollectorConfig::from_vars("USERS_", lookup).unwrap().max_size, 3);
        assert_eq!(CollectorConfig::from_vars("", lookup).unwrap().max_size, 100);
    }

    #[test]
    fn a_bad_variable_is_refused_with_its_key_its_value_and_what_is_allowed() {
        fn said(vars: &[(&str, &str)]) -> String {
            from_vars(vars).unwrap_err().to_string()
        }
        assert_eq!(
            said(&[("STRATEGY", "often")]),
            "`STRATEGY` cannot be `often`: one of `size-or-interval`, `capacity`, `fixed-window`, `session`, \
             `sliding-window`, `idle`, `weight`, `adaptive`"
        );
        for value in ["0", "-1", "", "many", "1.5", "18446744073709551616", "4294967296"] {
            let said = said(&[("BATCH_CAPACITY", value)]);
            assert_eq!(
                said,
                format!("`BATCH_CAPACITY` cannot be `{value}`: a whole number of jobs from 1 to 4294967295")
            );
        }
        assert_eq!(
            said(&[("BATCH_TIME_WINDOW", "86400001")]),
            "`BATCH_TIME_WINDOW` cannot be `86400001`: a whole number of milliseconds from 1 to 86400000"
        );
    }

    #[test]
    fn settings_that_cannot_be_are_refused_by_name() {
        let default = CollectorConfig::default;
        let refused = [
            ("max_size", CollectorConfig { max_size: 0, ..default() }),
            ("max_size", CollectorConfig { max_size: 11, max_pending: 10, ..default() }),
            ("max_pending", CollectorConfig { max_pending: 0, ..default() }),
            ("max_pending", CollectorConfig { max_pending: usize::MAX, ..default() }),
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
            assert_eq!(config.check().unwrap_err().key, key, "{config:?}");
        }
        assert_eq!(default().check(), Ok(()));
    }

    #[test]
    fn configuration_survives_a_round_trip() {
        let config = CollectorConfig {
            workers: Workers::threads(3).adaptive(3..=5),
            strategy: Strategy::Session,
            interval: Duration::from_micros(1500),
            max_wait: Some(Duration::from_millis(20)),
            max_weight: Some(u64::MAX),
            target_latency: Some(Duration::from_secs(1)),
            no_workers: NoWorkers::Fail,
            ..Default::default()
        };
        for config in [config, CollectorConfig::default()] {
            let json = serde_json::to_string(&config).unwrap();
            assert_eq!(serde_json::from_str::<CollectorConfig>(&json).unwrap(), config);
        }
    }

    #[test]
    fn the_capacity_of_a_weight_is_a_weight() {
        let config = from_vars(&[("BATCH_CAPACITY", "5000000000"), ("STRATEGY", "weight")]).unwrap();
        assert_eq!((config.max_weight, config.max_size), (Some(5_000_000_000), 100));
        assert_eq!(config.check(), Ok(()));
        let said = from_vars(&[("BATCH_CAPACITY", "0"), ("STRATEGY", "weight")]).unwrap_err().to_string();
        assert_eq!(said, "`BATCH_CAPACITY` cannot be `0`: a whole number of weight from 1 to 18446744073709551615");
    }
}
