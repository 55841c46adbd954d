//! How long a worker may take to get ready and to leave.

use std::time::Duration;

use crate::error::ConfigError;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) prepare: Duration,
    pub(crate) close: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { prepare: Duration::from_secs(30), close: Duration::from_secs(30) }
    }
}

impl Limits {
    const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        for (key, limit) in [("prepare_timeout", self.prepare), ("close_timeout", self.close)] {
            if limit < Duration::from_millis(1) || limit > Self::LONGEST {
                return Err(ConfigError::new(key, format_args!("{limit:?}"), "1 ms to 24 hours"));
            }
        }
        Ok(())
    }
}
