//! Where to go on, and the pieces of a source between two such places.

use std::fmt::Debug;

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::SourceError;

/// Where a reader goes on: *after* the last record of a chunk, never after what was only read ahead.
///
/// It is stored in checkpoints as JSON, together with its version.
pub trait Cursor: Serialize + DeserializeOwned + Ord + Clone + Debug + Send + Sync + 'static {
    /// The version of its form. Raise it when a stored cursor would be read wrongly.
    const VERSION: u32 = 1;

    /// Brings a cursor that an earlier version stored to the present form.
    ///
    /// # Errors
    ///
    /// By default every other version is refused.
    fn migrate(version: u32, _stored: Value) -> Result<Self, SourceError> {
        Err(SourceError::changed(format!(
            "the checkpoint's cursor has version {version}, this program reads version {}",
            Self::VERSION
        )))
    }

    /// Reads a stored cursor.
    ///
    /// # Errors
    ///
    /// If it has another version, or another form.
    fn load(version: u32, stored: Value) -> Result<Self, SourceError> {
        if version != Self::VERSION {
            return Self::migrate(version, stored);
        }
        serde_json::from_value(stored)
            .map_err(|error| SourceError::changed(format!("the checkpoint's cursor does not fit this source: {error}")))
    }
}

/// A number counts records.
impl Cursor for u64 {}

/// A piece of a source: from one cursor to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range<C> {
    /// After this cursor; `None` is the beginning.
    pub from: Option<C>,
    /// Up to and including this cursor; `None` is the end, also of a source that grows.
    pub to: Option<C>,
}

impl<C: Cursor> Range<C> {
    /// A range whose cursors were stored as JSON.
    pub(crate) fn load(version: u32, from: Option<&Value>, to: Option<&Value>) -> Result<Self, SourceError> {
        let load = |cursor: Option<&Value>| cursor.map(|cursor| C::load(version, cursor.clone())).transpose();
        Ok(Self { from: load(from)?, to: load(to)? })
    }
}

impl<C> Range<C> {
    /// The whole source.
    pub fn all() -> Self {
        Self { from: None, to: None }
    }
}
