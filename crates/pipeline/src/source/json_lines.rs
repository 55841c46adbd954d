//! JSON lines as a source.

use std::{fmt, marker::PhantomData, path::PathBuf};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{
    Chunk, Identity, More, Range, Reader, Size, Source, SourceError, Unreadable,
    files::{Fill, Follow, Next, Paths, Sequence, Text, TextCursor},
};

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
    follow: Follow,
    #[serde(skip)]
    records: PhantomData<fn() -> T>,
}

fn mebibyte() -> usize {
    1 << 20
}

/// Reads JSON lines.
pub struct JsonLinesReader<T> {
    files: Sequence,
    text: Text,
    to: Option<TextCursor>,
    max_record_bytes: usize,
    /// After the last record.
    cursor: Option<TextCursor>,
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
        Self { paths, max_record_bytes: mebibyte(), follow: Follow::No, records: PhantomData }
    }

    /// The largest line in bytes, at least 1; a larger one is passed in bounded memory and rejected. Default: 1 MiB.
    pub fn max_record_bytes(mut self, bytes: usize) -> Self {
        self.max_record_bytes = bytes.max(1);
        self
    }

    /// Whether to wait for more at the end of the last file. A last line without an end is then not read before it has one. Files that come
    /// to match the pattern are read, too.
    ///
    /// A single file may be rotated: it is renamed, for instance to `app.log.1` or `app.log-20261127`, and another one takes its name. Its rest
    /// is read first, also if it was renamed while the pipeline was not running. Default: `false`.
    pub fn follow(mut self, follow: bool) -> Self {
        self.follow = if follow { Follow::Refusing } else { Follow::No };
        self
    }

    /// As [`follow`](Self::follow), and a file that has become shorter is read again from its beginning. Otherwise the run fails, because
    /// what was cut away may not have been read.
    pub fn follow_truncated(mut self) -> Self {
        self.follow = Follow::Restarting;
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
        self.paths.verify(checkpoint, self.follow)
    }

    async fn open(&self, range: &Range<TextCursor>) -> Result<JsonLinesReader<T>, SourceError> {
        let mut files = Sequence::new(&self.paths, self.follow)?;
        let (mut text, from) = files.first(range.from.as_ref())?;
        if let Some(cursor) = from {
            text = text.go_to(cursor)?;
        }
        let (to, cursor) = (range.to.clone(), range.from.clone());
        Ok(JsonLinesReader { files, text, to, max_record_bytes: self.max_record_bytes, cursor, records: PhantomData })
    }

    async fn size(&self) -> Option<Size> {
        self.paths.size()
    }
}

impl<T: DeserializeOwned> JsonLinesReader<T> {
    /// Passes one line. Returns whether there was one.
    fn step(&mut self, chunk: &mut Chunk<T, TextCursor>) -> Result<bool, SourceError> {
        if self.is_past_range() {
            return Ok(false);
        }
        let text = &mut self.text;
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
                if (rest == 0 && !is_large) || !text.is_complete() {
                    return Ok(false);
                }
                let line = text.unread();
                put(chunk, line, is_large, self.max_record_bytes, &origin);
                text.pass(rest, 0);
                return Ok(true);
            }
        }
    }

    fn is_past_range(&self) -> bool {
        self.to.as_ref().is_some_and(|to| (self.text.file(), self.text.byte()) >= (to.file, to.byte))
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
                self.cursor = None;
                continue;
            }
            if self.is_past_range() {
                more = More::No;
                break;
            }
            // Where a file ends is kept until the next one has a record: a file that was rotated away is found again by its cursor.
            let cursor = self.cursor.take().unwrap_or_else(|| self.text.cursor());
            let next = self.files.next(&mut self.text, chunk.is_empty()).await?;
            self.cursor = Some(cursor);
            match next {
                Next::Text(text) => self.text = text,
                Next::Again => {}
                Next::Nothing => break,
                Next::End => {
                    more = More::No;
                    break;
                }
            }
        }
        chunk.set_after(self.cursor.clone().unwrap_or_else(|| self.text.cursor()));
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
