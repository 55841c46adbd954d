//! CSV as a sink.

use std::{fmt, fs::File, io, iter, marker::PhantomData, path::PathBuf, sync::Arc};

use actix_batch::Batch;
use csv::{ReaderBuilder, WriterBuilder};
use serde::{Deserialize, Serialize};

use super::{
    Defaults, IntoSink, Promises, RunId, Settled, Sink, SinkError, Store, Target, defaults, writer::BatchText,
};
use crate::{record::Record, sink::Written};

/// Writes each record as one row of CSV, under a header with the names of its serde fields. As for
/// [`JsonLinesFile`](super::JsonLinesFile), the file gets its name when it is complete, and each record is stored once.
///
/// `None` is an empty field. Maps and nested structs are refused.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CsvFile {
    path: Target,
    #[serde(default = "comma")]
    delimiter: u8,
    #[serde(default = "yes")]
    header: bool,
}

fn comma() -> u8 {
    b','
}

fn yes() -> bool {
    true
}

/// Writes CSV.
pub struct CsvSink<T> {
    spec: CsvFile,
    /// The fields of each row, once there is one: a row with another number of them would stand in the wrong columns.
    fields: Option<usize>,
    records: PhantomData<fn(T)>,
}

impl CsvFile {
    /// The file at this path. Its folder must exist.
    pub fn create(path: impl Into<PathBuf>) -> Self {
        Self { path: Target::new(path), delimiter: comma(), header: yes() }
    }

    /// What stands between two fields. Default: a comma.
    pub fn delimiter(mut self, delimiter: u8) -> Self {
        self.delimiter = delimiter;
        self
    }

    /// Whether the first line holds the names of the fields. Default: `true`.
    pub fn header(mut self, header: bool) -> Self {
        self.header = header;
        self
    }
}

impl<T: Serialize + Send + Sync + 'static> IntoSink<T> for CsvFile {
    type Sink = CsvSink<T>;

    fn describe(&self) -> String {
        self.path.describe("csv")
    }

    fn promises(&self) -> Promises {
        Promises::Transactional
    }

    fn defaults(&self) -> Defaults {
        defaults()
    }

    fn sink(&self, _worker: usize, _run: &RunId, _settled: &Arc<Settled>) -> CsvSink<T> {
        CsvSink { spec: self.clone(), fields: None, records: PhantomData }
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

impl<T: Serialize + 'static> Sink<T> for CsvSink<T> {
    async fn write(&mut self, batch: &Batch<Record<T>>) -> Result<Written, SinkError> {
        let Self { spec, fields, .. } = self;
        spec.path.write(batch, |records, text, is_first| {
            let records: Vec<_> = records.collect();
            if fields.is_none() && !is_first {
                *fields = spec.fields_of_file()?;
            }
            let header = spec.header && is_first;
            match spec.rows(records.iter().map(|(_, record)| &***record), header, *fields) {
                Ok(rows) => text.text = rows,
                Err(_) => spec.one_by_one(&records, text, header, *fields),
            }
            Ok(())
        })
    }

    fn show(record: &T) -> Option<String> {
        serde_json::to_string(record).ok()
    }
}

impl CsvFile {
    fn rows<'a, T: Serialize + 'a>(
        &self,
        records: impl Iterator<Item = &'a T>,
        header: bool,
        fields: Option<usize>,
    ) -> csv::Result<Vec<u8>> {
        let mut writer = WriterBuilder::new().delimiter(self.delimiter).has_headers(header).from_writer(Vec::new());
        let mut begin = 0;
        if let Some(fields) = fields {
            // The writer wants each row to have as many fields as the one before. This one is cut off again.
            writer.write_record(iter::repeat_n("", fields))?;
            writer.flush()?;
            begin = writer.get_ref().len();
        }
        for record in records {
            writer.serialize(record)?;
        }
        let mut rows = writer.into_inner().map_err(csv::IntoInnerError::into_error)?;
        Ok(rows.split_off(begin))
    }

    /// Some record cannot be written: it is refused, and the others are written.
    fn one_by_one<T: Serialize>(
        &self,
        records: &[(usize, &Record<T>)],
        text: &mut BatchText,
        mut header: bool,
        mut fields: Option<usize>,
    ) {
        for (position, record) in records {
            match self.rows(iter::once(&***record), header, fields) {
                Ok(row) => {
                    fields = fields.or_else(|| self.fields_of(row.as_slice()).ok().flatten());
                    text.text.extend(row);
                    header = false;
                }
                Err(error) => {
                    text.written.refuse(*position, SinkError::record("the record is no CSV row").caused_by(error));
                }
            }
        }
    }
}

impl CsvFile {
    /// How many fields the first row of a text has: its header, as a rule.
    fn fields_of(&self, text: impl io::Read) -> csv::Result<Option<usize>> {
        let mut reader = ReaderBuilder::new().delimiter(self.delimiter).has_headers(false).from_reader(text);
        let first = reader.byte_records().next().transpose()?;
        Ok(first.map(|row| row.len()))
    }

    fn fields_of_file(&self) -> Result<Option<usize>, SinkError> {
        let path = self.path.readable();
        let fields = File::open(&path).map_err(csv::Error::from).and_then(|file| self.fields_of(file));
        fields.map_err(|error| SinkError::fatal(format!("{} cannot be read", path.display())).caused_by(error))
    }
}

impl<T> fmt::Debug for CsvSink<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CsvSink").field("spec", &self.spec).finish_non_exhaustive()
    }
}
