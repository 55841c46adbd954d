//! The checkpoint beside the parts.

use actix_batch_pipeline::checkpoint::{
    Checkpoint, CheckpointError, CheckpointErrorKind, FileStore, RunId, Store, StoreFuture,
};
use object_store::{Error, ObjectStoreExt, UpdateVersion, path::Path};
use serde::{Deserialize, Serialize};

use super::{
    ObjectParts,
    manifest::{MANIFEST, Manifest},
    parts::{Listed, Parts},
    replace::{Unreplaced, check, read, replace},
    stage::Stage,
};
use crate::{fault::Fault, location::Which, store};

/// The version of the checkpoint's form.
const FORMAT: u32 = 1;
/// How often another run may be faster than this one before that is an error.
const TAKE_OVERS: usize = 20;
const CHECKPOINT: &str = "checkpoint.json";

/// Keeps the checkpoint of a data set: `<prefix>/_staging/<pipeline>/checkpoint.json`.
#[derive(Debug)]
pub struct PartStore {
    spec: ObjectParts,
    run: RunId,
    /// A lock of this machine's; objects of a server have none.
    lease: Option<FileStore>,
}

/// The checkpoint as an object.
#[derive(Debug, Serialize, Deserialize)]
struct Stored {
    format: u32,
    /// The run that has stored it.
    holder: String,
    checkpoint: Option<Checkpoint>,
}

/// What this run has stored last.
#[derive(Debug, Default)]
pub(super) struct Saved {
    pub(super) checkpoint: Option<Checkpoint>,
    version: Option<UpdateVersion>,
}

impl PartStore {
    pub(super) fn new(spec: ObjectParts, run: RunId) -> Self {
        Self { spec, run, lease: None }
    }

    fn stage(&self) -> Result<Stage, Fault> {
        let ObjectParts { url, options, given, format, .. } = &self.spec;
        let store = store::Store::open(url, options, given)?;
        if matches!(store.parts.base.scheme(), "http" | "https") && given.0.is_none() {
            return Err(Fault::fatal(format!("{} can be read only: write to s3, gs or file", url.shown())));
        }
        if let Which::Glob(_) = store.parts.which {
            return Err(Fault::fatal(format!("{} is a pattern: write under a prefix", url.shown())));
        }
        Ok(Stage::new(store.into(), self.run.clone(), *format))
    }

    /// Loads the checkpoint and brings the staged objects to the state that it describes.
    async fn restore(&self) -> Result<Parts, CheckpointError> {
        let stage = self.stage()?;
        let manifest = self.manifest(&stage).await?;
        let saved = take_over(&stage).await?;
        let staged = stage.list().await?;
        let mut listed = listed(&stage, saved.checkpoint.as_ref())?;
        let mut open = Vec::new();
        for part in &listed.parts {
            let is_staged = staged.contains(&(part.object.clone(), part.bytes));
            if !is_staged && !stage.is_published(part).await? {
                return Err(gone(&stage, &part.object));
            }
        }
        for piece in &listed.pieces {
            if !staged.contains(&(piece.object.clone(), piece.bytes)) {
                return Err(gone(&stage, &piece.object));
            }
            open.extend_from_slice(&stage.get(&piece.object).await?);
        }
        let is_published = manifest.is_some_and(|manifest| manifest.parts == listed.parts) && listed.pieces.is_empty();
        if is_published {
            stage.remove_published(&std::mem::take(&mut listed.replaced)).await;
        }
        let mut unlisted = staged;
        unlisted.retain(|(name, _)| {
            let is_part = listed.parts.iter().any(|part| part.object == *name);
            let is_piece = listed.pieces.iter().any(|piece| piece.object == *name);
            !is_piece && (!is_part || is_published)
        });
        stage.remove(unlisted.iter().map(|(name, _)| stage.staged(name)).collect()).await;
        Ok(Parts::new(stage, saved, listed, open, is_published))
    }

    /// The manifest, unless it is another pipeline's.
    async fn manifest(&self, stage: &Stage) -> Result<Option<Manifest>, CheckpointError> {
        let manifest = Manifest::load(&stage.store, stage.prefix()).await?;
        match &manifest {
            Some(other) if other.pipeline != self.run.pipeline => {
                let message = other.foreign(&stage.store, stage.prefix()).to_string();
                Err(CheckpointError::new(CheckpointErrorKind::OtherPlan, message))
            }
            _ => Ok(manifest),
        }
    }

