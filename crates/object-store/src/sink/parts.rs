//! The part that is being written, and those that are complete.

use std::collections::HashMap;

use actix_batch::Batch;
use actix_batch_pipeline::{
    Position, Record,
    checkpoint::{Checkpoint, CheckpointError, Interval, Intervals},
    sink::SinkError,
};
use bytes::Bytes;
use object_store::{UpdateVersion, path::Path};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::task::JoinHandle;

use super::{
    manifest::{Manifest, Part},
    part_store::Saved,
    stage::Stage,
    text::BatchText,
};
use crate::fault::Fault;

/// What a checkpoint holds of a data set.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Listed {
    /// Those that are complete, in the order of their records.
    pub(super) parts: Vec<Part>,
    /// The pieces of the one that is not.
    pub(super) pieces: Vec<Part>,
    /// The names of the published parts whose place these take: they are removed once the manifest lists these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) replaced: Vec<String>,
}

/// A data set that is being written.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) stage: Stage,
    /// The checkpoint as it was stored last.
    pub(super) saved: Saved,
    listed: Listed,
    /// The text of the part that is not complete, and how much of it lies in pieces.
    open: Vec<u8>,
    in_pieces: usize,
    /// Records of the open part, and those of them that lie in pieces.
    records: u64,
    records_in_pieces: u64,
    /// The part that is on its way.
    upload: Option<Upload>,
    /// Pieces that this run has stored.
    stored_pieces: usize,
    /// What the parts hold, as far as that lies beyond the settled prefix.
    beyond: HashMap<u32, Intervals>,
    /// Staged objects that the next checkpoint does not list any more.
    unlisted: Vec<Path>,
    /// The manifest lists these parts.
    is_published: bool,
}

/// A complete part on its way to the store.
#[derive(Debug)]
struct Upload {
    part: Part,
    bytes: Bytes,
    /// The pieces whose place it takes.
    pieces: Vec<Part>,
    task: JoinHandle<Result<(), Fault>>,
}

impl Upload {
    fn start(stage: &Stage, part: Part, bytes: Bytes, pieces: Vec<Part>) -> Self {
        let task = sending(stage, &part, &bytes);
        Self { part, bytes, pieces, task }
    }

    /// Sends it once more.
    fn send(&mut self, stage: &Stage) {
        self.task = sending(stage, &self.part, &self.bytes);
    }
}

fn sending(stage: &Stage, part: &Part, bytes: &Bytes) -> JoinHandle<Result<(), Fault>> {
    let (stage, name, bytes) = (stage.clone(), part.object.clone(), bytes.clone());
    tokio::spawn(async move { stage.put(&name, bytes).await })
}

impl Drop for Upload {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Parts {
    /// A data set of which this much is stored: `open` is the text of the pieces.
    pub(super) fn new(stage: Stage, saved: Saved, listed: Listed, open: Vec<u8>, is_published: bool) -> Self {
        let records = listed.pieces.iter().map(|piece| piece.records).sum();
        let ranges = saved.checkpoint.iter().flat_map(|checkpoint| &checkpoint.ranges);
        let beyond = ranges.map(|range| (range.range, range.beyond.clone())).collect();
        Self {
            stage,
            saved,
            listed,
            in_pieces: open.len(),
            open,
            records,
            records_in_pieces: records,
            upload: None,
            stored_pieces: 0,
            beyond,
            unlisted: Vec::new(),
            is_published,
        }
    }

    /// Whether the next text is the first one of its part.
    pub(super) fn is_at_begin(&self) -> bool {
        self.open.is_empty()
    }

    pub(super) fn holds(&self, position: Position) -> bool {
        self.beyond.get(&position.range).is_some_and(|beyond| beyond.contains(position))
    }

    /// Appends the text of a batch.
    pub(super) fn append<T>(&mut self, text: &BatchText, batch: &Batch<Record<T>>) {
        if text.records() > 0 {
            self.is_published = false;
        }
        self.open.extend_from_slice(&text.text);
        self.records += text.records();
        for (range, interval) in Interval::of_written(batch, |place| text.is_in(place)) {
            self.beyond.entry(range).or_default().insert(interval);
        }
    }

    /// Sends the open part on its way if it is complete. One at a time is.
    pub(super) async fn make_room(&mut self, part_bytes: usize) -> Result<(), Fault> {
        if self.open.len() >= part_bytes {
            self.finish_upload().await?;
            self.complete();
        }
        Ok(())
    }

    /// The open part is complete, and on its way.
    fn complete(&mut self) {
        let bytes = Bytes::from(std::mem::take(&mut self.open));
        let object = self.stage.part_name(self.listed.parts.len());
        let part = Part { object, bytes: bytes.len() as u64, records: self.records };
        let pieces = std::mem::take(&mut self.listed.pieces);
        (self.in_pieces, self.records, self.records_in_pieces) = (0, 0, 0);
        self.upload = Some(Upload::start(&self.stage, part, bytes, pieces));
    }

