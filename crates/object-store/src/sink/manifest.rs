//! The manifest: which objects belong to a data set.

use object_store::{Error, ObjectStoreExt, path::Path};
use serde::{Deserialize, Serialize};

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
        let key = Self::key(prefix);
        let bytes = async { store.objects.get(&key).await?.bytes().await };
        let bytes = match bytes.await {
            Err(Error::NotFound { .. }) => return Ok(None),
            bytes => bytes.map_err(|error| store.failed("cannot read", &key, &error))?,
        };
        let damaged = |why: String| {
            Fault::fatal(format!("{} is no manifest of a data set: {why}. Choose another prefix", store.shown(&key)))
        };
        let manifest: Self = serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
        if manifest.format > FORMAT {
            return Err(damaged(format!("a newer program has written it (format {})", manifest.format)));
        }
        Ok(Some(manifest))
    }

    /// It is another pipeline's.
    pub(super) fn foreign(&self, store: &Store, prefix: &Path) -> Fault {
        let place = store.shown(&Self::key(prefix));
        Fault::fatal(format!("{place} belongs to the pipeline `{}`: choose another prefix", self.pipeline))
    }

    /// Publishes the data set.
    pub(super) async fn save(&self, store: &Store, prefix: &Path) -> Result<(), Fault> {
        let key = Self::key(prefix);
        let text = serde_json::to_vec_pretty(self).map_err(|error| Fault::fatal(error.to_string()))?;
        store.objects.put(&key, text.into()).await.map_err(|error| store.failed("cannot write", &key, &error))?;
        Ok(())
    }
}
