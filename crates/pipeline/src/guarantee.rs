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

/// What a source gives to the next run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rest {
    /// What the checkpoint has not settled.
    Unsettled,
    /// What was not acknowledged: it may have been stored.
    Unacknowledged,
    /// Nothing of what it gave before.
    Nothing,
}

impl Guarantee {
    /// What a source and its sinks promise together: as much as the weakest sink.
    pub(crate) fn of(rest: Rest, sinks: &[Promises]) -> Self {
        let weakest = sinks.iter().map(|promises| match (promises, rest) {
            (Promises::Transactional, Rest::Unsettled) => Self::Once,
            (Promises::Keyed, Rest::Unsettled | Rest::Unacknowledged) => Self::OnceByKey,
            (Promises::Transactional | Promises::Keyed, Rest::Nothing) => Self::AtMostOnce,
            (Promises::Append, Rest::Nothing) => Self::BestEffort,
            (Promises::Transactional | Promises::Append, _) => Self::AtLeastOnce,
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

#[cfg(test)]
mod tests {
    use super::{Guarantee, Promises, Rest};

    #[test]
    fn the_weakest_sink_and_what_the_source_gives_again_decide_how_often_a_record_takes_effect() {
        let all = [Promises::Transactional, Promises::Keyed, Promises::Append];
        let of = |rest| all.map(|promises| Guarantee::of(rest, &[promises]));
        assert_eq!(of(Rest::Unsettled), [Guarantee::Once, Guarantee::OnceByKey, Guarantee::AtLeastOnce]);
        let again = [Guarantee::AtLeastOnce, Guarantee::OnceByKey, Guarantee::AtLeastOnce];
        assert_eq!(
            of(Rest::Unacknowledged),
            again,
            "a message may have been stored before its acknowledgement was lost"
        );
        assert_eq!(of(Rest::Nothing), [Guarantee::AtMostOnce, Guarantee::AtMostOnce, Guarantee::BestEffort]);
        assert_eq!(Guarantee::of(Rest::Unsettled, &all), Guarantee::AtLeastOnce);
    }
}
