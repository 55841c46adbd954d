//! The manifest: which objects belong to a data set.

use object_store::{UpdateVersion, path::Path};
use serde::{Deserialize, Serialize};

use super::{
    replace::{Unreplaced, read, replace},
    stage::Stage,
};
use crate::{fault::Fault, store::Store};

/// Its name under the prefix.
pub(crate) const MANIFEST: &str = "manifest.json";
/// The version of its form. Raise it when an old program would read it wrongly.
const FORMAT: u32 = 1;

/// Which objects belong to a data set, in the order of its records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    format: u32,
    /// The pipeline that has published it.
    pub(crate) pipeline: String,
    /// `csv` or `json-lines`.
    kind: String,
    records: u64,
    pub(crate) parts: Vec<Part>,
}

/// An object of a data set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Part {
    /// Its name under the prefix.
    pub(crate) object: String,
    pub(crate) bytes: u64,
    pub(crate) records: u64,
}

impl Manifest {
    pub(super) fn new(pipeline: String, kind: &str, parts: Vec<Part>) -> Self {
        let records = parts.iter().map(|part| part.records).sum();
        Self { format: FORMAT, pipeline, kind: kind.to_owned(), records, parts }
    }

    /// Its key.
    pub(crate) fn key(prefix: &Path) -> Path {
        prefix.clone().join(MANIFEST)
    }

    /// The manifest of a prefix, if there is one.
    pub(crate) async fn load(store: &Store, prefix: &Path) -> Result<Option<Self>, Fault> {
        Ok(Self::load_version(store, prefix).await?.map(|(manifest, _)| manifest))
    }

    /// The manifest of a prefix and its version, if there is one.
    pub(super) async fn load_version(store: &Store, prefix: &Path) -> Result<Option<(Self, UpdateVersion)>, Fault> {
        let key = Self::key(prefix);
        let found = read(&*store.objects, &key).await.map_err(|error| store.failed("cannot read", &key, &error))?;
        let Some((bytes, version)) = found else { return Ok(None) };
        let damaged = |why: String| {
            Fault::fatal(format!("{} is no manifest of a data set: {why}. Choose another prefix", store.shown(&key)))
        };
        let manifest: Self = serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
        if manifest.format > FORMAT {
            return Err(damaged(format!("a newer program has written it (format {})", manifest.format)));
        }
        Ok(Some((manifest, version)))
    }

    /// It is another pipeline's.
    pub(super) fn foreign(&self, store: &Store, prefix: &Path) -> Fault {
        let place = store.shown(&Self::key(prefix));
        Fault::fatal(format!("{place} belongs to the pipeline `{}`: choose another prefix", self.pipeline))
    }

    /// Publishes the data set in the place of the one of this version, and of no other.
    pub(super) async fn save(&self, stage: &Stage, before: Option<&UpdateVersion>) -> Result<(), Fault> {
        let key = Self::key(stage.prefix());
        let text = serde_json::to_vec_pretty(self).map_err(|error| Fault::fatal(error.to_string()))?.into();
        match replace(&*stage.store.objects, &key, &text, before).await {
            Ok(_) => Ok(()),
            Err(Unreplaced::Overtaken) => Err(Fault::fatal(stage.overtaken())),
            Err(Unreplaced::Failed(error)) => Err(stage.store.failed("cannot write", &key, &error)),
        }
    }
}
