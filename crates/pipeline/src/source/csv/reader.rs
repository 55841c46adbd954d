//! Reads CSV records, file after file.

use std::{marker::PhantomData, str, sync::Arc, time::Duration};

use serde::de::DeserializeOwned;
use tokio::time::sleep;

use super::{
    row::{Columns, Format, Row, RowError},
    scan::{Fault, Scanned, Scanner},
};
use crate::{
    cursor::Range,
    record::Origin,
    source::{
        Chunk, More, Reader, SourceError, Unreadable,
        files::{Fill, LocalFiles, Text, TextCursor, TextFiles},
    },
};

/// How long a reader that follows a file waits for more.
const FOLLOW: Duration = Duration::from_millis(200);
/// As much of an unreadable record as is shown.
const SHOWN: usize = 4096;

/// What all readers of one source are told.
#[derive(Debug)]
pub(super) struct Shape {
    pub(super) format: Format,
    pub(super) has_header: bool,
    /// The columns of files without a header; empty if they have one.
    pub(super) columns: Vec<String>,
    pub(super) may_be_missing: bool,
    pub(super) max_record_bytes: usize,
    pub(super) follow: bool,
}

/// Reads CSV records.
pub struct CsvReader<T, F: TextFiles = LocalFiles> {
    shape: Arc<Shape>,
    source: F,
    files: Vec<F::File>,
    text: Option<Text<F::Blocks>>,
    scanner: Scanner,
    columns: Columns,
    to: Option<TextCursor>,
    /// The next file.
    next: usize,
    /// After the last record.
    cursor: Option<TextCursor>,
    records: PhantomData<fn() -> T>,
}

/// What came of looking for the next record.
enum Step {
    /// One record was pushed or refused, or a line was passed that holds none.
    Passed,
    /// The buffer does not hold the record to its end.
    Incomplete,
    /// It is larger than it may be, and its end has not come.
    Large,
    /// The file or the range has no more, for now.
    End,
}

impl<T: DeserializeOwned, F: TextFiles> CsvReader<T, F> {
    pub(super) async fn open(
        shape: Arc<Shape>,
        source: F,
        files: Vec<F::File>,
        range: &Range<TextCursor>,
    ) -> Result<Self, SourceError> {
        let scanner = Scanner::new(shape.format.dialect);
        let mut reader = Self {
            shape,
            source,
            files,
            text: None,
            scanner,
            columns: Columns::default(),
            to: range.to.clone(),
            next: 0,
            cursor: range.from.clone(),
            records: PhantomData,
        };
        match &range.from {
            Some(cursor) => reader.resume(cursor).await?,
            None => drop(reader.open_next().await?),
        }
        Ok(reader)
    }

    /// The column names of a file, for a check before anything is read.
    pub(super) async fn column_names(shape: Arc<Shape>, source: F, file: F::File) -> Result<Vec<String>, SourceError> {
        let reader = Self::open(shape, source, vec![file], &Range::all()).await?;
        Ok(reader.columns.names)
    }

    /// Opens the file of a cursor. The columns come from its header, wherever reading goes on.
    async fn resume(&mut self, cursor: &TextCursor) -> Result<(), SourceError> {
        self.next = cursor.file as usize;
        if !self.open_next().await? {
            return Err(SourceError::changed(
                "the file of the checkpoint is not there: run with `fresh` to start again",
            ));
        }
        if let Some(text) = self.text.take_if(|text| text.byte() < cursor.byte) {
            let file = &self.files[cursor.file as usize];
            self.text = Some(text.go_to(&self.source, file, cursor).await?);
        }
        Ok(())
    }

    /// Opens the next file and reads its header. Returns whether there was one.
    async fn open_next(&mut self) -> Result<bool, SourceError> {
        let Some(file) = self.files.get(self.next) else {
            return Ok(false);
        };
        let number = u32::try_from(self.next).map_err(|_| SourceError::config("more than 2^32 files"))?;
        let mut text = Text::open(&self.source, file, number).await?;
        self.next += 1;
        let names = if self.shape.has_header { self.header(&mut text).await? } else { self.shape.columns.clone() };
        self.columns = Columns { names, by_field: None, may_be_missing: self.shape.may_be_missing };
        self.text = Some(text);
        Ok(true)
    }

