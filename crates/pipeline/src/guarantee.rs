//! How often a record takes effect: what source and sink promise together.

use std::fmt;

use serde::Serialize;

use crate::sink::Promises;

/// How often a record takes effect, when runs are killed and go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Guarantee {
    /// Once: the sink stores the progress together with the rows.
    Once,
    /// Once in effect: a record that is written again overwrites itself.
    OnceByKey,
    /// At least once: a record may be written again, and is stored twice.
    AtLeastOnce,
}

impl Guarantee {
    /// What a source and its sinks promise together: as much as the weakest sink.
    pub(crate) fn of(is_resumable: bool, sinks: &[Promises]) -> Self {
        let weakest = sinks.iter().map(|promises| match promises {
            Promises::Transactional if is_resumable => Self::Once,
            Promises::Keyed => Self::OnceByKey,
            Promises::Transactional | Promises::Append => Self::AtLeastOnce,
        });
        weakest.max_by_key(|guarantee| *guarantee as u8).unwrap_or(Self::AtLeastOnce)
    }

    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Once | Self::OnceByKey => "once",
            Self::AtLeastOnce => "at least once",
        }
    }
}

impl fmt::Display for Guarantee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Once => "rows and progress are stored in one transaction",
            Self::OnceByKey => "a record that is written again overwrites itself",
            Self::AtLeastOnce => "a record that is written again is stored twice",
        })
    }
}
