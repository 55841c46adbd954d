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
    /// At most once: the source cannot be read again, so what had not settled when a run ended is gone.
    AtMostOnce,
    /// At least once: a record may be written again, and is stored twice.
    AtLeastOnce,
    /// Neither: the source cannot be read again, and a record that the sink is sent again is stored twice.
    BestEffort,
}

impl Guarantee {
    /// What a source and its sinks promise together: as much as the weakest sink.
    pub(crate) fn of(is_resumable: bool, sinks: &[Promises]) -> Self {
        let weakest = sinks.iter().map(|promises| match (promises, is_resumable) {
            (Promises::Transactional, true) => Self::Once,
            (Promises::Keyed, true) => Self::OnceByKey,
            (Promises::Transactional | Promises::Keyed, false) => Self::AtMostOnce,
            (Promises::Append, true) => Self::AtLeastOnce,
            (Promises::Append, false) => Self::BestEffort,
        });
        weakest.max_by_key(|guarantee| *guarantee as u8).unwrap_or(Self::AtLeastOnce)
    }

    /// Whether a record may be stored twice, which has to be accepted.
    pub(crate) fn may_duplicate(self) -> bool {
        matches!(self, Self::AtLeastOnce | Self::BestEffort)
    }

    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Once | Self::OnceByKey => "once",
            Self::AtMostOnce => "at most once",
            Self::AtLeastOnce => "at least once",
            Self::BestEffort => "best effort",
        }
    }
}

impl fmt::Display for Guarantee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Once => "rows and progress are stored in one transaction",
            Self::OnceByKey => "a record that is written again overwrites itself",
            Self::AtMostOnce => "the source cannot be read again: what has not settled when a run ends is gone",
            Self::AtLeastOnce => "a record that is written again is stored twice",
            Self::BestEffort => "the source cannot be read again, and a record that is written again is stored twice",
        })
    }
}