    /// The column names. A file without a line has none, and no records either.
    async fn header(&mut self, text: &mut Text<F::Blocks>) -> Result<Vec<String>, SourceError> {
        let mut is_all = false;
        loop {
            match self.scanner.scan(text.unread(), is_all) {
                Scanned::Record { bytes, lines, fault: None } => {
                    let names = self.names(text.unread())?;
                    text.pass(bytes, lines);
                    return Ok(names);
                }
                Scanned::Record { .. } => return Err(wrong_header(text, "has a quote in the wrong place")),
                Scanned::Nothing { bytes, lines } => text.pass(bytes, lines),
                Scanned::Incomplete if is_all => return Ok(Vec::new()),
                Scanned::Incomplete if text.unread().len() > self.shape.max_record_bytes => {
                    return Err(wrong_header(text, "is longer than `max_record_bytes`"));
                }
                Scanned::Incomplete => is_all = text.fill().await? == Fill::End,
            }
        }
    }

    fn names(&self, bytes: &[u8]) -> Result<Vec<String>, SourceError> {
        let name = |field: &super::scan::Field| str::from_utf8(&bytes[field.start..field.end]).map(str::to_owned);
        self.scanner
            .fields()
            .iter()
            .map(name)
            .collect::<Result<_, _>>()
            .map_err(|error| SourceError::config("the header is not UTF-8").caused_by(error))
    }

    /// Passes one record or one empty line, if the buffer holds it to its end. `is_all`: the file has no more than the buffer.
    fn step(&mut self, chunk: &mut Chunk<T, TextCursor>, is_all: bool) -> Result<Step, SourceError> {
        let Some(text) = &mut self.text else { return Ok(Step::End) };
        if self.to.as_ref().is_some_and(|to| (text.file(), text.byte()) >= (to.file, to.byte)) {
            return Ok(Step::End);
        }
        match self.scanner.scan(text.unread(), is_all && !self.shape.follow) {
            Scanned::Record { bytes, lines, fault } => {
                let origin = text.origin();
                let record = &text.unread()[..bytes];
                if bytes > self.shape.max_record_bytes {
                    chunk.refuse(too_large(self.shape.max_record_bytes), origin);
                } else {
                    let read = read_record(record, fault, &self.scanner, &mut self.columns, &self.shape.format);
                    put(chunk, read, record, origin, text)?;
                }
                chunk.add_progress(bytes as u64);
                text.pass(bytes, lines);
                Ok(Step::Passed)
            }
            Scanned::Nothing { bytes, lines } => {
                text.pass(bytes, lines);
                Ok(Step::Passed)
            }
            Scanned::Incomplete if is_all => Ok(Step::End),
            Scanned::Incomplete if text.unread().len() > self.shape.max_record_bytes => Ok(Step::Large),
            Scanned::Incomplete => Ok(Step::Incomplete),
        }
    }

    /// What a step could not do at once: reads more of the file, as often as the record needs it. Returns whether the record was passed, or
    /// else there is none.
    async fn go_on(&mut self, mut step: Step, chunk: &mut Chunk<T, TextCursor>) -> Result<bool, SourceError> {
        loop {
            match step {
                Step::Passed => return Ok(true),
                Step::End => return Ok(false),
                Step::Large => {
                    self.skip_large(chunk).await?;
                    return Ok(true);
                }
                Step::Incomplete => {
                    let Some(text) = &mut self.text else { return Ok(false) };
                    let is_all = text.fill().await? == Fill::End;
                    step = self.step(chunk, is_all)?;
                }
            }
        }
    }

