//! CSV files as a source.

use std::{fmt, marker::PhantomData, path::PathBuf, sync::Arc};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{
    Identity, Range, Size, Source, SourceError,
    files::{Fill, Follow, LocalFiles, Text, TextCursor, TextFiles},
};

mod number;
mod reader;
mod row;
mod scan;
mod skip;

use number::Numbers;
pub use reader::CsvReader;
use reader::Shape;
use row::{Format, check_columns};
use scan::Dialect;
use skip::Skip;

/// CSV files, as records of a type that serde can read.
///
/// The fields of a struct are bound to columns **by the header's names**: columns may come in any order and there may be more of them,
/// but a missing or doubled one is refused. The text of a field must be a value as a whole. A record that is ragged, has a quote in
/// the wrong place, is no UTF-8 or does not fit its type is rejected, with file, line and byte, and the others go on.
///
/// Lines end with LF, CRLF or CR. Empty lines are passed. Files in UTF-16 are recognized by their byte order mark, and files that are
/// compressed with gzip or zstd by their first bytes (feature `compression`). A last record without a line end counts, unless the
/// file is followed. Files that are somewhere else are read by [`from_files`](Self::from_files).
///
/// ```
/// use actix_batch_pipeline::{prelude::*, source::Csv};
/// use serde::Deserialize;
///
/// #[derive(Debug, Deserialize)]
/// struct City {
///     name: String,
///     people: Option<u32>,
/// }
///
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("cities.csv");
/// std::fs::write(&path, "people,name\n8336817,New York\n,Atlantis\nmany,Rome\n").unwrap();
///
/// # actix_rt::System::new().block_on(async {
/// let report = Pipeline::named("cities")
///     .read(Csv::<City>::file(&path).null_words(["", "NA"]))
///     .write(for_each(|city: &City| println!("{city:?}")))
///     .accept_duplicates(true)
///     .run()
///     .await?;
/// assert_eq!((report.written, report.rejected), (2, 1));
/// # Ok::<(), RunError>(())
/// # }).unwrap();
/// ```
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Csv<T, F = LocalFiles> {
    paths: F,
    #[serde(default = "comma")]
    delimiter: u8,
    #[serde(default = "quote")]
    quote: Option<u8>,
    #[serde(default)]
    comment: Option<u8>,
    /// Without a header.
    #[serde(default)]
    columns: Option<Vec<String>>,
    #[serde(default)]
    missing_columns: bool,
    #[serde(default = "empty_word")]
    null_words: Vec<String>,
    #[serde(default)]
    decimal_comma: bool,
    #[serde(default)]
    thousands: Option<char>,
    #[serde(default = "mebibyte")]
    max_record_bytes: usize,
    #[serde(default)]
    follow: Follow,
    #[serde(skip)]
    records: PhantomData<fn() -> T>,
}

fn comma() -> u8 {
    b','
}

#[expect(clippy::unnecessary_wraps, reason = "serde asks for the field's own type")]
fn quote() -> Option<u8> {
    Some(b'"')
}

fn empty_word() -> Vec<String> {
    vec![String::new()]
}

fn mebibyte() -> usize {
    1 << 20
}

impl<T> Csv<T> {
    /// One file.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self::from_files(LocalFiles::File(path.into()))
    }

    /// These files, in this order.
    pub fn files<P: Into<PathBuf>>(paths: impl IntoIterator<Item = P>) -> Self {
        Self::from_files(LocalFiles::Files(paths.into_iter().map(Into::into).collect()))
    }

    /// The files that match a pattern like `data/*.csv`, sorted by path.
    pub fn glob(pattern: impl Into<String>) -> Self {
        Self::from_files(LocalFiles::Glob(pattern.into()))
    }
}

