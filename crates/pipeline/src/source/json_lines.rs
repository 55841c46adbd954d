//! JSON lines as a source.

use std::{fmt, marker::PhantomData, path::PathBuf};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{
    Chunk, Identity, More, Range, Reader, Size, Source, SourceError, Unreadable,
    files::{Fill, Follow, LocalFiles, Next, Sequence, Text, TextCursor, TextFiles},
};
use crate::record::Origin;

/// As much of an unreadable line as is shown.
const SHOWN: usize = 4096;

/// Files with one JSON value on each line (NDJSON), plain or compressed (feature `compression`).
///
/// A line that is no value of the type is rejected, with file, line and byte. Empty lines are passed. Files that are somewhere else are
/// read by [`from_files`](Self::from_files).
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JsonLines<T, F = LocalFiles> {
    paths: F,
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
pub struct JsonLinesReader<T, F: TextFiles = LocalFiles> {
    files: Sequence<F>,
    text: Text<F::Blocks>,
    /// The line that the buffer does not hold to its end.
    line: Option<OpenLine>,
    to: Option<TextCursor>,
    /// After the last record.
    cursor: Option<TextCursor>,
    max_record_bytes: usize,
    records: PhantomData<fn() -> T>,
}

/// A line whose end has not come yet.
struct OpenLine {
    origin: Origin,
    /// How much of what is unread holds no line end.
    scanned: usize,
    /// It is larger than `max_record_bytes`, and its beginning was passed.
    is_large: bool,
}

impl<T> JsonLines<T> {
    /// One file.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self::from_files(LocalFiles::File(path.into()))
    }

    /// These files, in this order.
    pub fn files<P: Into<PathBuf>>(paths: impl IntoIterator<Item = P>) -> Self {
        Self::from_files(LocalFiles::Files(paths.into_iter().map(Into::into).collect()))
    }

    /// The files that match a pattern like `data/*.jsonl`, sorted by path.
    pub fn glob(pattern: impl Into<String>) -> Self {
        Self::from_files(LocalFiles::Glob(pattern.into()))
    }
}

impl<T, F> JsonLines<T, F> {
    /// Files that are somewhere else: the objects of a store.
    pub fn from_files(files: F) -> Self {
        Self { paths: files, max_record_bytes: mebibyte(), follow: Follow::No, records: PhantomData }
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

impl<T: DeserializeOwned + Send + Sync + 'static, F: TextFiles> Source for JsonLines<T, F> {
    type Record = T;
    type Cursor = TextCursor;
    type Reader = JsonLinesReader<T, F>;

    fn describe(&self) -> String {
        format!("json-lines:{}", self.paths.describe())
    }

    async fn identity(&self) -> Result<Identity, SourceError> {
        self.paths.identity().await
    }

    async fn verify(&self, checkpoint: &Identity) -> Result<(), SourceError> {
        self.follow.verify(&self.paths, checkpoint).await
    }

    async fn open(&self, range: &Range<TextCursor>) -> Result<JsonLinesReader<T, F>, SourceError> {
        let mut files = Sequence::new(self.paths.clone(), self.paths.list().await?, self.follow);
        let (mut text, from) = files.first(range.from.as_ref()).await?;
        if let Some(cursor) = from {
            text = files.go_to(text, cursor).await?;
        }
        let (to, cursor, max_record_bytes) = (range.to.clone(), range.from.clone(), self.max_record_bytes);
        Ok(JsonLinesReader { files, text, line: None, to, cursor, max_record_bytes, records: PhantomData })
    }

    async fn size(&self) -> Option<Size> {
        self.paths.size().await
    }
}

impl<T: DeserializeOwned, F: TextFiles> JsonLinesReader<T, F> {
    fn is_past_range(&self) -> bool {
        self.to.as_ref().is_some_and(|to| (self.text.file(), self.text.byte()) >= (to.file, to.byte))
    }

    /// Passes one line, if the buffer holds it to its end.
    fn step(&mut self, chunk: &mut Chunk<T, TextCursor>) -> bool {
        let Self { text, line, cursor, max_record_bytes, .. } = self;
        let unread = text.unread();
        let scanned = line.as_ref().map_or(0, |line| line.scanned);
        let Some(end) = memchr::memchr(b'\n', &unread[scanned..]).map(|end| scanned + end) else {
            let line = line.get_or_insert_with(|| OpenLine { origin: text.origin(), scanned: 0, is_large: false });
            line.scanned = unread.len();
            if line.scanned > *max_record_bytes {
                line.is_large = true;
                // Reading never goes on in the middle of a line.
                cursor.get_or_insert_with(|| text.cursor());
                chunk.add_progress(line.scanned as u64);
                text.pass(line.scanned, 0);
                line.scanned = 0;
            }
            return false;
        };
        let (origin, is_large) =
            line.take().map_or_else(|| (text.origin(), false), |line| (line.origin, line.is_large));
        let is_large = is_large || end > *max_record_bytes;
        put(chunk, &unread[..end], is_large, *max_record_bytes, &origin);
        chunk.add_progress(end as u64 + 1);
        text.pass(end + 1, 1);
        true
    }

    /// The file has ended: what is left is its last line, unless more is waited for. Returns whether there was one.
    fn last_line(&mut self, chunk: &mut Chunk<T, TextCursor>) -> bool {
        let Some(line) = self.line.take_if(|_| self.text.is_complete()) else { return false };
        let rest = self.text.unread();
        if rest.is_empty() && !line.is_large {
            return false;
        }
        put(chunk, rest, line.is_large, self.max_record_bytes, &line.origin);
        self.text.pass(rest.len(), 0);
        true
    }
}

fn put<T: DeserializeOwned>(
    chunk: &mut Chunk<T, TextCursor>,
    line: &[u8],
    is_large: bool,
    limit: usize,
    origin: &Origin,
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

impl<T: DeserializeOwned + 'static, F: TextFiles> Reader for JsonLinesReader<T, F> {
    type Record = T;
    type Cursor = TextCursor;

    async fn read(&mut self, chunk: &mut Chunk<T, TextCursor>, limit: usize) -> Result<More, SourceError> {
        let mut more = More::Yes;
        while chunk.len() < limit {
            if self.is_past_range() {
                more = More::No;
                break;
            }
            if self.step(chunk) {
                self.cursor = None;
                continue;
            }
            if self.text.fill().await? == Fill::More {
                continue;
            }
            if self.last_line(chunk) {
                self.cursor = None;
                continue;
            }
            // Where a file ends is kept until the next one has a record: a file that was rotated away is found again by its cursor.
            let cursor = self.cursor.take().unwrap_or_else(|| self.text.cursor());
            let next = self.files.next(&mut self.text, chunk.is_empty()).await?;
            self.cursor = Some(cursor);
            match next {
                Next::Text(text) => (self.text, self.line) = (text, None),
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

impl<T, F: Clone> Clone for JsonLines<T, F> {
    fn clone(&self) -> Self {
        Self { paths: self.paths.clone(), records: PhantomData, ..*self }
    }
}

impl<T, F: fmt::Debug> fmt::Debug for JsonLines<T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JsonLines").field("paths", &self.paths).finish_non_exhaustive()
    }
}

impl<T, F: TextFiles> fmt::Debug for JsonLinesReader<T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JsonLinesReader").finish_non_exhaustive()
    }
}
