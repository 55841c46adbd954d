//! The real flights that the load is made of.

use serde_json::{Map, Value};

const SLICE: &str = include_str!("../data/flights.csv");

/// The columns that hold text; all others hold numbers.
const TEXTS: [&str; 5] = ["carrier", "tailnum", "origin", "dest", "time_hour"];

/// The rows of the slice, and as many more as are asked for.
#[derive(Debug)]
pub(crate) struct Slice(Vec<Map<String, Value>>);

/// A body to post, and whether the service is to refuse it.
#[derive(Debug)]
pub(crate) struct Posted {
    pub(crate) body: Vec<u8>,
    pub(crate) refused: bool,
}

impl Slice {
    pub(crate) fn read() -> csv::Result<Self> {
        let mut reader = csv::Reader::from_reader(SLICE.as_bytes());
        let columns = reader.headers()?.clone();
        let rows = reader.records().map(|record| Ok(row(&columns, &record?)));
        rows.collect::<csv::Result<_>>().map(Self)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The `n`-th flight to post. Each round through the slice is a year of its own, so that every row is a new one.
    pub(crate) fn posted(&self, n: usize) -> Posted {
        let mut row = self.0[n % self.len()].clone();
        let later = n / self.len();
        if let Some(year) = row.get_mut("year") {
            *year = year.as_u64().map(|year| year + later as u64).into();
        }
        let refused = row["tailnum"].is_null();
        Posted { body: Value::from(row).to_string().into_bytes(), refused }
    }
}

fn row(columns: &csv::StringRecord, record: &csv::StringRecord) -> Map<String, Value> {
    columns.iter().zip(record).map(|(column, text)| (column.to_owned(), value(column, text))).collect()
}

fn value(column: &str, text: &str) -> Value {
    match text {
        "NA" => Value::Null,
        text if TEXTS.contains(&column) => text.into(),
        text => text.parse::<i64>().map_or_else(|_| text.into(), Value::from),
    }
}
