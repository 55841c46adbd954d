//! What the user asked for.

use std::{path::PathBuf, sync::Arc, time::Duration};

use super::SourceRange;
use crate::{checkpoint::Store, error::RunError};

/// Makes the store of one run.
pub(crate) type MakeStore = Arc<dyn Fn() -> Box<dyn Store> + Send + Sync>;

/// The settings of a pipeline.
#[derive(Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is a setting of its own")]
pub(crate) struct Settings {
    pub(crate) name: String,
    pub(crate) chunk: usize,
    pub(crate) look_ahead: usize,
    pub(crate) readers: usize,
    pub(crate) store: Option<MakeStore>,
    pub(crate) checkpoint_every: Duration,
    pub(crate) dead_letters: Option<PathBuf>,
    pub(crate) max_rejected: Option<u64>,
    pub(crate) max_records: Option<u64>,
    pub(crate) max_batches: Option<u64>,
    pub(crate) accept_duplicates: bool,
    pub(crate) fresh: bool,
    pub(crate) start_at: Option<serde_json::Value>,
    /// What the run copies, if not everything.
    pub(crate) range: Option<SourceRange>,
    pub(crate) show_progress: bool,
    pub(crate) stop_on_ctrl_c: bool,
    #[cfg(feature = "metrics")]
    pub(crate) metrics: bool,
}

impl Settings {
    pub(crate) fn new(name: String) -> Self {
        Self {
            name,
            chunk: 250,
            look_ahead: 8_000,
            readers: 1,
            store: None,
            checkpoint_every: Duration::from_secs(1),
            dead_letters: None,
            max_rejected: None,
            max_records: None,
            max_batches: None,
            accept_duplicates: false,
            fresh: false,
            start_at: None,
            range: None,
            show_progress: false,
            stop_on_ctrl_c: false,
            #[cfg(feature = "metrics")]
            metrics: false,
        }
    }

    pub(crate) fn validate(&self) -> Result<(), RunError> {
        let refuse = |key, value: &dyn std::fmt::Display, allowed: &str| {
            Err(RunError::Config { key, value: value.to_string(), allowed: allowed.to_owned() })
        };
        if self.name.is_empty() {
            return refuse("name", &"\"\"", "a name that is not empty: checkpoints belong to it");
        }
        if !(1..=1_000_000).contains(&self.chunk) {
            return refuse("chunk", &self.chunk, "from 1 to 1,000,000 records");
        }
        if !(1..=10_000_000).contains(&self.look_ahead) {
            return refuse("look_ahead", &self.look_ahead, "from 1 to 10,000,000 records");
        }
        if !(1..=1024).contains(&self.readers) {
            return refuse("readers", &self.readers, "from 1 to 1024");
        }
        if self.checkpoint_every.is_zero() {
            return refuse("checkpoint_every", &"0 s", "more than 0");
        }
        if self.max_records == Some(0) {
            return refuse("max_records", &0, "at least 1");
        }
        if self.max_batches == Some(0) {
            return refuse("max_batches", &0, "at least 1");
        }
        Ok(())
    }
}