    /// Removes the checkpoint and what is staged. What was published stays until something else takes its place.
    async fn remove(&self) -> Result<(), CheckpointError> {
        let stage = self.stage()?;
        let key = checkpoint_key(&stage);
        stage.remove_published(&self.unpublished(&stage).await?).await;
        // The parts first: without a checkpoint they would be refused.
        let staged = stage.list().await?;
        stage.remove(staged.iter().map(|(name, _)| stage.staged(name)).collect()).await;
        match stage.store.objects.delete(&key).await {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(stage.store.failed("cannot remove", &key, &error).into()),
        }
    }

    /// What a run that was killed while it published has left among the published parts: its copies before its manifest, and the parts of the data
    /// set before after it. Takes the checkpoint over, so that a run which is still publishing comes to its end.
    async fn unpublished(&self, stage: &Stage) -> Result<Vec<String>, CheckpointError> {
        let published = self.manifest(stage).await?.map(|manifest| manifest.parts).unwrap_or_default();
        let listed = match take_over(stage).await.and_then(|saved| listed(stage, saved.checkpoint.as_ref())) {
            Ok(listed) => listed,
            // It does not keep a run from beginning anew, and lists nothing.
            Err(error) if matches!(error.kind(), CheckpointErrorKind::Corrupt | CheckpointErrorKind::Future) => {
                Listed::default()
            }
            Err(error) => return Err(error),
        };
        let mut names: Vec<_> = listed.parts.into_iter().map(|part| part.object).chain(listed.replaced).collect();
        names.retain(|name| published.iter().all(|published| published.object != *name));
        Ok(names)
    }

    /// Takes a lock of this machine's, which ends with the process.
    async fn lock(&mut self) -> Result<(), CheckpointError> {
        let stage = self.stage()?;
        if !stage.store.is_local() || self.spec.given.0.is_some() {
            return Ok(());
        }
        let folder = object_store::local::LocalFileSystem::new()
            .path_to_filesystem(&stage.folder())
            .map_err(|error| stage.store.failed("cannot use", &stage.folder(), &error))?;
        std::fs::create_dir_all(&folder).map_err(|error| {
            CheckpointError::new(CheckpointErrorKind::Io, format!("cannot create {}", folder.display()))
                .caused_by(error)
        })?;
        let mut lease = FileStore::at(folder.join("run"));
        lease.lease().await?;
        self.lease = Some(lease);
        remove_torn(&folder);
        if let Some(prefix) = folder.ancestors().nth(2) {
            remove_torn(prefix);
        }
        Ok(())
    }
}

/// Loads the checkpoint and stores it again as this run's own: from now on, no other run can store anything that counts.
async fn take_over(stage: &Stage) -> Result<Saved, CheckpointError> {
    for _ in 0..TAKE_OVERS {
        let mut saved = Saved::load(stage).await?;
        if saved.version.is_none() && !stage.list().await?.is_empty() {
            let message = format!(
                "objects are in {} without their checkpoint: remove them, or run with `fresh` to write them again",
                stage.store.shown(&stage.folder())
            );
            return Err(CheckpointError::new(CheckpointErrorKind::Corrupt, message));
        }
        let checkpoint = saved.checkpoint.take();
        match saved.put(stage, checkpoint).await {
            // The other run has stored its next one in between.
            Err(error) if error.kind() == CheckpointErrorKind::Leased => {}
            put => return put.map(|()| saved),
        }
    }
    Err(unsaved(stage, "cannot save the checkpoint", &Unreplaced::Overtaken))
}

impl Store for PartStore {
    /// Files of this machine are locked. In a store on the network, the run that loads a checkpoint takes it over: another run that is
    /// going on fails with its next one.
    fn lease(&mut self) -> StoreFuture<'_, ()> {
        Box::pin(self.lock())
    }

    fn load(&mut self) -> StoreFuture<'_, Option<Checkpoint>> {
        Box::pin(async move {
            let mut parts = self.spec.parts.lock().await;
            // What another run of this specification had on its way must not arrive any more.
            *parts = None;
            let restored = self.restore().await?;
            let checkpoint = restored.saved.checkpoint.clone();
            *parts = Some(restored);
            Ok(checkpoint)
        })
    }

    fn save<'a>(&'a mut self, checkpoint: &'a Checkpoint) -> StoreFuture<'a, ()> {
        Box::pin(async move {
            match self.spec.parts.lock().await.as_mut() {
                Some(parts) => parts.save(checkpoint).await,
                None => Err(Fault::fatal(format!("{} is not open", self.spec.url.shown())).into()),
            }
        })
    }

    fn clear(&mut self) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            let mut parts = self.spec.parts.lock().await;
            *parts = None;
            self.remove().await?;
            *parts = Some(self.restore().await?);
            Ok(())
        })
    }
}