impl<T, F> Csv<T, F> {
    /// Files that are somewhere else: the objects of a store.
    pub fn from_files(files: F) -> Self {
        Self {
            paths: files,
            delimiter: comma(),
            quote: quote(),
            comment: None,
            columns: None,
            missing_columns: false,
            null_words: empty_word(),
            decimal_comma: false,
            thousands: None,
            max_record_bytes: mebibyte(),
            follow: Follow::No,
            records: PhantomData,
        }
    }

    /// What stands between two fields. Default: a comma.
    pub fn delimiter(mut self, delimiter: u8) -> Self {
        self.delimiter = delimiter;
        self
    }

    /// What encloses a field that holds delimiters or line ends; doubled it stands for itself. `None`: nothing does. Default: `"`.
    pub fn quote(mut self, quote: Option<u8>) -> Self {
        self.quote = quote;
        self
    }

    /// Lines that begin with this byte are passed. Default: none.
    pub fn comment(mut self, comment: u8) -> Self {
        self.comment = Some(comment);
        self
    }

    /// The files have no header, and these are their columns. Default: the first line of each file is its header.
    pub fn columns<S: Into<String>>(mut self, columns: impl IntoIterator<Item = S>) -> Self {
        self.columns = Some(columns.into_iter().map(Into::into).collect());
        self
    }

    /// Whether columns may be missing; serde's defaults take their place, or `None`. Default: `false`.
    pub fn missing_columns(mut self, allowed: bool) -> Self {
        self.missing_columns = allowed;
        self
    }

    /// The texts that stand for `None` where a field is an `Option`, unless they stand in quotes. Default: the empty text.
    pub fn null_words<S: Into<String>>(mut self, words: impl IntoIterator<Item = S>) -> Self {
        self.null_words = words.into_iter().map(Into::into).collect();
        self
    }

    /// Whether a comma is the decimal mark, as in `1,5`. Default: `false`.
    pub fn decimal_comma(mut self, comma: bool) -> Self {
        self.decimal_comma = comma;
        self
    }

    /// What stands between groups of three digits. Default: nothing.
    pub fn thousands(mut self, separator: char) -> Self {
        self.thousands = Some(separator);
        self
    }

    /// The largest record in bytes, at least 1; a larger one is passed in bounded memory and rejected. Default: 1 MiB.
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

    fn shape(&self) -> Arc<Shape> {
        let dialect = Dialect { delimiter: self.delimiter, quote: self.quote, comment: self.comment };
        let numbers = Numbers { decimal_comma: self.decimal_comma, thousands: self.thousands };
        Arc::new(Shape {
            format: Format { dialect, null_words: self.null_words.clone(), numbers },
            has_header: self.columns.is_none(),
            columns: self.columns.clone().unwrap_or_default(),
            may_be_missing: self.missing_columns,
            max_record_bytes: self.max_record_bytes,
            follow: self.follow,
        })
    }
}

impl<T: DeserializeOwned + Send + Sync + 'static, F: TextFiles> Csv<T, F> {
    /// Refuses columns that do not fit the type before anything is read.
    async fn check_header(&self) -> Result<(), SourceError> {
        let files = self.paths.list().await?;
        let checked = if F::IS_NEAR { files.len() } else { 1 };
        for file in files.into_iter().take(checked) {
            let shown = file.to_string();
            let names = CsvReader::<T, F>::column_names(self.shape(), self.paths.clone(), file).await?;
            if !names.is_empty() {
                check_columns::<T>(&names, self.missing_columns)
                    .map_err(|message| SourceError::config(format!("{shown}: {message}")))?;
            }
        }
        Ok(())
    }

    /// The only file, if it may be read once to find out where to cut it, and once more in pieces.
    fn to_cut(&self, mut files: Vec<F::File>) -> Option<F::File> {
        let may_be_cut = F::IS_NEAR && self.follow == Follow::No && files.len() == 1;
        files.pop().filter(|_| may_be_cut)
    }
}

