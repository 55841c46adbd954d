//! What is remembered of an object: enough to see that it has changed.

use actix_batch_pipeline::source::SourceError;
use object_store::{ObjectMeta, path::Path};
use serde::{Deserialize, Serialize};

use crate::store::Store;

/// An object as it was when it was listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Seen {
    /// Its key.
    pub(super) object: String,
    pub(super) bytes: u64,
    /// What changes with it: its `ETag`, or the time of its last change.
    #[serde(flatten)]
    mark: Mark,
}

/// What changes with an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Mark {
    /// The server's own mark.
    Etag(String),
    /// Where there is none.
    Modified(String),
}

impl From<ObjectMeta> for Seen {
    fn from(meta: ObjectMeta) -> Self {
        let mark = match meta.e_tag {
            Some(etag) => Mark::Etag(etag),
            None => Mark::Modified(meta.last_modified.to_rfc3339()),
        };
        Self { object: meta.location.into(), bytes: meta.size, mark }
    }
}

impl Mark {
    /// Some servers have the quotes of an `ETag` in their answers, and not in their listings.
    fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Etag(one), Self::Etag(other)) => one.trim_matches('"') == other.trim_matches('"'),
            (one, other) => one == other,
        }
    }
}

impl Seen {
    pub(super) fn key(&self) -> Path {
        // It came from a `Path`, so it is one.
        Path::parse(&self.object).unwrap_or_else(|_| Path::from(self.object.as_str()))
    }

    /// Says what differs if the object is another one now.
    pub(super) fn compare(&self, store: &Store, now: &Self) -> Result<(), SourceError> {
        let differs = match (&self.mark, &now.mark) {
            (before, now) if !before.is(now) => format!("it had {before} and has {now}"),
            _ if self.bytes != now.bytes => format!("it had {} bytes and has {}", self.bytes, now.bytes),
            _ => return Ok(()),
        };
        Err(changed(&format!("{} has changed: {differs}", store.shown(&self.key()))))
    }
}

/// Whether the objects of a checkpoint are still there and the same. Others may have come after them.
pub(super) fn verify(store: &Store, known: &[Seen], now: &[Seen]) -> Result<(), SourceError> {
    for (place, known) in known.iter().enumerate() {
        match now.get(place) {
            Some(now) if now.object == known.object => known.compare(store, now)?,
            Some(now) => {
                let (before, now) = (store.shown(&known.key()), store.shown(&now.key()));
                return Err(changed(&format!("the checkpoint knows {before} where there is {now} now")));
            }
            None => return Err(changed(&format!("{} is gone", store.shown(&known.key())))),
        }
    }
    Ok(())
}

pub(super) fn changed(what: &str) -> SourceError {
    SourceError::changed(format!("{what}: restore the objects, or run with `fresh` to start again"))
}

impl std::fmt::Display for Mark {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Etag(etag) => write!(f, "the ETag {etag}"),
            Self::Modified(time) => write!(f, "no ETag and the time {time}"),
        }
    }
}
