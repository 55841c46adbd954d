//! Where rejected records go.
//!
//! A checkpoint passes a rejected record only when its letter is durable, and a run that goes on writes no letter twice.

use std::{
    collections::HashSet,
    fs::{self, File, OpenOptions},
    io::{self, BufRead, BufReader, BufWriter, Write},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::{record::Position, stage::Rejection};

/// Rejections that are logged; more are only counted.
const LOGGED: u64 = 20;

/// One line of a dead-letter file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DeadRecord {
    /// The pipeline that rejected it.
    pub pipeline: String,
    /// Where it stands in its source.
    pub position: Position,
    /// Where a person finds it: file, line and byte, or key.
    pub origin: String,
    /// What rejected it: the source, a stage or the sink.
    pub by: String,
    /// Why.
    pub error: String,
    /// How often the sink tried to write it.
    pub attempts: u32,
    /// The record, as far as it can be shown.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub record: Option<String>,
}

/// The dead letters of one run.
#[derive(Debug)]
pub(crate) struct Letters {
    pipeline: String,
    file: Option<Mutex<Writer>>,
    written: AtomicU64,
    synced: AtomicU64,
}

#[derive(Debug)]
struct Writer {
    path: PathBuf,
    file: BufWriter<File>,
    /// What earlier attempts of this run have written beyond their checkpoint.
    known: HashSet<(Position, String)>,
    error: Option<io::Error>,
}

impl Letters {
    /// Letters that are only logged and counted.
    pub(crate) fn none(pipeline: &str) -> Self {
        Self { pipeline: pipeline.to_owned(), file: None, written: AtomicU64::new(0), synced: AtomicU64::new(0) }
    }

    /// Letters in a file. A run that starts anew keeps the letters of earlier ones beside it, under a name with the time.
    pub(crate) fn open(pipeline: &str, path: &Path, goes_on: bool) -> io::Result<Self> {
        if !goes_on && fs::metadata(path).is_ok_and(|file| file.len() > 0) {
            fs::rename(path, earlier(path))?;
        }
        let known = if goes_on { known(path)? } else { HashSet::new() };
        let mut file = OpenOptions::new().create(true).append(true).open(path)?;
        if !ends_with_newline(path)? {
            // A letter that was torn by a kill becomes a line of its own.
            file.write_all(b"\n")?;
        }
        let writer = Writer { path: path.to_owned(), file: BufWriter::new(file), known, error: None };
        Ok(Self { file: Some(Mutex::new(writer)), ..Self::none(pipeline) })
    }

    /// Adds a letter, unless an earlier attempt has written it.
    pub(crate) fn push(&self, rejection: &Rejection) {
        let number = self.written.fetch_add(1, Ordering::AcqRel);
        if number < LOGGED {
            warn!(
                pipeline = %self.pipeline, origin = %rejection.origin, by = %rejection.by,
                "record rejected: {}", rejection.error
            );
        }
        if let Some(file) = &self.file {
            let mut writer = file.lock();
            let written = writer.push(&self.pipeline, rejection);
            if let Err(error) = written {
                writer.error.get_or_insert(error);
            }
        }
    }

    /// Letters so far: once [`synced`](Self::synced) has reached this number, all of them are durable.
    pub(crate) fn written(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }

    pub(crate) fn synced(&self) -> u64 {
        if self.file.is_some() { self.synced.load(Ordering::Acquire) } else { u64::MAX }
    }

    /// Makes all letters durable.
    pub(crate) fn sync(&self) -> io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let written = self.written();
        if written == self.synced.load(Ordering::Acquire) {
            return Ok(());
        }
        let mut writer = file.lock();
        if let Some(error) = writer.error.take() {
            return Err(error);
        }
        writer.file.flush()?;
        writer.file.get_ref().sync_data()?;
        self.synced.store(written, Ordering::Release);
        Ok(())
    }

    /// The file, for messages.
    pub(crate) fn path(&self) -> Option<PathBuf> {
        self.file.as_ref().map(|file| file.lock().path.clone())
    }
}

impl Writer {
    fn push(&mut self, pipeline: &str, rejection: &Rejection) -> io::Result<()> {
        if self.known.contains(&(rejection.position, rejection.by.clone())) {
            return Ok(());
        }
        let record = DeadRecord {
            pipeline: pipeline.to_owned(),
            position: rejection.position,
            origin: rejection.origin.to_string(),
            by: rejection.by.clone(),
            error: rejection.error.clone(),
            attempts: rejection.attempts,
            record: rejection.record.clone(),
        };
        let mut line = serde_json::to_vec(&record)?;
        line.push(b'\n');
        self.file.write_all(&line)
    }
}

/// Reads the letters of a file. A line that is none – it was torn by a kill – is skipped.
///
/// # Errors
///
/// If the file cannot be read.
pub fn read_dead_records(path: &Path) -> io::Result<Vec<DeadRecord>> {
    let lines = BufReader::new(File::open(path)?).split(b'\n');
    lines.filter_map(|line| line.map(|line| serde_json::from_slice(&line).ok()).transpose()).collect()
}

fn known(path: &Path) -> io::Result<HashSet<(Position, String)>> {
    match read_dead_records(path) {
        Ok(records) => Ok(records.into_iter().map(|record| (record.position, record.by)).collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(HashSet::new()),
        Err(error) => Err(error),
    }
}

fn ends_with_newline(path: &Path) -> io::Result<bool> {
    use std::io::{Read, Seek, SeekFrom};
    let mut file = File::open(path)?;
    if file.seek(SeekFrom::End(0))? == 0 {
        return Ok(true);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

fn earlier(path: &Path) -> PathBuf {
    let millis = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_millis());
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{millis}"));
    PathBuf::from(name)
}