    /// Passes a record that is too large, in bounded memory.
    async fn skip_large(&mut self, chunk: &mut Chunk<T, TextCursor>) -> Result<(), SourceError> {
        let Some(text) = &mut self.text else { return Ok(()) };
        let origin = text.origin();
        let mut skip = super::skip::Skip::new(self.shape.format.dialect);
        loop {
            let (bytes, lines, is_end) = skip.pass(text.unread());
            chunk.add_progress(bytes as u64);
            text.pass(bytes, lines);
            if is_end || text.fill().await? == Fill::End {
                break;
            }
        }
        chunk.refuse(too_large(self.shape.max_record_bytes), origin);
        Ok(())
    }

    fn is_past_range(&self) -> bool {
        let at = self.text.as_ref().map(|text| (text.file(), text.byte()));
        matches!((&self.to, at), (Some(to), Some(at)) if at >= (to.file, to.byte))
    }
}

impl<T: DeserializeOwned + 'static, F: TextFiles> Reader for CsvReader<T, F> {
    type Record = T;
    type Cursor = TextCursor;

    async fn read(&mut self, chunk: &mut Chunk<T, TextCursor>, limit: usize) -> Result<More, SourceError> {
        let mut more = More::Yes;
        while chunk.len() < limit {
            // Most records are in the buffer: for them there is nothing to wait for.
            let step = self.step(chunk, false)?;
            if matches!(step, Step::Passed) || self.go_on(step, chunk).await? {
                continue;
            }
            if self.is_past_range() {
                more = More::No;
                break;
            }
            let is_last = self.next >= self.files.len();
            if !is_last {
                self.open_next().await?;
                continue;
            }
            if !self.shape.follow {
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
                && text.fill().await? == Fill::End
            {
                break;
            }
        }
        if let Some(text) = &self.text {
            self.cursor = Some(text.cursor());
        }
        if let Some(cursor) = &self.cursor {
            chunk.set_after(cursor.clone());
        }
        Ok(more)
    }
}

fn read_record<T: DeserializeOwned>(
    record: &[u8],
    fault: Option<Fault>,
    scanner: &Scanner,
    columns: &mut Columns,
    format: &Format,
) -> Result<T, RowError> {
    let wrong = |message: String| Err(RowError::Record(message));
    match fault {
        None => {}
        Some(Fault::StrayQuote) => return wrong("a quote inside a field that does not begin with one".to_owned()),
        Some(Fault::AfterQuote) => return wrong("text between a closing quote and the delimiter".to_owned()),
        Some(Fault::Unclosed) => return wrong("a quote is opened and never closed".to_owned()),
    }
    let fields = scanner.fields();
    if columns.names.is_empty() {
        columns.names = (1..=fields.len()).map(|number| number.to_string()).collect();
    }
    if fields.len() != columns.names.len() {
        return wrong(format!("{} fields instead of {}", fields.len(), columns.names.len()));
    }
    match str::from_utf8(record) {
        Ok(text) => T::deserialize(Row { text, fields, columns, format }),
        Err(error) => wrong(format!("not UTF-8 at byte {} of the record", error.valid_up_to())),
    }
}

fn put<T, B>(
    chunk: &mut Chunk<T, TextCursor>,
    read: Result<T, RowError>,
    record: &[u8],
    origin: Origin,
    text: &Text<B>,
) -> Result<(), SourceError> {
    match read {
        Ok(value) => chunk.push(value, origin),
        Err(RowError::Record(reason)) => {
            let shown = String::from_utf8_lossy(&record[..record.len().min(SHOWN)]);
            let text = Some(shown.trim_end_matches(['\n', '\r']).to_owned());
            chunk.refuse(Unreadable { reason, text }, origin);
        }
        Err(RowError::Columns(message)) => {
            return Err(SourceError::config(format!("{}: {message}", text.shown())));
        }
    }
    Ok(())
}

fn too_large(limit: usize) -> Unreadable {
    Unreadable { reason: format!("the record is larger than `max_record_bytes`, which is {limit}"), text: None }
}

fn wrong_header<B>(text: &Text<B>, what: &str) -> SourceError {
    SourceError::config(format!("the header of {} {what}", text.shown()))
}

impl<T, F: TextFiles> std::fmt::Debug for CsvReader<T, F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CsvReader").field("cursor", &self.cursor).finish_non_exhaustive()
    }
}
