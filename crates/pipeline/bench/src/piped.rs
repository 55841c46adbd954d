//! The same by pipelines.

use std::{hint::black_box, path::Path, thread, time::Duration};

use actix_batch::Workers;
use actix_batch_pipeline::{
    Range,
    prelude::*,
    sink::JsonLinesFile,
    source::{Chunk, More, Reader, Source, SourceError, TextCursor},
};

use crate::{
    flight::Flight,
    rows::{KEY, SCHEMA},
};

fn run<T>(pipeline: impl Future<Output = Result<T, RunError>>) -> T {
    actix_rt::System::new().block_on(pipeline).expect("the pipeline runs")
}

fn csv(data: &Path) -> Csv<Flight> {
    Csv::<Flight>::file(data).null_words(["NA", ""])
}

fn into_sqlite(data: &Path, database: &Path, batch: usize) -> Pipeline {
    let sink = Sqlite::upsert(database, "flights").key(KEY).create_table(SCHEMA);
    let flow = Pipeline::named("flights").read(csv(data)).validate(Flight::check).write(sink);
    flow.collector(move |sink| sink.max_size(batch).workers(Workers::threads(1))).build()
}

pub(crate) fn sqlite(data: &Path, database: &Path, batch: usize) -> u64 {
    run(into_sqlite(data, database, batch).run()).read
}

/// The same in ranges of so many records, one after the other, as a worker of a cluster copies them.
pub(crate) fn ranges(data: &Path, database: &Path, records: u64) -> u64 {
    let pipeline = into_sqlite(data, database, 2_000);
    run(async {
        let mut read = 0;
        for range in pipeline.ranges(None, records, usize::MAX).await? {
            read += pipeline.of_range("bench", &range).run().await?.read;
        }
        Ok(read)
    })
}

pub(crate) fn json_lines(data: &Path, file: &Path) -> u64 {
    let pipeline =
        Pipeline::named("flights").read(csv(data)).validate(Flight::check).write(JsonLinesFile::create(file));
    run(pipeline.run()).read
}

/// Reads and checks; the sink does nothing.
pub(crate) fn nothing(data: &Path, readers: usize) -> u64 {
    let pipeline = Pipeline::named("flights").read(csv(data)).validate(Flight::check).write(for_each(|_: &Flight| {}));
    run(pipeline.accept_duplicates(true).readers(readers).run()).read
}

/// Cuts the file, and reads and checks each range on a thread of its own, without a pipeline.
pub(crate) fn readers_alone(data: &Path, readers: usize) -> u64 {
    let source = csv(data);
    let ranges = actix_rt::System::new().block_on(source.split(None, readers)).expect("the file is cut");
    thread::scope(|scope| {
        let read = |range| actix_rt::System::new().block_on(read_range(&source, range)).expect("the range is read");
        let threads: Vec<_> = ranges.iter().map(|range| scope.spawn(move || read(range))).collect();
        threads.into_iter().map(|thread| thread.join().expect("the reader ends well")).sum()
    })
}

async fn read_range(source: &Csv<Flight>, range: &Range<TextCursor>) -> Result<u64, SourceError> {
    let (mut reader, mut read) = (source.open(range).await?, 0);
    loop {
        let mut chunk = Chunk::new(0, read);
        let more = reader.read(&mut chunk, 500).await?;
        let good = chunk.records().iter().filter(|record| record.check().is_ok());
        black_box(good.count());
        read = chunk.next_record();
        if more == More::No {
            return Ok(read);
        }
    }
}

/// The same with a checkpoint in a file, saved every so often.
pub(crate) fn checkpoints(data: &Path, file: &Path, every: Duration) -> u64 {
    let pipeline = Pipeline::named("flights").read(csv(data)).validate(Flight::check).write(for_each(|_: &Flight| {}));
    run(pipeline.accept_duplicates(true).checkpoint(file).checkpoint_every(every).run()).read
}

/// Small records through so many stages, into a sink that does nothing.
pub(crate) fn stages(records: u64, stages: usize) -> u64 {
    let mut flow = Pipeline::named("numbers").read(from_iter("numbers", move || 0..records));
    for _ in 0..stages {
        flow = flow.map(|number| number ^ 1);
    }
    run(flow.write(for_each(|_: &u64| {})).accept_duplicates(true).run()).read
}

/// Small records that no stage lets pass: what reading and counting alone cost.
pub(crate) fn filtered(records: u64, stages: usize) -> u64 {
    let mut flow = Pipeline::named("numbers").read(from_iter("numbers", move || 0..records));
    for _ in 0..stages {
        flow = flow.map(|number| number ^ 1);
    }
    run(flow.filter(|number| *number == u64::MAX).write(for_each(|_: &u64| {})).accept_duplicates(true).run()).read
}
