//! JSON lines as a sink.

use std::{fmt, marker::PhantomData, path::PathBuf, sync::Arc};

use actix_batch::Batch;
use serde::{Deserialize, Serialize};

use super::{
    Defaults, IntoSink, Promises, RunId, Settled, Sink, SinkError, Store, Target, defaults, writer::BatchText,
};
use crate::{record::Record, sink::Written};

/// Writes each record as one line of JSON. The file is written as `<path>.partial` and gets its name when it is complete; a file of
/// that name is replaced then.
///
/// Records and progress belong together, so each record is stored once, also after a kill: a torn end is cut back to the last
/// checkpoint, which is `<path>.partial.checkpoint`.
///
/// ```
/// use actix_batch_pipeline::{prelude::*, sink::JsonLinesFile};
///
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("squares.jsonl");
/// # actix_rt::System::new().block_on(async {
/// Pipeline::named("squares")
///     .read(from_iter("numbers", || 1..=3_u32))
///     .map(|number| number * number)
///     .write(JsonLinesFile::create(&path))
///     .run()
///     .await?;
/// assert_eq!(std::fs::read_to_string(&path).unwrap(), "1\n4\n9\n");
/// # Ok::<(), RunError>(())
/// # }).unwrap();
/// ```
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JsonLinesFile {
    path: Target,
}

/// Writes JSON lines.
pub struct JsonLinesSink<T> {
    target: Target,
    records: PhantomData<fn(T)>,
}

impl JsonLinesFile {
    /// The file at this path. Its folder must exist.
    pub fn create(path: impl Into<PathBuf>) -> Self {
        Self { path: Target::new(path) }
    }
}

impl<T: Serialize + Send + Sync + 'static> IntoSink<T> for JsonLinesFile {
    type Sink = JsonLinesSink<T>;

    fn describe(&self) -> String {
        self.path.describe("json-lines")
    }

    fn promises(&self) -> Promises {
        Promises::Transactional
    }

    fn defaults(&self) -> Defaults {
        defaults()
    }

    fn sink(&self, _worker: usize, _run: &RunId, _settled: &Arc<Settled>) -> JsonLinesSink<T> {
        JsonLinesSink { target: self.path.clone(), records: PhantomData }
    }

    fn store(&self, _run: &RunId) -> Option<Box<dyn Store>> {
        Some(self.path.store())
    }

    fn is_whole(&self) -> bool {
        true
    }

    async fn publish(&self) -> Result<(), SinkError> {
        self.path.publish()
    }
}

impl<T: Serialize + 'static> Sink<T> for JsonLinesSink<T> {
    async fn write(&mut self, batch: &Batch<Record<T>>) -> Result<Written, SinkError> {
        self.target.write(batch, |records, text, _is_first| {
            for (position, record) in records {
                let before = text.text.len();
                match serde_json::to_writer(&mut text.text, &**record) {
                    Ok(()) => text.text.push(b'\n'),
                    Err(error) => {
                        text.text.truncate(before);
                        text.written.refuse(position, SinkError::record("the record is no JSON").caused_by(error));
                    }
                }
            }
            Ok(())
        })
    }

    fn show(record: &T) -> Option<String> {
        serde_json::to_string(record).ok()
    }
}

impl Target {
    /// Appends a batch: `put` makes its text of those records that the file does not hold yet.
    pub(super) fn write<T>(
        &self,
        batch: &Batch<Record<T>>,
        put: impl FnOnce(&mut dyn Iterator<Item = (usize, &Record<T>)>, &mut BatchText, bool) -> Result<(), SinkError>,
    ) -> Result<Written, SinkError> {
        let mut partial = self.partial.lock();
        let Some(partial) = partial.as_mut() else {
            return Err(SinkError::fatal(format!("{} is not open", self.path.display())));
        };
        // Only a batch that comes again can hold what is there.
        let is_again = batch.attempt() > 1;
        let mut text = BatchText::default();
        let held = |record: &Record<T>| is_again && partial.holds(record.position());
        text.held.extend(batch.iter().enumerate().filter(|(_, record)| held(record)).map(|(position, _)| position));
        let known = text.held.clone();
        let mut new = batch.iter().enumerate().filter(|(position, _)| !known.contains(position));
        put(&mut new, &mut text, partial.is_empty())?;
        partial.append(&text.text, batch, |position| text.is_written(position), &self.path)?;
        Ok(text.written)
    }
}

impl<T> fmt::Debug for JsonLinesSink<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JsonLinesSink").field("path", &self.target.path).finish_non_exhaustive()
    }
}
