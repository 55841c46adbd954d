//! Records as text.

use actix_batch::Batch;
use actix_batch_pipeline::{
    Record,
    sink::{SinkError, Written},
};
use serde::{Deserialize, Serialize};

/// How records are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Format {
    JsonLines,
    Csv,
}

impl Format {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::JsonLines => "json-lines",
            Self::Csv => "csv",
        }
    }

    /// How the names of parts end.
    pub(super) fn suffix(self) -> &'static str {
        match self {
            Self::JsonLines => "jsonl",
            Self::Csv => "csv",
        }
    }
}

/// The text of a batch, and which of its records are in it.
#[derive(Debug, Default)]
pub(super) struct BatchText {
    pub(super) text: Vec<u8>,
    pub(super) written: Written,
    /// By their places in the batch.
    is_in: Vec<bool>,
}

impl BatchText {
    /// Writes those records of a batch that are not `held` already; `is_first`: at the beginning of a part.
    pub(super) fn of<T: Serialize>(
        format: Format,
        batch: &Batch<Record<T>>,
        held: impl Fn(&Record<T>) -> bool,
        is_first: bool,
    ) -> Self {
        let mut text = Self { is_in: batch.iter().map(|record| !held(record)).collect(), ..Self::default() };
        match format {
            Format::JsonLines => text.json_lines(batch),
            Format::Csv => text.csv(batch, is_first),
        }
        text
    }

    /// Whether the record at this place of the batch is in the text.
    pub(super) fn is_in(&self, place: usize) -> bool {
        self.is_in.get(place).copied().unwrap_or(false)
    }

    pub(super) fn records(&self) -> u64 {
        self.is_in.iter().filter(|is_in| **is_in).count() as u64
    }

    fn refuse(&mut self, place: usize, error: SinkError) {
        self.written.refuse(place, error);
        self.is_in[place] = false;
    }

    fn json_lines<T: Serialize>(&mut self, batch: &Batch<Record<T>>) {
        for (place, record) in batch.iter().enumerate() {
            if !self.is_in(place) {
                continue;
            }
            let before = self.text.len();
            match serde_json::to_writer(&mut self.text, &**record) {
                Ok(()) => self.text.push(b'\n'),
                Err(error) => {
                    self.text.truncate(before);
                    self.refuse(place, SinkError::record("the record is no JSON").caused_by(error));
                }
            }
        }
    }

    fn csv<T: Serialize>(&mut self, batch: &Batch<Record<T>>, is_first: bool) {
        let new = batch.iter().enumerate().filter(|(place, _)| self.is_in(*place)).map(|(_, record)| &**record);
        if let Ok(rows) = rows(new, is_first) {
            self.text = rows;
            return;
        }
        // Some record cannot be written: it is refused, and the others are written.
        let mut header = is_first;
        for (place, record) in batch.iter().enumerate() {
            if !self.is_in(place) {
                continue;
            }
            match rows(std::iter::once(&**record), header) {
                Ok(row) => {
                    self.text.extend(row);
                    header = false;
                }
                Err(error) => self.refuse(place, SinkError::record("the record is no CSV row").caused_by(error)),
            }
        }
    }
}

fn rows<'a, T: Serialize + 'a>(records: impl Iterator<Item = &'a T>, header: bool) -> csv::Result<Vec<u8>> {
    let mut writer = csv::WriterBuilder::new().has_headers(header).from_writer(Vec::new());
    for record in records {
        writer.serialize(record)?;
    }
    writer.into_inner().map_err(|error| error.into_error().into())
}
