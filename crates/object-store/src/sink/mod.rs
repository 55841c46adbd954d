//! Objects as a sink: parts that are staged, and published whole by a manifest.
//!
//! What holds here:
//! - An object is written once and never changed, but for the checkpoint and the manifest. Its name holds the run's own tag, so a run that
//!   was thought to be dead overwrites nothing.
//! - The checkpoint lists the parts that are complete and the pieces of the one that is not, and what they hold beyond the settled prefix.
//!   Everything that it lists was stored before it. What it does not list is removed by the next run.
//! - The manifest is written last, and by one request: before it, a reader of manifests sees the old data, after it the new.
//! - A checkpoint is stored only over the one that this run has stored before, and a manifest only over the one that was there when this run
//!   began to publish. A run that was overtaken by another one fails by name.

use std::{fmt, marker::PhantomData, sync::Arc};

use actix_batch::{Batch, Workers};
use actix_batch_pipeline::{
    Record,
    checkpoint::{self, RunId, Settled},
    sink::{Defaults, IntoSink, Promises, Sink, SinkError, Written},
};
use object_store::ObjectStore;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use crate::location::{Given, Location, Options};

mod manifest;
mod part_store;
mod parts;
mod replace;
mod stage;
mod text;

pub(crate) use manifest::{MANIFEST, Manifest};
pub use part_store::PartStore;
use parts::Parts;
use text::{BatchText, Format};

/// Writes records as the parts of a data set: objects of CSV or of JSON lines under a prefix.
///
/// Parts are staged under `<prefix>/_staging/<pipeline>/` and published together when the run is complete: they are copied to
/// `<prefix>/part-…`, and `<prefix>/manifest.json` says which objects belong to the data set. A reader of the manifest – for
/// instance [`Objects::published`](crate::Objects::published) – never sees half of it. The parts of the data set before are removed
/// after that.
///
/// The checkpoint lies beside the parts, so each record is stored once, also after a kill.
///
/// ```
/// use actix_batch_object_store::{ObjectParts, Objects};
/// use actix_batch_pipeline::prelude::*;
///
/// # let folder = tempfile::tempdir().unwrap();
/// let squares = format!("file://{}/squares", folder.path().display());
/// # actix_rt::System::new().block_on(async {
/// Pipeline::named("squares")
///     .read(from_iter("numbers", || 1..=3_u32))
///     .map(|number| number * number)
///     .write(ObjectParts::json_lines(&squares))
///     .run()
///     .await?;
/// let sums = Pipeline::named("sums")
///     .read(Objects::published(&squares).json_lines::<u32>())
///     .write(for_each(|square: &u32| assert!([1, 4, 9].contains(square))))
///     .accept_duplicates(true);
/// assert_eq!(sums.run().await?.written, 3);
/// # Ok::<(), RunError>(())
/// # }).unwrap();
/// ```
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObjectParts {
    url: Location,
    format: Format,
    #[serde(default, skip_serializing)]
    options: Options,
    #[serde(default = "sixteen_mebibytes")]
    part_bytes: usize,
    #[serde(skip)]
    given: Given,
    /// What is being written, shared by the sinks and the store of this specification.
    #[serde(skip)]
    parts: Shared,
}

type Shared = Arc<Mutex<Option<Parts>>>;

fn sixteen_mebibytes() -> usize {
    16 << 20
}

/// Writes the parts of a data set.
pub struct ObjectSink<T> {
    spec: ObjectParts,
    records: PhantomData<fn(T)>,
}

impl ObjectParts {
    /// Parts of JSON lines under this prefix: `s3://bucket/flights`. `http` and `https` are only for reading.
    pub fn json_lines(prefix: impl Into<String>) -> Self {
        Self::of(prefix.into(), Format::JsonLines)
    }

    /// Parts of CSV under this prefix, each with a header of the names of the serde fields. `None` is an empty field. Maps and nested
    /// structs are refused.
    pub fn csv(prefix: impl Into<String>) -> Self {
        Self::of(prefix.into(), Format::Csv)
    }

    fn of(mut prefix: String, format: Format) -> Self {
        if !prefix.ends_with('/') {
            prefix.push('/');
        }
        let (options, given, parts) = (Options::default(), Given::default(), Shared::default());
        Self { url: Location::from(prefix), format, options, part_bytes: sixteen_mebibytes(), given, parts }
    }

    /// A setting of the store; see [`Objects::option`](crate::Objects::option).
    pub fn option(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.options.0.insert(name.into(), value.into());
        self
    }

    /// Writes to this store, whatever the URL's scheme and host are.
    pub fn store(mut self, store: Arc<dyn ObjectStore>) -> Self {
        self.given = Given(Some(store));
        self
    }

    /// How large a part becomes, in bytes, at least 1: it is complete with the batch that reaches it. Two parts may be in memory.
    /// Default: 16 MiB.
    pub fn part_bytes(mut self, bytes: usize) -> Self {
        self.part_bytes = bytes.max(1);
        self
    }
}

impl<T: Serialize + Send + Sync + 'static> IntoSink<T> for ObjectParts {
    type Sink = ObjectSink<T>;

    fn describe(&self) -> String {
        format!("{}:{}", self.format.word(), self.url.shown())
    }

    fn promises(&self) -> Promises {
        Promises::Transactional
    }

    /// One writer: a part has one end.
    fn defaults(&self) -> Defaults {
        Defaults { max_size: 2_000, workers: Workers::local(1) }
    }

    fn sink(&self, _worker: usize, _run: &RunId, _settled: &Arc<Settled>) -> ObjectSink<T> {
        ObjectSink { spec: self.clone(), records: PhantomData }
    }

    fn store(&self, run: &RunId) -> Option<Box<dyn checkpoint::Store>> {
        Some(Box::new(PartStore::new(self.clone(), run.clone())))
    }

    /// A manifest lists the data set as a whole.
    fn is_whole(&self) -> bool {
        true
    }

    async fn publish(&self) -> Result<(), SinkError> {
        match self.parts.lock().await.as_mut() {
            Some(parts) => parts.publish().await,
            None => Ok(()),
        }
    }
}

impl<T: Serialize + 'static> Sink<T> for ObjectSink<T> {
    async fn write(&mut self, batch: &Batch<Record<T>>) -> Result<Written, SinkError> {
        let mut parts = self.spec.parts.lock().await;
        let Some(parts) = parts.as_mut() else {
            return Err(SinkError::fatal(format!("{} is not open", self.spec.url.shown())));
        };
        parts.make_room(self.spec.part_bytes).await?;
        // Only a batch that comes again can hold what is there.
        let is_again = batch.attempt() > 1;
        let held = |record: &Record<T>| is_again && parts.holds(record.position());
        let text = BatchText::of(self.spec.format, batch, held, parts.is_at_begin());
        parts.append(&text, batch);
        Ok(text.written)
    }

    fn show(record: &T) -> Option<String> {
        serde_json::to_string(record).ok()
    }
}

impl<T> fmt::Debug for ObjectSink<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObjectSink").field("spec", &self.spec).finish_non_exhaustive()
    }
}
