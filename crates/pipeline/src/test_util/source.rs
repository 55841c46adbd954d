//! Does a source yield the same records however it is read?

use std::fmt::Debug;

use serde_json::Value;

use crate::source::{Chunk, Cursor, More, Range, Reader, Source, SourceError};

/// What a record of a range is: its value, or why it cannot be read.
pub type Read<T> = Result<T, String>;

/// Reads a range in chunks of this size. Each chunk comes with the cursor after it, as a checkpoint stores it.
///
/// # Errors
///
/// Those of the source.
///
/// # Panics
///
/// If a cursor cannot be stored, a chunk with records has none, or the source waits for answers.
pub async fn read_range<S: Source>(
    source: &S,
    range: &Range<S::Cursor>,
    chunk_size: usize,
) -> Result<Vec<(Vec<Read<S::Record>>, Value)>, SourceError> {
    let mut reader = source.open(range).await?;
    let (mut chunks, mut next, mut more) = (Vec::new(), 0, More::Yes);
    while more == More::Yes {
        let mut chunk = Chunk::new(0, next);
        more = reader.read(&mut chunk, chunk_size).await?;
        assert!(more != More::OnceSettled, "the source gives no more before it is answered: let it give more at once");
        assert!(chunk.len() <= chunk_size, "a chunk of {} records, and {chunk_size} is the limit", chunk.len());
        next = chunk.next_record();
        if chunk.is_empty() {
            continue;
        }
        let after = chunk.after().expect("a chunk with records has a cursor");
        let after = serde_json::to_value(after).expect("a cursor is serde data");
        chunks.push((in_order(chunk), after));
    }
    reader.close().await?;
    Ok(chunks)
}

fn in_order<T, C>(chunk: Chunk<T, C>) -> Vec<Read<T>> {
    let readable = chunk.records.into_iter().map(|record| (record.position().record, Ok(record.into_value())));
    let unreadable =
        chunk.unreadable.into_iter().map(|record| (record.position().record, Err(record.into_value().reason)));
    let mut all: Vec<_> = readable.chain(unreadable).collect();
    all.sort_by_key(|(number, _)| *number);
    all.into_iter().map(|(_, read)| read).collect()
}

/// Checks that a source yields the same records whatever the size of the chunks, after a stop at each cursor, and split into 2 to 5
/// ranges. Returns the records.
///
/// # Panics
///
/// If it does not, or fails.
pub async fn check_source<S: Source<Record: Clone + Debug + PartialEq>>(source: &S) -> Vec<Read<S::Record>> {
    let whole = read(source, &Range::all(), 7).await;
    for chunk_size in 1..=20 {
        let chunks = read_range(source, &Range::all(), chunk_size).await.expect("the source can be read");
        let records: Vec<_> = chunks.iter().flat_map(|(records, _)| records.clone()).collect();
        assert_eq!(records, whole, "chunks of {chunk_size}");
        if chunk_size <= 3 {
            check_stops(source, &chunks, &whole).await;
        }
    }
    for ranges in 2..=5 {
        check_split(source, ranges, &whole).await;
    }
    whole
}

/// Stops at each cursor and goes on.
async fn check_stops<S: Source<Record: Clone + Debug + PartialEq>>(
    source: &S,
    chunks: &[(Vec<Read<S::Record>>, Value)],
    whole: &[Read<S::Record>],
) {
    let mut before = 0;
    for (records, after) in chunks {
        before += records.len();
        let from = S::Cursor::load(S::Cursor::VERSION, after.clone()).expect("a stored cursor loads");
        let rest = read(source, &Range { from: Some(from.clone()), to: None }, 5).await;
        assert_eq!(rest, whole[before..], "after {after}");
        let upto = read(source, &Range { from: None, to: Some(from) }, 5).await;
        assert_eq!(upto, whole[..before], "up to {after}");
    }
}

async fn check_split<S: Source<Record: Debug + PartialEq>>(source: &S, at_most: usize, whole: &[Read<S::Record>]) {
    let ranges = source.split(None, at_most).await.expect("the source can be split");
    assert!((1..=at_most).contains(&ranges.len()), "{} ranges, and {at_most} is the limit", ranges.len());
    let mut records = Vec::new();
    for range in &ranges {
        records.extend(read(source, range, 4).await);
    }
    assert_eq!(records, whole, "{ranges:?}");
}

async fn read<S: Source>(source: &S, range: &Range<S::Cursor>, chunk_size: usize) -> Vec<Read<S::Record>> {
    let chunks = read_range(source, range, chunk_size).await.expect("the source can be read");
    chunks.into_iter().flat_map(|(records, _)| records).collect()
}