/// Removes what a killed run has left of files that it was writing: `object_store` writes them as `name#1` and renames them. They are in
/// no list. What cannot be removed does no harm.
fn remove_torn(folder: &std::path::Path) {
    let is_ours = |name: &str| ["part-", "piece-", CHECKPOINT, MANIFEST].iter().any(|ours| name.starts_with(ours));
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let torn = name.to_str().and_then(|name| name.rsplit_once('#'));
        if torn.is_some_and(|(name, number)| is_ours(name) && number.bytes().all(|byte| byte.is_ascii_digit())) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

impl Saved {
    async fn load(stage: &Stage) -> Result<Self, CheckpointError> {
        let key = checkpoint_key(stage);
        let found = read(&*stage.store.objects, &key).await;
        let found = found.map_err(|error| stage.store.failed("cannot read", &key, &error))?;
        let Some((bytes, version)) = found else { return Ok(Self::default()) };
        let shown = stage.store.shown(&key);
        let stored: Stored = serde_json::from_slice(&bytes).map_err(|error| {
            let message = format!("{shown} is no checkpoint ({error}): restore it, or run with `fresh` to start again");
            CheckpointError::new(CheckpointErrorKind::Corrupt, message)
        })?;
        if stored.format > FORMAT {
            let message = format!(
                "the checkpoint {shown} was saved by a newer version (format {}): update this program, or run with `fresh`",
                stored.format
            );
            return Err(CheckpointError::new(CheckpointErrorKind::Future, message));
        }
        Ok(Self { checkpoint: stored.checkpoint, version: Some(version) })
    }

    /// Stores a checkpoint over the one that this run has loaded or stored before, and over no other.
    pub(super) async fn put(&mut self, stage: &Stage, checkpoint: Option<Checkpoint>) -> Result<(), CheckpointError> {
        let stored = Stored { format: FORMAT, holder: stage.holder().to_owned(), checkpoint };
        let key = checkpoint_key(stage);
        let bytes = serde_json::to_vec(&stored).map_err(|error| Fault::fatal(error.to_string()))?.into();
        let version = replace(&*stage.store.objects, &key, &bytes, self.version.as_ref()).await;
        let version = version.map_err(|error| unsaved(stage, "cannot save the checkpoint", &error))?;
        *self = Self { checkpoint: stored.checkpoint, version: Some(version) };
        Ok(())
    }

    /// Whether the stored checkpoint is still the one that this run has stored.
    pub(super) async fn check(&self, stage: &Stage) -> Result<(), CheckpointError> {
        let checked = check(&*stage.store.objects, &checkpoint_key(stage), self.version.as_ref()).await;
        checked.map_err(|error| unsaved(stage, "cannot read", &error))
    }
}

fn unsaved(stage: &Stage, doing: &str, error: &Unreplaced) -> CheckpointError {
    match error {
        Unreplaced::Overtaken => CheckpointError::new(CheckpointErrorKind::Leased, stage.overtaken()),
        Unreplaced::Failed(error) => stage.store.failed(doing, &checkpoint_key(stage), error).into(),
    }
}

fn checkpoint_key(stage: &Stage) -> Path {
    stage.staged(CHECKPOINT)
}

/// What the sink needs of a checkpoint.
fn listed(stage: &Stage, checkpoint: Option<&Checkpoint>) -> Result<Listed, CheckpointError> {
    let Some(checkpoint) = checkpoint.filter(|checkpoint| !checkpoint.sink.is_null()) else {
        return Ok(Listed::default());
    };
    serde_json::from_value(checkpoint.sink.clone()).map_err(|error| {
        let place = stage.store.shown(&checkpoint_key(stage));
        let message = format!("{place} does not list parts ({error}): run with `fresh` to start again");
        CheckpointError::new(CheckpointErrorKind::Corrupt, message)
    })
}

fn gone(stage: &Stage, name: &str) -> CheckpointError {
    let place = stage.store.shown(&stage.staged(name));
    let message = format!("{place} is gone, or not what it was: restore it, or run with `fresh` to write all again");
    CheckpointError::new(CheckpointErrorKind::Corrupt, message)
}
