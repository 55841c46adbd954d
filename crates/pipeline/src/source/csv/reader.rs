//! Reads CSV records, file after file.

use std::{marker::PhantomData, str, sync::Arc};

use serde::de::DeserializeOwned;

use super::{
    row::{Columns, Format, Row, RowError},
    scan::{Fault, Scanned, Scanner},
    skip::Skip,
};
use crate::{
    record::Origin,
    source::{
        Chunk, More, Range, Reader, SourceError, Unreadable,
        files::{Fill, Follow, LocalFiles, Next, Sequence, Text, TextCursor, TextFiles},
    },
};

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
    pub(super) follow: Follow,
}

/// Reads CSV records.
pub struct CsvReader<T, F: TextFiles = LocalFiles> {
    shape: Arc<Shape>,
    files: Sequence<F>,
    text: Text<F::Blocks>,
    scanner: Scanner,
    /// `None` until the header of the file has been read.
    columns: Option<Columns>,
    to: Option<TextCursor>,
    /// After the last record.
    cursor: Option<TextCursor>,
    /// A record that is larger than it may be, and of which only a part has been passed.
    large: Option<Large>,
    records: PhantomData<fn() -> T>,
}

/// A record that is passed without being read.
struct Large {
    origin: Origin,
    skip: Skip,
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
        let mut files = Sequence::new(source, files, shape.follow);
        let (text, from) = files.first(range.from.as_ref()).await?;
        let scanner = Scanner::new(shape.format.dialect);
        let (to, cursor) = (range.to.clone(), range.from.clone());
        let mut reader =
            Self { shape, files, text, scanner, columns: None, to, cursor, large: None, records: PhantomData };
        // The columns come from the header, wherever reading goes on.
        reader.find_columns().await?;
        match from.filter(|cursor| reader.text.byte() < cursor.byte) {
            Some(cursor) => reader.go_to(cursor).await,
            None => Ok(reader),
        }
    }

    async fn go_to(self, cursor: &TextCursor) -> Result<Self, SourceError> {
        let text = self.files.go_to(self.text, cursor).await?;
        Ok(Self { text, ..self })
    }

    /// The column names of a file, for a check before anything is read.
    pub(super) async fn column_names(shape: Arc<Shape>, source: F, file: F::File) -> Result<Vec<String>, SourceError> {
        let reader = Self::open(shape, source, vec![file], &Range::all()).await?;
        Ok(reader.columns.map(|columns| columns.names).unwrap_or_default())
    }

    /// Reads the header, if that has not been done. Returns whether the columns are known.
    async fn find_columns(&mut self) -> Result<bool, SourceError> {
        if self.columns.is_none() {
            let names = if self.shape.has_header { self.header().await? } else { Some(self.shape.columns.clone()) };
            let may_be_missing = self.shape.may_be_missing;
            self.columns = names.map(|names| Columns { names, by_field: None, may_be_missing });
        }
        Ok(self.columns.is_some())
    }

    /// The column names; `None` if the header has still to be written. A complete file without a line has no columns, and no records either.
    async fn header(&mut self) -> Result<Option<Vec<String>>, SourceError> {
        let mut is_end = false;
        loop {
            match self.scanner.scan(self.text.unread(), is_end && self.text.is_complete()) {
                Scanned::Record { bytes, lines, fault: None } => {
                    let names = self.names(self.text.unread())?;
                    self.text.pass(bytes, lines);
                    return Ok(Some(names));
                }
                Scanned::Record { .. } => return Err(wrong_header(&self.text, "has a quote in the wrong place")),
                Scanned::Nothing { bytes, lines } => self.text.pass(bytes, lines),
                Scanned::Incomplete if is_end => return Ok(self.text.is_complete().then(Vec::new)),
                Scanned::Incomplete if self.text.unread().len() > self.shape.max_record_bytes => {
                    return Err(wrong_header(&self.text, "is longer than `max_record_bytes`"));
                }
                Scanned::Incomplete => is_end = self.text.fill().await? == Fill::End,
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

    /// Passes one record or one empty line, if the buffer holds it to its end. `is_end`: the file has no more than the buffer.
    fn step(&mut self, chunk: &mut Chunk<T, TextCursor>, is_end: bool) -> Result<Step, SourceError> {
        if self.is_past_range() {
            return Ok(Step::End);
        }
        if self.large.is_some() {
            return Ok(Step::Large);
        }
        let Self { text, scanner, columns: Some(columns), shape, .. } = self else { return Ok(Step::End) };
        match scanner.scan(text.unread(), is_end && text.is_complete()) {
            Scanned::Record { bytes, lines, fault } => {
                let origin = text.origin();
                let record = &text.unread()[..bytes];
                if bytes > shape.max_record_bytes {
                    chunk.refuse(too_large(shape.max_record_bytes), origin);
                } else {
                    let read = read_record(record, fault, scanner, columns, &shape.format);
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
            Scanned::Incomplete if is_end => Ok(Step::End),
            Scanned::Incomplete if text.unread().len() > shape.max_record_bytes => Ok(Step::Large),
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
                Step::Large => return self.skip_large(chunk).await,
                Step::Incomplete => {
                    let is_end = self.text.fill().await? == Fill::End;
                    step = self.step(chunk, is_end)?;
                }
            }
        }
    }

    /// Passes a record that is too large, in bounded memory, as far as it has been written. Returns whether that was all of it.
    async fn skip_large(&mut self, chunk: &mut Chunk<T, TextCursor>) -> Result<bool, SourceError> {
        let Self { text, large, cursor, .. } = self;
        // Reading never goes on in the middle of a record.
        cursor.get_or_insert_with(|| text.cursor());
        let new = || Large { origin: text.origin(), skip: Skip::new(self.shape.format.dialect) };
        let Large { origin, skip } = large.get_or_insert_with(new);
        loop {
            let (bytes, lines, is_end) = skip.pass(text.unread());
            chunk.add_progress(bytes as u64);
            text.pass(bytes, lines);
            if is_end {
                break;
            }
            if text.fill().await? == Fill::End {
                if !text.is_complete() {
                    return Ok(false);
                }
                break;
            }
        }
        if !skip.is_comment() {
            chunk.refuse(too_large(self.shape.max_record_bytes), origin.clone());
        }
        *large = None;
        Ok(true)
    }

    #[inline]
    fn is_past_range(&self) -> bool {
        self.to.as_ref().is_some_and(|to| (self.text.file(), self.text.byte()) >= (to.file, to.byte))
    }
}

impl<T: DeserializeOwned + 'static, F: TextFiles> Reader for CsvReader<T, F> {
    type Record = T;
    type Cursor = TextCursor;

    async fn read(&mut self, chunk: &mut Chunk<T, TextCursor>, limit: usize) -> Result<More, SourceError> {
        let mut more = More::Yes;
        while chunk.len() < limit {
            // Most records are in the buffer: for them there is nothing to wait for.
            let step = if self.find_columns().await? { self.step(chunk, false)? } else { Step::End };
            if matches!(step, Step::Passed) || self.go_on(step, chunk).await? {
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
                Next::Text(text) => (self.text, self.columns, self.large) = (text, None, None),
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
