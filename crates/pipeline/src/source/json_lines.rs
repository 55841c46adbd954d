//! JSON lines as a source.

use std::{fmt, marker::PhantomData, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::time::sleep;

use super::{
    Chunk, Identity, More, Reader, Size, Source, SourceError, Unreadable,
    files::{Fill, Paths, Text, TextCursor},
};
use crate::cursor::Range;

/// How long a reader that follows a file waits for more.
const FOLLOW: Duration = Duration::from_millis(200);
/// As much of an unreadable line as is shown.
const SHOWN: usize = 4096;

/// Files with one JSON value on each line (NDJSON), plain or compressed (feature `compression`).
///
/// A line that is no value of the type is rejected, with file, line and byte. Empty lines are passed.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JsonLines<T> {
    paths: Paths,
    #[serde(default = "mebibyte")]
    max_record_bytes: usize,
    #[serde(default)]
    follow: bool,
    #[serde(skip)]
    records: PhantomData<fn() -> T>,
}

fn mebibyte() -> usize {
    1 << 20
}

/// Reads JSON lines.
pub struct JsonLinesReader<T> {
    files: Vec<PathBuf>,
    text: Option<Text>,
    next: usize,
    to: Option<TextCursor>,
    max_record_bytes: usize,
    follow: bool,
    records: PhantomData<fn() -> T>,
}

impl<T> JsonLines<T> {
    /// One file.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self::of(Paths::File(path.into()))
    }

    /// These files, in this order.
    pub fn files<P: Into<PathBuf>>(paths: impl IntoIterator<Item = P>) -> Self {
        Self::of(Paths::Files(paths.into_iter().map(Into::into).collect()))
    }

    /// The files that match a pattern like `data/*.jsonl`, sorted by path.
    pub fn glob(pattern: impl Into<String>) -> Self {
        Self::of(Paths::Glob(pattern.into()))
    }

    fn of(paths: Paths) -> Self {
        Self { paths, max_record_bytes: mebibyte(), follow: false, records: PhantomData }
    }

    /// The largest line in bytes, at least 1; a larger one is passed in bounded memory and rejected. Default: 1 MiB.
    pub fn max_record_bytes(mut self, bytes: usize) -> Self {
        self.max_record_bytes = bytes.max(1);
        self
    }

    /// Whether to wait for more at the end of the last file. A last line without an end is then not read before it has one. Default:
    /// `false`.
    pub fn follow(mut self, follow: bool) -> Self {
        self.follow = follow;
        self
    }
}

impl<T: DeserializeOwned + Send + Sync + 'static> Source for JsonLines<T> {
    type Record = T;
    type Cursor = TextCursor;
    type Reader = JsonLinesReader<T>;

    fn describe(&self) -> String {
        format!("json-lines:{}", self.paths.describe())
    }

    async fn identity(&self) -> Result<Identity, SourceError> {
        self.paths.identity()
    }

    async fn verify(&self, checkpoint: &Identity) -> Result<(), SourceError> {
        self.paths.verify(checkpoint)
    }

    async fn open(&self, range: &Range<TextCursor>) -> Result<JsonLinesReader<T>, SourceError> {
        let files = self.paths.list()?;
        let first = range.from.as_ref().map_or(0, |cursor| cursor.file as usize);
        let missing =
            || SourceError::changed("the file of the checkpoint is not there: run with `fresh` to start again");
        let path = files.get(first).ok_or_else(missing)?;
        let text = match &range.from {
            Some(cursor) => Text::open_at(path, cursor)?,
            None => Text::open(path, 0)?,
        };
        Ok(JsonLinesReader {
            next: first + 1,
            files,
            text: Some(text),
            to: range.to.clone(),
            max_record_bytes: self.max_record_bytes,
            follow: self.follow,
            records: PhantomData,
        })
    }

    async fn size(&self) -> Option<Size> {
        self.paths.size()
    }
}

