//! Ranges of a pipeline's source, each of which can be copied by another process or machine.

use std::{path::PathBuf, sync::Arc};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Plan, Settings};
use crate::{
    checkpoint::{Checkpoint, CheckpointError, CheckpointErrorKind},
    error::RunError,
    source::{Chunk, Cursor, Identity, Range, Reader, Size, Source, SourceError},
};

/// Records that are read to find out how large they are.
const MEASURED: usize = 1_000;

/// A range of a pipeline's source: with the pipeline's definition, all that another process needs to copy it.
///
/// Each range has a number, and a checkpoint of its own under the name `<pipeline>/<run>/<number>`. So a range whose copy was killed is copied
/// again from where the sink's transactions end, and two processes never copy one range together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceRange {
    /// Its number, from 0, in the order of the source.
    pub number: u64,
    /// It begins after this cursor; `None` is the beginning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Value>,
    /// It ends with this cursor; `None` is the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Value>,
    /// How many ranges are to come after it. Whoever copies the range need not know.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub behind: u64,
    /// The version of the cursors. Default: 1.
    #[serde(default = "first_version", skip_serializing_if = "is_first_version")]
    pub cursor_version: u32,
    /// What the source was when the range was cut. Another source is refused by name.
    pub identity: Identity,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

fn first_version() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
fn is_first_version(version: &u32) -> bool {
    *version == first_version()
}

impl SourceRange {
    /// Whether it is the last one.
    pub fn is_last(&self) -> bool {
        self.to.is_none()
    }
}

impl<S: Source, T: Send + Sync + 'static> Plan<S, T> {
    /// The next ranges of the source after one that was cut already: of about so many records, and at most so many.
    pub(crate) async fn ranges(
        &self,
        after: Option<&SourceRange>,
        records: u64,
        at_most: usize,
    ) -> Result<Vec<SourceRange>, RunError> {
        self.check_ranges(records, at_most)?;
        let identity = match after {
            Some(range) if range.is_last() => return Ok(Vec::new()),
            Some(range) => {
                self.source.verify(&range.identity).await?;
                range.identity.clone()
            }
            None => self.source.identity().await?,
        };
        let from = match after {
            Some(SourceRange { cursor_version, to: Some(to), .. }) => {
                Some(S::Cursor::load(*cursor_version, to.clone())?)
            }
            _ => None,
        };
        // How many there are is found out once: later the rest is cut into as many as are left.
        let (first, needed) = match after {
            Some(range) => (range.number + 1, range.behind.max(1)),
            None => (0, self.needed(records).await?),
        };
        let all = usize::try_from(needed).unwrap_or(usize::MAX);
        let ranges = self.source.split_first(from, all, at_most).await?;
        if ranges.windows(2).any(|two| two[0].to.is_none() || two[0].to != two[1].from) {
            let what = "was cut into ranges of which one does not begin where the one before it ends";
            return Err(SourceError::config(format!("{} {what}", self.source.describe())).into());
        }
        let behind = (0..needed).rev();
        (first..)
            .zip(ranges.into_iter().zip(behind))
            .map(|(number, (range, behind))| {
                let (from, to) = (to_json(range.from.as_ref())?, to_json(range.to.as_ref())?);
                let (cursor_version, identity) = (S::Cursor::VERSION, identity.clone());
                // A source may have fewer ranges than it was asked for.
                let behind = if to.is_none() { 0 } else { behind.max(1) };
                Ok(SourceRange { number, from, to, behind, cursor_version, identity })
            })
            .collect()
    }

    fn check_ranges(&self, records: u64, at_most: usize) -> Result<(), RunError> {
        let refuse =
            |key, value: String, allowed: &str| Err(RunError::Config { key, value, allowed: allowed.to_owned() });
        if records == 0 {
            return refuse("records", "0".to_owned(), "at least 1");
        }
        if at_most == 0 {
            return refuse("at_most", "0".to_owned(), "at least 1");
        }
        match self.outlet.whole() {
            Some(sink) => refuse("sink", sink, "one that many processes can write to: a table, a collection, a topic"),
            None => Ok(()),
        }
    }

    /// Into how many ranges the source has to be cut, as far as its size is known.
    async fn needed(&self, records: u64) -> Result<u64, RunError> {
        let ranges = match self.source.size().await {
            Some(Size::Records(all)) => all.div_ceil(records),
            Some(Size::Bytes(all)) => {
                let (read, bytes) = self.measure().await?;
                all.saturating_mul(read).div_ceil(bytes.max(1).saturating_mul(records).max(1))
            }
            None => 1,
        };
        Ok(ranges.max(1))
    }

    /// Reads some records: how many, and how many bytes they have.
    async fn measure(&self) -> Result<(u64, u64), SourceError> {
        let mut reader = self.source.open(&Range::all()).await?;
        let mut chunk = Chunk::new(0, 0);
        reader.read(&mut chunk, MEASURED).await?;
        let measured = (chunk.len() as u64, chunk.progress);
        reader.close().await?;
        Ok(measured)
    }

    /// The pipeline that copies one range. What concerns a whole run alone is left out.
    pub(crate) fn of_range(&self, name: String, range: &SourceRange) -> Self {
        let settings = self.settings.clone();
        Self {
            source: Arc::clone(&self.source),
            stages: Arc::clone(&self.stages),
            outlet: Arc::clone(&self.outlet),
            settings: Settings {
                name,
                dead_letters: settings.dead_letters.map(|path| numbered(path, range.number)),
                store: None,
                readers: 1,
                max_records: None,
                max_batches: None,
                fresh: false,
                start_at: None,
                show_progress: false,
                stop_on_ctrl_c: false,
                range: Some(range.clone()),
                ..settings
            },
        }
    }

    /// The ranges of a first run: those of its range, or of the whole source.
    pub(super) async fn split(&self, from: Option<S::Cursor>) -> Result<Vec<Range<S::Cursor>>, SourceError> {
        let Some(range) = &self.settings.range else {
            return self.source.split(from, self.settings.readers).await;
        };
        self.source.verify(&range.identity).await?;
        Ok(vec![Range::load(range.cursor_version, range.from.as_ref(), range.to.as_ref())?])
    }

    /// Refuses the checkpoint of a range that has the same number and other ends: it would pass for this one's, and records would be lost.
    pub(super) fn check_range(&self, checkpoint: &Checkpoint) -> Result<(), RunError> {
        let Some(range) = &self.settings.range else { return Ok(()) };
        let own = Range::<S::Cursor>::load(range.cursor_version, range.from.as_ref(), range.to.as_ref())?;
        for stored in &checkpoint.ranges {
            if Range::<S::Cursor>::load(checkpoint.cursor_version, stored.from.as_ref(), stored.to.as_ref())? != own {
                let message = format!(
                    "the checkpoint of {} belongs to a range with other ends: the source was cut anew, into ranges of another size or \
                     after it had grown. Let the run that cut it go on, or give the run another name",
                    self.settings.name
                );
                return Err(CheckpointError::new(CheckpointErrorKind::OtherPlan, message).into());
            }
        }
        Ok(())
    }
}

/// `rejected.jsonl.17`
fn numbered(path: PathBuf, number: u64) -> PathBuf {
    let mut name = path.into_os_string();
    name.push(format!(".{number}"));
    name.into()
}

pub(super) fn to_json<C: Cursor>(cursor: Option<&C>) -> Result<Option<Value>, SourceError> {
    let json = cursor.map(serde_json::to_value).transpose();
    json.map_err(|error| SourceError::config(format!("a cursor of the source is no JSON: {error}")))
}