    /// Waits for the part that is on its way. One that was lost is sent again by the next call.
    async fn finish_upload(&mut self) -> Result<(), Fault> {
        // It stays in its place while it is awaited: the caller may be cancelled.
        let Some(upload) = &mut self.upload else { return Ok(()) };
        let lost = |_| Err(Fault::temporary("the task that stores a part was lost"));
        if let Err(fault) = (&mut upload.task).await.unwrap_or_else(lost) {
            upload.send(&self.stage);
            return Err(fault);
        }
        self.listed.parts.push(upload.part.clone());
        self.unlisted.extend(upload.pieces.iter().map(|piece| self.stage.staged(&piece.object)));
        self.upload = None;
        Ok(())
    }

    /// Makes everything that was written durable: the open part, as far as it goes, as one more piece.
    async fn store_open(&mut self) -> Result<(), Fault> {
        self.finish_upload().await?;
        if self.in_pieces == self.open.len() {
            return Ok(());
        }
        let text = Bytes::copy_from_slice(&self.open[self.in_pieces..]);
        let object = self.stage.piece_name(self.stored_pieces);
        let piece = Part { object, bytes: text.len() as u64, records: self.records - self.records_in_pieces };
        self.stage.put(&piece.object, text).await?;
        self.stored_pieces += 1;
        self.listed.pieces.push(piece);
        (self.in_pieces, self.records_in_pieces) = (self.open.len(), self.records);
        Ok(())
    }

    /// Stores a checkpoint, with what is stored at the same moment.
    pub(super) async fn save(&mut self, checkpoint: &Checkpoint) -> Result<(), CheckpointError> {
        self.store_open().await?;
        let mut snapshot = checkpoint.clone();
        for range in &mut snapshot.ranges {
            let beyond = self.beyond.entry(range.range).or_default();
            beyond.forget_before(range.record);
            range.beyond = beyond.clone();
        }
        self.save_listed(snapshot).await
    }

    /// Stores a checkpoint that lists what is stored, and removes what it does not list any more.
    async fn save_listed(&mut self, mut checkpoint: Checkpoint) -> Result<(), CheckpointError> {
        checkpoint.sink = json!(self.listed);
        self.saved.put(&self.stage, Some(checkpoint)).await?;
        self.stage.remove(std::mem::take(&mut self.unlisted)).await;
        Ok(())
    }

    /// Publishes the data set: its last part is complete, all are copied to where they belong, and the manifest says so.
    pub(super) async fn publish(&mut self) -> Result<(), SinkError> {
        if self.is_published {
            return Ok(());
        }
        self.finish_upload().await?;
        if !self.open.is_empty() {
            self.complete();
            self.finish_upload().await?;
        }
        let unpublished =
            |error: CheckpointError| SinkError::fatal("the data set cannot be published").caused_by(error);
        let before = self.replaced_manifest().await?;
        // Also if nothing has changed: a run that was overtaken ends here.
        if let Some(checkpoint) = self.saved.checkpoint.clone() {
            self.save_listed(checkpoint).await.map_err(unpublished)?;
        }
        self.copy_staged().await?;
        // Copying may take long, and another run may have begun meanwhile.
        self.saved.check(&self.stage).await.map_err(unpublished)?;
        let manifest =
            Manifest::new(self.stage.run.pipeline.clone(), self.stage.format.word(), self.listed.parts.clone());
        // The one step that publishes. After it, no reader needs the parts of the manifest before.
        manifest.save(&self.stage, before.as_ref()).await?;
        self.stage.remove_published(&self.listed.replaced).await;
        let parts = self.listed.parts.iter().map(|part| self.stage.staged(&part.object));
        self.stage.remove(parts.collect()).await;
        self.is_published = true;
        Ok(())
    }

    /// Copies the parts that are not where they belong yet.
    async fn copy_staged(&self) -> Result<(), SinkError> {
        let staged = self.stage.list().await?;
        for part in &self.listed.parts {
            // A copy over itself would leave a file behind: `rename` does nothing with two names of one file.
            if self.stage.is_published(part).await? {
                continue;
            }
            if !staged.contains(&(part.object.clone(), part.bytes)) {
                let place = self.stage.store.shown(&self.stage.published(&part.object));
                return Err(SinkError::fatal(format!("{place} is gone: run with `fresh` to write all again")));
            }
            self.stage.copy(part).await?;
        }
        Ok(())
    }

    /// The version of the manifest that is to be replaced. Its parts that do not belong to the data set any more are to be removed.
    async fn replaced_manifest(&mut self) -> Result<Option<UpdateVersion>, Fault> {
        let Stage { store, run, .. } = &self.stage;
        let Some((before, version)) = Manifest::load_version(store, self.stage.prefix()).await? else {
            return Ok(None);
        };
        if before.pipeline != run.pipeline {
            return Err(before.foreign(store, self.stage.prefix()));
        }
        let mut replaced: Vec<_> = before.parts.into_iter().map(|part| part.object).collect();
        replaced.retain(|name| self.listed.parts.iter().all(|part| part.object != *name));
        self.listed.replaced = replaced;
        Ok(Some(version))
    }
}
