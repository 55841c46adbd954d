//! The objects of a data set that is not published yet, by name.

use std::sync::Arc;

use actix_batch_pipeline::checkpoint::RunId;
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use object_store::{Error, ObjectStoreExt, path::Path};

use super::{manifest::Part, text::Format};
use crate::{fault::Fault, store::Store};

/// Where parts and pieces lie until they are published.
#[derive(Debug, Clone)]
pub(super) struct Stage {
    pub(super) store: Arc<Store>,
    pub(super) run: RunId,
    pub(super) format: Format,
    /// The part of names that no other run has.
    tag: String,
}

impl Stage {
    pub(super) fn new(store: Arc<Store>, run: RunId, format: Format) -> Self {
        Self { store, run, format, tag: format!("{:016x}", fastrand::u64(..)) }
    }

    /// Who writes.
    pub(super) fn holder(&self) -> &str {
        &self.tag
    }

    /// Under which the data set is published.
    pub(super) fn prefix(&self) -> &Path {
        &self.store.parts.path
    }

    pub(super) fn folder(&self) -> Path {
        self.prefix().clone().join("_staging").join(self.run.pipeline.as_str())
    }

    /// The name of a complete part.
    pub(super) fn part_name(&self, number: usize) -> String {
        format!("part-{number:05}-{}.{}", self.tag, self.format.suffix())
    }

    /// The name of a piece of a part that is not complete.
    pub(super) fn piece_name(&self, number: usize) -> String {
        format!("piece-{number:05}-{}.{}", self.tag, self.format.suffix())
    }

    pub(super) fn staged(&self, name: &str) -> Path {
        self.folder().join(name)
    }

    pub(super) fn published(&self, name: &str) -> Path {
        self.prefix().clone().join(name)
    }

    /// What a run says that another one has taken the place of.
    pub(super) fn overtaken(&self) -> String {
        format!(
            "another run of this pipeline has taken over {}: let only one of them run, or give this one another name",
            self.store.shown(&self.folder())
        )
    }

    pub(super) async fn put(&self, name: &str, bytes: Bytes) -> Result<(), Fault> {
        let key = self.staged(name);
        let put = self.store.objects.put(&key, bytes.into()).await;
        put.map(drop).map_err(|error| self.store.failed("cannot write", &key, &error))
    }

    pub(super) async fn get(&self, name: &str) -> Result<Bytes, Fault> {
        let key = self.staged(name);
        let bytes = async { self.store.objects.get(&key).await?.bytes().await };
        bytes.await.map_err(|error| self.store.failed("cannot read", &key, &error))
    }

    /// The names and sizes of all parts and pieces that are staged.
    pub(super) async fn list(&self) -> Result<Vec<(String, u64)>, Fault> {
        let folder = self.folder();
        let found: Vec<_> = self
            .store
            .objects
            .list(Some(&folder))
            .try_collect()
            .await
            .map_err(|error| self.store.failed("cannot list", &folder, &error))?;
        let names = found.into_iter().filter_map(|found| Some((found.location.filename()?.to_owned(), found.size)));
        Ok(names.filter(|(name, _)| name.starts_with("part-") || name.starts_with("piece-")).collect())
    }

    /// Whether a part stands where it is published, whole.
    pub(super) async fn is_published(&self, part: &Part) -> Result<bool, Fault> {
        let key = self.published(&part.object);
        match self.store.objects.head(&key).await {
            Ok(found) => Ok(found.size == part.bytes),
            Err(Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(self.store.failed("cannot read", &key, &error)),
        }
    }

    /// Copies a staged part to where it is published, in one step.
    pub(super) async fn copy(&self, part: &Part) -> Result<(), Fault> {
        let (from, to) = (self.staged(&part.object), self.published(&part.object));
        self.store.objects.copy(&from, &to).await.map_err(|error| self.store.failed("cannot write", &to, &error))
    }

    /// Removes parts that were published, by name.
    pub(super) async fn remove_published(&self, names: &[String]) {
        self.remove(names.iter().map(|name| self.published(name)).collect()).await;
    }

    /// Removes objects that nothing refers to. What cannot be removed stays, with a warning: it does no harm.
    pub(super) async fn remove(&self, keys: Vec<Path>) {
        let keys = futures_util::stream::iter(keys.into_iter().map(Ok)).boxed();
        let mut removed = self.store.objects.delete_stream(keys);
        while let Some(removed) = removed.next().await {
            match removed {
                Ok(_) | Err(Error::NotFound { .. }) => {}
                Err(error) => {
                    let fault = self.store.failed("cannot remove objects under", &self.folder(), &error);
                    tracing::warn!("an object that is not needed any more stays: {fault}");
                }
            }
        }
    }
}
