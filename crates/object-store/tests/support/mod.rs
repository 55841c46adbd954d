//! What the tests share.
#![allow(dead_code, reason = "each test file uses its part")]

use std::{
    ops::Range,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use actix_batch_pipeline::{
    source::{Source, SourceError},
    test_util::read_range,
};
use futures_util::{StreamExt, stream::BoxStream};
use object_store::{
    CopyOptions, GetOptions, GetRange, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, memory::InMemory, path::Path,
};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

pub(crate) mod http;
#[cfg(feature = "s3")]
pub(crate) mod moto;
pub(crate) mod process;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) id: u64,
}

pub(crate) fn csv(ids: Range<u64>) -> String {
    let rows: Vec<_> = ids.map(|id| format!("{id}\n")).collect();
    format!("id\n{}", rows.concat())
}

pub(crate) fn json_lines(ids: Range<u64>) -> String {
    let rows: Vec<_> = ids.map(|id| format!("{{\"id\":{id}}}\n")).collect();
    rows.concat()
}

/// Runs a test on a clock that stands still.
pub(crate) fn paused<F: AsyncFnOnce() -> T, T>(test: F) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    actix_rt::System::with_tokio_rt(move || runtime).block_on(test())
}

/// All ids, or the error that ends the reading.
pub(crate) async fn ids<S: Source<Record = Row>>(source: &S) -> Result<Vec<u64>, SourceError> {
    source.identity().await?;
    let chunks = read_range(source, &actix_batch_pipeline::Range::all(), 100).await?;
    Ok(chunks.into_iter().flat_map(|(rows, _)| rows).map(|row| row.unwrap().id).collect())
}

/// A store in memory that remembers what it was asked for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asked {
    inner: Arc<InMemory>,
    requests: Arc<Mutex<Vec<Asking>>>,
    /// It can only overwrite.
    is_plain: bool,
    /// One in so many objects that are put is lost, with an error.
    loses: Option<usize>,
    puts: Arc<AtomicU64>,
    /// Where it holds its user up.
    gate: Option<Arc<Gate>>,
    /// The objects whose names end like that cannot be put.
    refuses: Option<&'static str>,
    /// No part can be removed.
    keeps: bool,
}

/// Holds a run up in the middle of publishing, until it is told to go on.
#[derive(Debug)]
pub(crate) struct Gate {
    pub(crate) at: At,
    pub(crate) reached: Notify,
    pub(crate) go_on: Notify,
}

/// Where a run is held up.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum At {
    /// A part has been copied.
    Copied,
    /// The manifest is about to be stored.
    Manifest,
}

impl Gate {
    async fn pass(&self, at: At) {
        if self.at == at {
            self.reached.notify_one();
            self.go_on.notified().await;
        }
    }
}

/// A key, and the range of it, if there was one.
type Asking = (String, Option<Range<u64>>);

impl Asked {
    pub(crate) async fn with(objects: &[(&str, &str)]) -> Self {
        let store = Self::default();
        for (key, text) in objects {
            store.inner.put(&Path::from(*key), text.as_bytes().to_vec().into()).await.unwrap();
        }
        store
    }

    /// One that can only overwrite.
    pub(crate) fn plain() -> Self {
        Self { is_plain: true, ..Self::default() }
    }

    /// One that loses one in so many objects that are put.
    pub(crate) fn losing(each: usize) -> Arc<dyn ObjectStore> {
        Arc::new(Self { loses: Some(each), ..Self::default() })
    }

    /// The same objects, by way of a gate.
    pub(crate) fn gated(&self, at: At) -> (Arc<dyn ObjectStore>, Arc<Gate>) {
        let gate = Arc::new(Gate { at, reached: Notify::new(), go_on: Notify::new() });
        (Arc::new(Self { gate: Some(Arc::clone(&gate)), ..self.clone() }), gate)
    }

    /// The same objects, but none whose name ends like that can be put.
    pub(crate) fn refusing(&self, name: &'static str) -> Arc<dyn ObjectStore> {
        Arc::new(Self { refuses: Some(name), ..self.clone() })
    }

    /// The same objects, of which no part can be removed.
    pub(crate) fn keeping(&self) -> Arc<dyn ObjectStore> {
        Arc::new(Self { keeps: true, ..self.clone() })
    }

    /// The ranges that were asked for since the last call.
    pub(crate) fn ranges(&self) -> Vec<Asking> {
        std::mem::take(&mut self.requests.lock().unwrap())
    }

    pub(crate) fn given(&self) -> Arc<dyn ObjectStore> {
        Arc::new(self.clone())
    }
}

impl std::fmt::Display for Asked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a store that remembers")
    }
}

#[async_trait::async_trait]
impl ObjectStore for Asked {
    async fn put_opts(&self, key: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        if self.is_plain && options.mode != PutMode::Overwrite {
            let (operation, implementer) = ("a condition".to_owned(), self.to_string());
            return Err(object_store::Error::NotImplemented { operation, implementer });
        }
        if self.refuses.is_some_and(|name| key.as_ref().ends_with(name)) {
            return Err(object_store::Error::Generic { store: "the test", source: "refused".into() });
        }
        if let Some(gate) = self.gate.as_ref().filter(|_| key.as_ref().ends_with("manifest.json")) {
            gate.pass(At::Manifest).await;
        }
        let puts = self.puts.fetch_add(1, Ordering::Relaxed) + 1;
        if self.loses.is_some_and(|each| fastrand::Rng::with_seed(puts).usize(..each) == 0) {
            return Err(object_store::Error::Generic { store: "the test", source: "lost".into() });
        }
        self.inner.put_opts(key, payload, options).await
    }

    async fn put_multipart_opts(&self, key: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(key, options).await
    }

    async fn get_opts(&self, key: &Path, options: GetOptions) -> Result<GetResult> {
        if !options.head {
            let range = match &options.range {
                Some(GetRange::Bounded(range)) => Some(range.clone()),
                Some(other) => panic!("an open range was asked for: {other}"),
                None => None,
            };
            self.requests.lock().unwrap().push((key.to_string(), range));
        }
        self.inner.get_opts(key, options).await
    }

    fn delete_stream(&self, keys: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let keeps = self.keeps;
        let removable = keys.map(move |key| {
            let key = key?;
            let is_kept = keeps && key.filename().is_some_and(|name| name.starts_with("part-"));
            if is_kept {
                Err(object_store::Error::Generic { store: "the test", source: "kept".into() })
            } else {
                Ok(key)
            }
        });
        self.inner.delete_stream(removable.boxed())
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await?;
        if let Some(gate) = &self.gate {
            gate.pass(At::Copied).await;
        }
        Ok(())
    }
}
