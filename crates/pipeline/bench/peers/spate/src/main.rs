//! Flights from a CSV file into a SQLite table, by spate: `spate CSV DATABASE BATCH` prints the rows that are written.
//!
//! spate has no source for CSV files and no sink for SQLite: `source.rs` and `sink.rs` are the smallest ones on its
//! traits. The typed row, its checks, the table and the upsert are those of the bench. `NA` becomes NULL. If the table
//! needs the text that is missing, as `tailnum` in 2,512 of 336,776 rows, the row fails a check, and spate skips it. A
//! row that cannot be read as a typed one ends the run, as it ends the loops by hand.
//!
//! Threads, chunks, queues and the number of batches in flight are spate's defaults. A batch leaves with the chunk
//! that brings it to BATCH rows; a chunk has 64 KiB, which is some 350 rows. One setting differs: each time that the
//! queue before the sink is full, spate stops the source for half a second at least, because a Kafka consumer is slow
//! to go on. A file is not, so here it is a millisecond; with the default this job takes more than 20 times as long.
//! There is neither an exporter of metrics nor a server for them. How far the source has come is kept nowhere: a run
//! that stops begins anew.
//!
//! spate 0.4.0 asks for Rust 1.96, and builds with 1.95: `cargo build --release --ignore-rust-version`.

use std::{env, path::Path, sync::atomic::Ordering};

use spate::prelude::*;

use crate::{
    flight::{Flight, Refused},
    source::{CsvSource, Rows},
};

#[path = "../../../../../../examples/web/flight.rs"]
#[allow(dead_code, reason = "the web example needs its key")]
mod flight;
#[path = "../../../src/rows.rs"]
mod rows;
mod sink;
mod source;

/// The texts of a flight: short, and kept inline, so that no thread frees what another one has allocated.
type Text = compact_str::CompactString;

const CONFIG: &str = "
pipeline: { name: flights }
backpressure: { min_pause: 1ms }
admin: { listen: none }
metrics: { exporter: none }
source: { csv: {} }
sink: { sqlite: {} }
";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [csv, database, batch] = arguments.as_slice() else { return Err("CSV, DATABASE and BATCH are missing".into()) };
    // The standard output is for the number of rows alone.
    spate::telemetry::init(LogFormat::Json, "off");
    let (source, header) = CsvSource::open(csv)?;
    let (sink, written) = sink::sqlite(Path::new(database), batch.parse()?);
    let pipeline = Pipeline::from_config(PipelineConfig::from_str(CONFIG)?)?.sink(sink)?.chains(move |ctx| {
        let chunk = ctx.chunk();
        chain_owned(Rows::new(header.clone()))
            .deser_error_policy(ErrorPolicy::Fail)
            .with_metrics(ctx.pipeline, "main")
            .try_map(checked, ErrorPolicy::Skip)
            .sink(sink::Encoder, KeyHashRouter, chunk, ctx.queues, ctx.budget)
            .build()
    });
    pipeline.run(source)?.ok()?;
    println!("{}", written.load(Ordering::Relaxed));
    Ok(())
}

fn checked(flight: Flight) -> Result<Flight, Refused> {
    flight.check()?;
    Ok(flight)
}
