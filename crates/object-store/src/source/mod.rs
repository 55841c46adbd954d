//! Objects as the files of CSV and JSON lines.

use std::{fmt, sync::Arc};

use actix_batch_pipeline::source::{Csv, Identity, JsonLines, Size, SourceError, TextFiles};
use futures_util::TryStreamExt;
use object_store::{Error, ObjectMeta, ObjectStore, ObjectStoreExt, path::Path};
use serde::{Deserialize, Serialize};

use crate::{
    fault::Fault,
    location::{Given, Location, Options, Which},
    sink::Manifest,
    store::Store,
};

mod blocks;
mod seen;

pub use blocks::ObjectBlocks;
use seen::Seen;

/// The objects that a pipeline reads, as records of CSV or of JSON lines.
///
/// ```no_run
/// use actix_batch_object_store::Objects;
/// use actix_batch_pipeline::prelude::*;
/// use serde::Deserialize;
///
/// #[derive(Deserialize)]
/// struct Flight { origin: String, dest: String }
///
/// # actix_rt::System::new().block_on(async {
/// // With the feature `s3`, and AWS_ACCESS_KEY_ID and the others as every program has them.
/// let flights = Objects::at("s3://flights/2013/*.csv").csv::<Flight>().null_words(["NA"]);
/// let table = Sqlite::append("flights.db", "flights");
/// # let table = for_each(|flight: &Flight| println!("{} to {}", flight.origin, flight.dest));
/// let report = Pipeline::named("flights").read(flights).write(table).accept_duplicates(true).run().await?;
/// # Ok::<(), RunError>(())
/// # }).unwrap();
/// ```
///
/// Objects are read in the order of their keys, by ranges, some blocks ahead. A run goes on at the byte where the last one has stopped; of an
/// object that is compressed with gzip or zstd, which its first bytes say, it reads the beginning again and passes it. A server that knows
/// no ranges sends objects from their beginning, and what was read is passed, too.
///
/// An object that changes is refused by name, also in the middle: each answer's own `ETag` is compared, and the time of its last change
/// where a server has no `ETag`s.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Objects {
    url: Location,
    #[serde(default, skip_serializing)]
    options: Options,
    #[serde(default = "four_mebibytes")]
    block_bytes: u32,
    #[serde(default)]
    published: bool,
    #[serde(skip)]
    given: Given,
}

fn four_mebibytes() -> u32 {
    4 << 20
}

/// One object, as it was listed.
#[derive(Debug, Clone)]
pub struct ObjectFile {
    store: Arc<Store>,
    seen: Seen,
}

impl Objects {
    /// The objects at a URL:
    ///
    /// - `s3://bucket/flights.csv`: this one,
    /// - `s3://bucket/flights/`: all under the prefix, but for those with a name that begins with `_` or `.`, and manifests,
    /// - `s3://bucket/flights/*.csv`: those that match. `*` and `?` stand for no slash, `**/` for folders, `[0-9]` for a digit.
    ///
    /// `s3://` needs the feature `s3`, `gs://` the feature `gcs`, `http://` and `https://` the feature `http`; `file:///` needs none. Most
    /// HTTP servers cannot list, so their URLs name one object.
    pub fn at(url: impl Into<String>) -> Self {
        Self {
            url: Location::from(url.into()),
            options: Options::default(),
            block_bytes: four_mebibytes(),
            published: false,
            given: Given::default(),
        }
    }

    /// The objects that were published under a prefix by [`ObjectParts`](crate::ObjectParts): those of its manifest, in its order.
    pub fn published(prefix: impl Into<String>) -> Self {
        let mut prefix = prefix.into();
        if !prefix.ends_with('/') {
            prefix.push('/');
        }
        Self { published: true, ..Self::at(prefix) }
    }

    /// A setting of the store by `object_store`'s own name, `aws_endpoint` or `google_service_account` for instance; it outranks the
    /// environment. Values are never shown, nor written with the rest of the configuration.
    pub fn option(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.options.0.insert(name.into(), value.into());
        self
    }

    /// Reads from this store, whatever the URL's scheme and host are: one in memory, or one with a configuration of its own.
    pub fn store(mut self, store: Arc<dyn ObjectStore>) -> Self {
        self.given = Given(Some(store));
        self
    }

    /// How many bytes are asked for at once, at least 1. Two such blocks may be in memory. Default: 4 MiB.
    pub fn block_bytes(mut self, bytes: u32) -> Self {
        self.block_bytes = bytes.max(1);
        self
    }