impl<T: DeserializeOwned + Send + Sync + 'static, F: TextFiles> Source for Csv<T, F> {
    type Record = T;
    type Cursor = TextCursor;
    type Reader = CsvReader<T, F>;

    fn describe(&self) -> String {
        format!("csv:{}", self.paths.describe())
    }

    async fn identity(&self) -> Result<Identity, SourceError> {
        self.check_header().await?;
        self.paths.identity().await
    }

    async fn verify(&self, checkpoint: &Identity) -> Result<(), SourceError> {
        self.follow.verify(&self.paths, checkpoint).await
    }

    async fn split(&self, from: Option<TextCursor>, at_most: usize) -> Result<Vec<Range<TextCursor>>, SourceError> {
        self.split_first(from, at_most, at_most).await
    }

    /// The file is read as far as it is cut, and no further.
    async fn split_first(
        &self,
        from: Option<TextCursor>,
        ranges: usize,
        at_most: usize,
    ) -> Result<Vec<Range<TextCursor>>, SourceError> {
        let file = if ranges > 1 { self.to_cut(self.paths.list().await?) } else { None };
        let Some(file) = file else {
            return Ok(vec![Range { from, to: None }]);
        };
        let text = match &from {
            Some(cursor) => Text::open_at(&self.paths, &file, cursor).await?,
            None => Text::open(&self.paths, &file, 0).await?,
        };
        let length = match self.paths.size().await {
            Some(Size::Bytes(bytes)) if text.is_plain() => Some(bytes),
            _ => None,
        };
        let ends = match length {
            Some(length) => self.cut(text, length, ranges, at_most).await?,
            None => Vec::new(),
        };
        let begins = std::iter::once(from).chain(ends.iter().cloned().map(Some));
        let ends = ends.iter().cloned().map(Some).chain([None]);
        Ok(begins.zip(ends).map(|(from, to)| Range { from, to }).take(at_most).collect())
    }

    async fn open(&self, range: &Range<TextCursor>) -> Result<CsvReader<T, F>, SourceError> {
        CsvReader::open(self.shape(), self.paths.clone(), self.paths.list().await?, range).await
    }

    async fn size(&self) -> Option<Size> {
        self.paths.size().await
    }
}

impl<T, F: TextFiles> Csv<T, F> {
    /// Where to cut the rest of a file of this length so that its pieces are about equal; the first so many places. A line end inside quotes
    /// is no place to cut.
    async fn cut(
        &self,
        mut text: Text<F::Blocks>,
        length: u64,
        pieces: usize,
        at_most: usize,
    ) -> Result<Vec<TextCursor>, SourceError> {
        let begin = text.byte();
        let piece = (length.saturating_sub(begin) / pieces as u64).max(1);
        let dialect = Dialect { delimiter: self.delimiter, quote: self.quote, comment: self.comment };
        let (mut cuts, mut skip, mut is_header) =
            (Vec::new(), Skip::new(dialect), self.columns.is_none() && begin == 0);
        loop {
            let (bytes, lines, is_end) = skip.pass(text.unread());
            text.pass(bytes, lines);
            if is_end {
                skip = Skip::new(dialect);
                let next = begin + piece * (cuts.len() as u64 + 1);
                if text.byte() >= next && cuts.len() + 1 < pieces && !is_header {
                    cuts.push(text.cursor());
                }
                is_header = false;
            } else if text.fill().await? == Fill::End {
                return Ok(cuts);
            }
            if cuts.len() + 1 == pieces || cuts.len() == at_most {
                return Ok(cuts);
            }
        }
    }
}

impl<T, F: Clone> Clone for Csv<T, F> {
    fn clone(&self) -> Self {
        let Self { paths, columns, null_words, .. } = self;
        Self {
            paths: paths.clone(),
            columns: columns.clone(),
            null_words: null_words.clone(),
            records: PhantomData,
            ..*self
        }
    }
}

impl<T, F: fmt::Debug> fmt::Debug for Csv<T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Csv").field("paths", &self.paths).finish_non_exhaustive()
    }
}
