//! Files as sources: which, in which order, compressed or not, and whether they are still those of the checkpoint.
#![cfg(all(feature = "csv", feature = "compression", feature = "test-util"))]

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
};

use actix_batch_pipeline::{
    Range,
    checkpoint::MemoryStore,
    prelude::*,
    source::{
        Blocks, Csv, Identity, JsonLines, Size, Source, SourceError, SourceErrorKind, TextFiles, concat, from_stream,
    },
    test_util::{check_source, read_range},
};
use flate2::{Compression, write::GzEncoder};
use futures_util::stream;
use serde::Deserialize;
use tempfile::TempDir;

use support::{Shelf, paused};

mod support;

#[derive(Debug, Clone, PartialEq, Deserialize)]
struct Row {
    id: u64,
}

fn run<T>(test: impl Future<Output = T>) -> T {
    actix_rt::System::new().block_on(test)
}

fn write(folder: &TempDir, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
    let path = folder.path().join(name);
    fs::write(&path, bytes).unwrap();
    path
}

fn rows(ids: std::ops::Range<u64>) -> String {
    let rows: Vec<_> = ids.map(|id| format!("{id}\n")).collect();
    format!("id\n{}", rows.concat())
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

fn ids(source: Csv<Row>) -> Vec<u64> {
    run(async move { check_source(&source).await }).into_iter().map(|row| row.unwrap().id).collect()
}

fn error(source: &Csv<Row>) -> SourceError {
    run(async {
        match source.identity().await {
            Ok(_) => read_range(source, &Range::all(), 100).await.unwrap_err(),
            Err(error) => error,
        }
    })
}

#[test]
fn files_are_read_in_the_order_of_their_list_and_globs_in_that_of_their_paths() {
    let folder = TempDir::new().unwrap();
    let (b, a) = (write(&folder, "b.csv", rows(3..6)), write(&folder, "a.csv", rows(0..3)));
    assert_eq!(ids(Csv::files([&b, &a])), [3, 4, 5, 0, 1, 2]);
    assert_eq!(ids(Csv::glob(format!("{}/*.csv", folder.path().display()))), [0, 1, 2, 3, 4, 5]);
}

#[test]
fn an_empty_file_has_no_records_and_the_next_one_is_read() {
    let folder = TempDir::new().unwrap();
    let paths = [
        write(&folder, "a", ""),
        write(&folder, "b", rows(0..2)),
        write(&folder, "c", "id\n"),
        write(&folder, "d", rows(5..6)),
    ];
    assert_eq!(ids(Csv::files(paths)), [0, 1, 5]);
}

#[test]
fn all_members_of_a_gzip_file_are_read() {
    let folder = TempDir::new().unwrap();
    let mut bytes = gzip(&rows(0..500));
    bytes.extend(gzip("500\n501\n"));
    let path = write(&folder, "rows.csv.gz", bytes);
    assert_eq!(ids(Csv::file(path)), (0..502).collect::<Vec<_>>());
}

#[test]
fn all_frames_of_a_zstd_file_are_read() {
    let folder = TempDir::new().unwrap();
    let mut bytes = zstd::encode_all(rows(0..500).as_bytes(), 1).unwrap();
    bytes.extend(zstd::encode_all(&b"500\n"[..], 1).unwrap());
    let path = write(&folder, "rows.csv.zst", bytes);
    assert_eq!(ids(Csv::file(path)), (0..501).collect::<Vec<_>>());
}

#[test]
fn a_compressed_file_that_was_cut_off_is_an_error_and_not_an_end() {
    let folder = TempDir::new().unwrap();
    let text = rows(0..50_000);
    for bytes in [gzip(&text), zstd::encode_all(text.as_bytes(), 1).unwrap()] {
        let path = write(&folder, "rows", &bytes[..bytes.len() / 2]);
        let error = error(&Csv::file(path));
        assert_eq!(error.kind(), SourceErrorKind::Corrupt, "{error}");
    }
}

#[test]
fn a_file_or_pattern_without_files_is_refused_by_name() {
    let missing = error(&Csv::file("/nowhere/rows.csv"));
    assert_eq!(
        (missing.kind(), missing.to_string().as_str()),
        (SourceErrorKind::Config, "/nowhere/rows.csv does not exist")
    );
    assert_eq!(error(&Csv::glob("/nowhere/*.csv")).to_string(), "no file matches /nowhere/*.csv");
}

/// What happens to a folder between two runs.
type Change = fn(&Path);

/// Reads the first 100 rows of some files, changes the files, and goes on.
fn resumed(files: &[(&str, String)], change: impl FnOnce(&Path)) -> Result<Vec<u64>, RunError> {
    let folder = TempDir::new().unwrap();
    for (name, text) in files {
        write(&folder, name, text);
    }
    let pattern = format!("{}/*.csv", folder.path().display());
    paused(async || {
        let (store, shelf) = (MemoryStore::default(), Shelf::new());
        let pipeline = || {
            let place = store.clone();
            let flow = Pipeline::named("resumed").read(Csv::<Row>::glob(&pattern)).map(|row| row.id);
            flow.write(shelf.clone()).chunk(50).checkpoint_store(move || Box::new(place.clone()))
        };
        pipeline().max_records(100).run().await?;
        change(folder.path());
        pipeline().run().await?;
        Ok(shelf.stored())
    })
}

fn two_files() -> [(&'static str, String); 2] {
    [("a.csv", rows(0..80)), ("b.csv", rows(80..200))]
}

#[test]
fn a_file_that_has_grown_and_files_that_came_after_it_are_read_on() {
    let all = resumed(&two_files(), |folder| {
        fs::write(folder.join("b.csv"), rows(80..300)).unwrap();
        fs::write(folder.join("c.csv"), rows(300..310)).unwrap();
    });
    assert_eq!(all.unwrap(), (0..310).collect::<Vec<_>>());
}

#[test]
fn another_file_under_the_old_name_is_refused_by_name() {
    let changes: [(_, Change); 4] = [
        ("does not begin as it did", |folder| fs::write(folder.join("b.csv"), rows(500..900)).unwrap()),
        ("does not begin as it did", |folder| fs::write(folder.join("b.csv"), rows(80..85)).unwrap()),
        ("the checkpoint knows", |folder| fs::write(folder.join("aa.csv"), rows(7..9)).unwrap()),
        ("there were 2 files", |folder| fs::remove_file(folder.join("b.csv")).unwrap()),
    ];
    for (message, change) in changes {
        match resumed(&two_files(), change) {
            Err(RunError::Source(error)) => {
                assert_eq!(error.kind(), SourceErrorKind::Changed);
                assert!(error.to_string().contains(message) && error.to_string().contains("`fresh`"), "{error}");
            }
            other => panic!("{message}: {other:?}"),
        }
    }
}

#[test]
fn a_file_that_changed_right_before_the_cursor_is_refused() {
    // So long that the change lies beyond the head.
    let long: Vec<_> = (0..2_000).map(|id| format!("{id:08}\n")).collect();
    let text = format!("id\n{}", long.concat());
    let folder = TempDir::new().unwrap();
    let path = write(&folder, "rows.csv", &text);
    let source = Csv::<Row>::file(&path);
    run(async {
        let chunks = read_range(&source, &Range::all(), 1_500).await.unwrap();
        let from = serde_json::from_value(chunks[0].1.clone()).unwrap();
        fs::write(&path, text.replace("00001499", "00009499")).unwrap();
        let error = read_range(&source, &Range { from: Some(from), to: None }, 10).await.unwrap_err();
        assert_eq!(error.kind(), SourceErrorKind::Changed);
        assert!(error.to_string().contains("is not what it was before byte 13503"), "{error}");
    });
}

#[test]
fn json_lines_are_read_and_a_line_that_is_none_is_refused_alone() {
    let folder = TempDir::new().unwrap();
    let path = write(&folder, "rows.jsonl", "{\"id\":1}\n\nnothing\n{\"id\":2}\r\n{\"id\":3}");
    let rows = run(async { check_source(&JsonLines::<Row>::file(path)).await });
    assert_eq!(rows.len(), 4);
    assert!(rows[1].is_err());
    assert_eq!(rows[3], Ok(Row { id: 3 }));
}

#[test]
fn a_json_line_that_is_too_large_is_refused_and_the_next_one_is_read() {
    let folder = TempDir::new().unwrap();
    let path = write(&folder, "rows.jsonl", format!("{{\"id\":1}}\n\"{}\"\n{{\"id\":2}}\n", "x".repeat(300_000)));
    let rows = run(async { check_source(&JsonLines::<Row>::file(path).max_record_bytes(1_000)).await });
    assert_eq!(rows.len(), 3);
    assert!(rows[1].as_ref().unwrap_err().contains("larger than `max_record_bytes`"));
}

#[test]
fn an_unterminated_json_line_of_a_followed_file_waits() {
    let folder = TempDir::new().unwrap();
    let path = write(&folder, "rows.jsonl", "{\"id\":1}\n{\"id\":2");
    paused(async || {
        let shelf = Shelf::new();
        let flow = Pipeline::named("followed").read(JsonLines::<Row>::file(&path).follow(true)).map(|row| row.id);
        let handle = flow.write(shelf.clone()).start().unwrap();
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        assert_eq!(shelf.stored(), [1]);
        File::options().append(true).open(&path).unwrap().write_all(b"2}\n").unwrap();
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        assert_eq!(shelf.stored(), [1, 22]);
        handle.stop().await.unwrap();
        assert_eq!(handle.report().await.unwrap().ended, Ended::Stopped);
    });
}

/// One file in memory that comes in small pieces, each after a while.
#[derive(Debug, Clone)]
struct Pieces {
    bytes: Vec<u8>,
    size: usize,
}

impl TextFiles for Pieces {
    type File = &'static str;
    type Blocks = Pieces;

    fn describe(&self) -> String {
        "pieces".to_owned()
    }

    async fn list(&self) -> Result<Vec<&'static str>, SourceError> {
        Ok(vec!["pieces"])
    }

    async fn identity(&self) -> Result<Identity, SourceError> {
        Ok(self.bytes.len().into())
    }

    async fn verify(&self, _checkpoint: &Identity) -> Result<(), SourceError> {
        Ok(())
    }

    async fn size(&self) -> Option<Size> {
        None
    }

    async fn open(&self, _file: &&'static str, byte: u64) -> Result<Pieces, SourceError> {
        let passed = usize::try_from(byte).unwrap().min(self.bytes.len());
        Ok(Pieces { bytes: self.bytes[passed..].to_vec(), size: self.size })
    }
}

impl Blocks for Pieces {
    async fn read(&mut self, into: &mut Vec<u8>) -> Result<(), SourceError> {
        tokio::task::yield_now().await;
        into.extend(self.bytes.drain(..self.size.min(self.bytes.len())));
        Ok(())
    }
}

/// The same text as it is, with a byte order mark, in UTF-16, and compressed.
fn forms(text: &str) -> Vec<Vec<u8>> {
    let utf16 = format!("\u{feff}{text}").encode_utf16().flat_map(u16::to_le_bytes).collect();
    let mut members = gzip(&text[..text.len() / 2]);
    members.extend(gzip(&text[text.len() / 2..]));
    let zstd = zstd::encode_all(text.as_bytes(), 1).unwrap();
    vec![text.as_bytes().to_vec(), format!("\u{feff}{text}").into_bytes(), utf16, members, zstd]
}

#[test]
fn records_are_the_same_wherever_the_blocks_of_a_file_end() {
    let rows: Vec<_> = (0..12).map(|id| format!("{id},\"two\r\nlines\"\r\n")).collect();
    let csv = format!("id,text\n{}", rows.concat());
    let json: Vec<_> = (0..12).map(|id| format!("{{\"id\":{id}}}\n")).collect();
    let json = json.concat();
    run(async {
        let expected: Vec<_> = (0..12).map(|id| Ok(Row { id })).collect();
        for size in [1, 3, 64] {
            for bytes in forms(&csv) {
                assert_eq!(check_source(&Csv::<Row, _>::from_files(Pieces { bytes, size })).await, expected);
            }
            for bytes in forms(&json) {
                assert_eq!(check_source(&JsonLines::<Row, _>::from_files(Pieces { bytes, size })).await, expected);
            }
        }
    });
}

#[test]
fn a_compressed_file_whose_last_blocks_are_missing_is_an_error_and_not_an_end() {
    let text = rows(0..5_000);
    run(async {
        for bytes in [gzip(&text), zstd::encode_all(text.as_bytes(), 1).unwrap()] {
            let bytes = bytes[..bytes.len() - 9].to_vec();
            let source = Csv::<Row, _>::from_files(Pieces { bytes, size: 100 });
            let error = read_range(&source, &Range::all(), 100).await.unwrap_err();
            assert_eq!(error.kind(), SourceErrorKind::Corrupt, "{error}");
        }
    });
}

#[test]
fn sources_one_after_the_other_are_read_and_resumed_and_cut_as_one() {
    let folder = TempDir::new().unwrap();
    let files = [("a.jsonl", 0..7), ("b.jsonl", 0..0), ("c.jsonl", 7..20)].map(|(name, ids)| {
        let lines: Vec<_> = ids.map(|id: u64| format!("{{\"id\":{id}}}\n")).collect();
        JsonLines::<Row>::file(write(&folder, name, lines.concat()))
    });
    let rows = run(async { check_source(&concat(files.clone())).await });
    assert_eq!(rows.into_iter().map(|row| row.unwrap().id).collect::<Vec<_>>(), (0..20).collect::<Vec<_>>());
    let none = run(async { concat::<JsonLines<Row>>([]).identity().await.unwrap_err() });
    assert!(none.to_string().contains("no source"));
}

#[test]
fn streams_that_are_read_once_are_read_one_after_the_other_in_each_run() {
    run(async {
        let stored = Shelf::new();
        let store = MemoryStore::default();
        for _ in 0..2 {
            let streams =
                [1, 2].map(|first| from_stream("numbers", move || stream::iter([first, first * 10])).once(true));
            let (store, flow) = (store.clone(), Pipeline::named("streams").read(concat(streams)));
            flow.write(stored.clone()).checkpoint_store(move || Box::new(store.clone())).run().await.unwrap();
        }
        assert_eq!(stored.stored(), [1, 10, 2, 20, 1, 10, 2, 20]);
    });
}

async fn copy<S: Source<Record = Row>>(source: S, store: &MemoryStore, shelf: &Shelf<Row>) -> Result<Report, RunError> {
    let store = store.clone();
    let pipeline = Pipeline::named("added").read(source).write(shelf.clone());
    pipeline.checkpoint_store(move || Box::new(store.clone())).run().await
}

#[test]
fn files_and_sources_may_be_added_behind_those_of_a_checkpoint_and_none_may_go() {
    paused(async || {
        let folder = TempDir::new().unwrap();
        let paths = [("a.jsonl", 0..7), ("b.jsonl", 7..9), ("c.jsonl", 9..20)].map(|(name, ids)| {
            let lines: Vec<_> = ids.map(|id: u64| format!("{{\"id\":{id}}}\n")).collect();
            write(&folder, name, lines.concat())
        });
        let (store, shelf) = (MemoryStore::default(), Shelf::new());
        for (files, read) in [(2, 9), (3, 11)] {
            let source = JsonLines::<Row>::files(&paths[..files]);
            assert_eq!(copy(source, &store, &shelf).await.unwrap().read, read);
        }
        let fewer = copy(JsonLines::<Row>::files(&paths[..2]), &store, &shelf).await.unwrap_err();
        assert!(fewer.to_string().contains("there were 3 files, and now there are 2"), "{fewer}");

        let (store, again) = (MemoryStore::default(), Shelf::new());
        let sources = |count: usize| concat(paths[..count].iter().map(JsonLines::<Row>::file).collect::<Vec<_>>());
        for (count, read) in [(2, 9), (3, 11)] {
            assert_eq!(copy(sources(count), &store, &again).await.unwrap().read, read);
        }
        assert!(copy(sources(2), &store, &again).await.is_err());
        let all: Vec<_> = (0..20).map(|id| Row { id }).collect();
        assert_eq!((shelf.stored(), again.stored()), (all.clone(), all));
    });
}