impl<T: DeserializeOwned> JsonLinesReader<T> {
    /// Passes one line. Returns whether there was one.
    fn step(&mut self, chunk: &mut Chunk<T, TextCursor>) -> Result<bool, SourceError> {
        let Some(text) = &mut self.text else { return Ok(false) };
        if self.to.as_ref().is_some_and(|to| (text.file(), text.byte()) >= (to.file, to.byte)) {
            return Ok(false);
        }
        let (mut scanned, mut is_large) = (0, false);
        let origin = text.origin();
        loop {
            let unread = text.unread();
            if let Some(end) = memchr::memchr(b'\n', &unread[scanned..]).map(|end| scanned + end) {
                let line = &unread[..end];
                put(chunk, line, is_large || line.len() > self.max_record_bytes, self.max_record_bytes, &origin);
                chunk.add_progress(end as u64 + 1);
                text.pass(end + 1, 1);
                return Ok(true);
            }
            scanned = unread.len();
            if scanned > self.max_record_bytes {
                is_large = true;
                chunk.add_progress(scanned as u64);
                text.pass(scanned, 0);
                scanned = 0;
            }
            if text.fill()? == Fill::End {
                let rest = text.unread().len();
                if (rest == 0 && !is_large) || self.follow {
                    return Ok(false);
                }
                let line = text.unread();
                put(chunk, line, is_large, self.max_record_bytes, &origin);
                text.pass(rest, 0);
                return Ok(true);
            }
        }
    }
}

fn put<T: DeserializeOwned>(
    chunk: &mut Chunk<T, TextCursor>,
    line: &[u8],
    is_large: bool,
    limit: usize,
    origin: &crate::record::Origin,
) {
    if is_large {
        let reason = format!("the line is larger than `max_record_bytes`, which is {limit}");
        return chunk.refuse(Unreadable { reason, text: None }, origin.clone());
    }
    if line.iter().all(u8::is_ascii_whitespace) {
        return;
    }
    match serde_json::from_slice(line) {
        Ok(value) => chunk.push(value, origin.clone()),
        Err(error) => {
            let text = String::from_utf8_lossy(&line[..line.len().min(SHOWN)]).into_owned();
            chunk.refuse(Unreadable { reason: error.to_string(), text: Some(text) }, origin.clone());
        }
    }
}

impl<T: DeserializeOwned + 'static> Reader for JsonLinesReader<T> {
    type Record = T;
    type Cursor = TextCursor;

    async fn read(&mut self, chunk: &mut Chunk<T, TextCursor>, limit: usize) -> Result<More, SourceError> {
        let mut more = More::Yes;
        while chunk.len() < limit {
            if self.step(chunk)? {
                continue;
            }
            let at = self.text.as_ref().map(|text| (text.file(), text.byte()));
            if matches!((&self.to, at), (Some(to), Some(at)) if at >= (to.file, to.byte)) {
                more = More::No;
                break;
            }
            if let Some(path) = self.files.get(self.next) {
                let number = u32::try_from(self.next).map_err(|_| SourceError::config("more than 2^32 files"))?;
                self.text = Some(Text::open(path, number)?);
                self.next += 1;
                continue;
            }
            if !self.follow {
                more = More::No;
                break;
            }
            if self.text.as_ref().is_some_and(Text::was_truncated) {
                return Err(SourceError::changed(
                    "a file that is followed has become shorter: run with `fresh` to start again",
                ));
            }
            if !chunk.is_empty() {
                break;
            }
            sleep(FOLLOW).await;
            if let Some(text) = &mut self.text
                && text.fill()? == Fill::End
            {
                break;
            }
        }
        if let Some(text) = &self.text {
            chunk.set_after(text.cursor());
        }
        Ok(more)
    }
}

impl<T> Clone for JsonLines<T> {
    fn clone(&self) -> Self {
        Self { paths: self.paths.clone(), records: PhantomData, ..*self }
    }
}

impl<T> fmt::Debug for JsonLines<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JsonLines").field("paths", &self.paths).finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for JsonLinesReader<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JsonLinesReader").finish_non_exhaustive()
    }
}
