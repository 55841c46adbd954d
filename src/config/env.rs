//! Settings from environment variables.

use std::{env, fmt, str::FromStr, time::Duration};

use super::CollectorConfig;
use crate::{error::ConfigError, flush::Strategy};

impl CollectorConfig {
    /// Reads `STRATEGY`, `BATCH_CAPACITY`, `BATCH_TIME_WINDOW` and `BATCH_MAX_PENDING` from the environment. A setting whose
    /// variable is not set keeps its default.
    ///
    /// `BATCH_CAPACITY` is `max_size`, in jobs – with the strategy `weight` it is `max_weight`. `BATCH_TIME_WINDOW` is
    /// `interval`, in milliseconds. `BATCH_MAX_PENDING` is `max_pending`, in jobs. See [`Strategy`] for what they mean to each
    /// policy.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] with the variable's name for an unknown strategy, a number that cannot be parsed, or 0.
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
            lookup(&key).map(|value| (key, value.trim().to_owned()))
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
        if let Some((key, value)) = variable("BATCH_MAX_PENDING") {
            config.max_pending = number(&key, &value, Self::MOST_PENDING, "jobs")?;
        }
        Ok(config)
    }
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
            "`STRATEGY` must be one of `size-or-interval`, `capacity`, `fixed-interval`, `debounce`, \
             `idle`, `weight`, `adaptive` (got `often`)"
        );
        for value in ["0", "-1", "", "many", "1.5", "18446744073709551616", "4294967296"] {
            let said = said(&[("BATCH_CAPACITY", value)]);
            assert_eq!(
                said,
                format!("`BATCH_CAPACITY` must be a whole number of jobs from 1 to 4294967295 (got `{value}`)")
            );
        }
        assert_eq!(
            said(&[("BATCH_TIME_WINDOW", "86400001")]),
            "`BATCH_TIME_WINDOW` must be a whole number of milliseconds from 1 to 86400000 (got `86400001`)"
        );
    }

    #[test]
    fn a_capacity_above_the_default_bound_needs_a_higher_bound() {
        let config = from_vars(&[("BATCH_CAPACITY", "20000")]).unwrap();
        let error = config.validate().unwrap_err().to_string();
        assert_eq!(error, "`max_size` must be at most `max_pending`, which is 10000 (got 20000)");
        let config = from_vars(&[("BATCH_CAPACITY", "20000"), ("BATCH_MAX_PENDING", " 40000\n")]).unwrap();
        assert_eq!((config.validate(), config.max_pending), (Ok(()), 40_000));
    }

    #[test]
    fn the_capacity_of_a_weight_is_a_weight() {
        let config = from_vars(&[("BATCH_CAPACITY", "5000000000"), ("STRATEGY", "weight")]).unwrap();
        assert_eq!((config.max_weight, config.max_size), (Some(5_000_000_000), 100));
        assert_eq!(config.validate(), Ok(()));
        let said = from_vars(&[("BATCH_CAPACITY", "0"), ("STRATEGY", "weight")]).unwrap_err().to_string();
        assert_eq!(said, "`BATCH_CAPACITY` must be a whole number of weight from 1 to 18446744073709551615 (got `0`)");
    }
}
