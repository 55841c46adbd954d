//! Flights from a CSV file into a SQLite table, by faucet-stream: `faucet CSV DATABASE BATCH` prints the rows. The table must exist.

use std::env;

use faucet_stream::{
    Pipeline,
    sink::sqlite::{SqliteColumnMapping, SqliteSink, SqliteSinkConfig},
    source::csv::{CsvSource, CsvSourceConfig},
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [csv, database, batch] = arguments.as_slice() else { return Err("CSV, DATABASE and BATCH are missing".into()) };
    let batch = batch.parse()?;
    let mut read = CsvSourceConfig::new(csv);
    read.batch_size = batch;
    let source = CsvSource::new(read);
    let write = SqliteSinkConfig::new(database, "flights")
        .column_mapping(SqliteColumnMapping::AutoMap)
        .with_batch_size(batch);
    let sink = SqliteSink::new(write).await?;
    let done = Pipeline::new(&source, &sink).run().await?;
    println!("{}", done.records_written);
    Ok(())
}