    /// Reads them as CSV.
    pub fn csv<T>(self) -> Csv<T, Self> {
        Csv::from_files(self)
    }

    /// Reads them as JSON lines.
    pub fn json_lines<T>(self) -> JsonLines<T, Self> {
        JsonLines::from_files(self)
    }

    fn open_store(&self) -> Result<Store, Fault> {
        Store::open(&self.url, &self.options, &self.given)
    }

    async fn seen(&self, store: &Store) -> Result<Vec<Seen>, SourceError> {
        let seen = match store.parts.which {
            Which::Glob(_) if self.published => {
                return Err(SourceError::config(format!("{} is a pattern, and no prefix", self.url.shown())));
            }
            _ if self.published => return published(store).await,
            Which::One => vec![Seen::from(head(store, &store.parts.path).await?)],
            _ => listed(store).await?,
        };
        if seen.is_empty() {
            return Err(SourceError::config(format!("no object matches {}", self.url.shown())));
        }
        Ok(seen)
    }
}

async fn head(store: &Store, key: &Path) -> Result<ObjectMeta, SourceError> {
    store.objects.head(key).await.map_err(|error| match error {
        Error::NotFound { .. } => SourceError::config(format!("{} does not exist", store.shown(key))),
        error => store.failed("cannot read", key, &error).into(),
    })
}

/// The objects that match, by name.
async fn listed(store: &Store) -> Result<Vec<Seen>, SourceError> {
    let (prefix, which) = (&store.parts.path, &store.parts.which);
    let found: Vec<_> = store
        .objects
        .list(Some(prefix).filter(|prefix| !prefix.as_ref().is_empty()))
        .try_filter(|found| std::future::ready(which.matches(prefix, &found.location)))
        .try_collect()
        .await
        .map_err(|error| store.failed("cannot list", prefix, &error))?;
    let mut seen = Vec::with_capacity(found.len());
    for meta in found {
        // Some servers leave the `ETag` out of their listings, and show it with the object.
        let meta = if meta.e_tag.is_some() { meta } else { head(store, &meta.location).await? };
        seen.push(Seen::from(meta));
    }
    seen.sort_by(|one, other| one.object.cmp(&other.object));
    Ok(seen)
}

/// The objects of a manifest.
async fn published(store: &Store) -> Result<Vec<Seen>, SourceError> {
    let prefix = &store.parts.path;
    let manifest = Manifest::load(store, prefix).await?.ok_or_else(|| {
        let place = store.shown(&Manifest::key(prefix));
        SourceError::config(format!("{place} does not exist: nothing has been published there yet"))
    })?;
    let mut seen = Vec::new();
    for part in &manifest.parts {
        seen.push(Seen::from(head(store, &prefix.clone().join(part.object.as_str())).await?));
    }
    Ok(seen)
}

impl TextFiles for Objects {
    type File = ObjectFile;
    type Blocks = ObjectBlocks;

    fn describe(&self) -> String {
        self.url.shown().to_owned()
    }

    async fn list(&self) -> Result<Vec<ObjectFile>, SourceError> {
        let store = Arc::new(self.open_store()?);
        let seen = self.seen(&store).await?;
        Ok(seen.into_iter().map(|seen| ObjectFile { store: Arc::clone(&store), seen }).collect())
    }

    /// Key, size and `ETag` of each object.
    async fn identity(&self) -> Result<Identity, SourceError> {
        let seen = self.seen(&self.open_store()?).await?;
        serde_json::to_value(seen).map_err(|error| SourceError::config(error.to_string()))
    }

    async fn verify(&self, checkpoint: &Identity) -> Result<(), SourceError> {
        let known: Vec<Seen> = serde_json::from_value(checkpoint.clone())
            .map_err(|error| seen::changed(&format!("the checkpoint does not belong to objects ({error})")))?;
        let store = self.open_store()?;
        seen::verify(&store, &known, &self.seen(&store).await?)
    }

    async fn size(&self) -> Option<Size> {
        let seen = self.seen(&self.open_store().ok()?).await.ok()?;
        Some(Size::Bytes(seen.iter().map(|seen| seen.bytes).sum()))
    }

    async fn open(&self, file: &ObjectFile, byte: u64) -> Result<ObjectBlocks, SourceError> {
        Ok(ObjectBlocks::open(file.clone(), byte, self.block_bytes))
    }
}

impl fmt::Display for ObjectFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.store.shown(&self.seen.key()))
    }
}
