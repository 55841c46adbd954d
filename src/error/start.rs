//! Why a collector does not start.

use std::{fmt, io};

use thiserror::Error;

/// A setting that was refused: its name, its value, and what is allowed.
///
/// ```
/// use actix_batch::CollectorConfig;
///
/// let error = CollectorConfig { max_size: 0, ..Default::default() }.validate().unwrap_err();
/// assert_eq!(error.to_string(), "`max_size` must be at least 1 (got 0)");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{key}` must be {allowed} (got {value})")]
pub struct ConfigError {
    /// The setting's name: a field of [`CollectorConfig`](crate::CollectorConfig), a method of the builder, or an environment
    /// variable.
    pub key: String,
    /// The value that was refused.
    pub value: String,
    /// What is allowed, as the end of the sentence "the setting must be …".
    pub allowed: String,
}

impl ConfigError {
    pub(crate) fn new(key: &str, value: impl fmt::Display, allowed: impl Into<String>) -> Self {
        Self { key: key.to_owned(), value: value.to_string(), allowed: allowed.into() }
    }
}

/// Why a collector did not start.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// A setting was refused.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// No actix `System` runs on this thread.
    #[error(
        "no actix `System` runs on this thread: start the collector inside one (`#[actix::main]`, `#[actix_web::main]`), or \
         call `start_on_thread()`, which brings its own"
    )]
    NoSystem,
    /// The collector's thread could not be started.
    #[error("the collector's thread could not be started: {0}")]
    Thread(#[from] io::Error),
}
