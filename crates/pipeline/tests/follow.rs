//! Files that are followed: they grow, are rotated and cut, and each line is read once, also by a run that goes on later.
#![cfg(all(feature = "csv", feature = "compression"))]

use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use actix_batch_pipeline::{
    Range,
    prelude::*,
    source::{Chunk, Csv, JsonLines, Reader, Source, SourceError, SourceErrorKind, TextCursor},
};
use proptest::prelude::*;
use serde::Deserialize;
use tempfile::TempDir;

use support::paused;

mod support;

#[derive(Debug, Clone, PartialEq, Deserialize)]
struct Row {
    id: u64,
}

/// A log in a folder of its own. Each file gets a time of its own, because the clock of a file system is coarse.
struct Log {
    folder: TempDir,
    name: &'static str,
    ticks: u64,
}

impl Log {
    fn new(name: &'static str, text: &str) -> Self {
        let mut log = Self { folder: TempDir::new().unwrap(), name, ticks: 0 };
        log.append(text);
        log
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join(self.name)
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        self.folder.path().join(format!("{}{suffix}", self.name))
    }

    fn append(&mut self, text: &str) {
        let mut file = OpenOptions::new().create(true).append(true).open(self.path()).unwrap();
        file.write_all(text.as_bytes()).unwrap();
        self.date(&file);
    }

    fn date(&mut self, file: &File) {
        self.ticks += 1;
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + self.ticks)).unwrap();
    }

    /// `log.1` becomes `log.2`, the log becomes `log.1`.
    fn rotate(&self) {
        let mut number = 1;
        while self.beside(&format!(".{number}")).exists() {
            number += 1;
        }
        for number in (1..number).rev() {
            fs::rename(self.beside(&format!(".{number}")), self.beside(&format!(".{}", number + 1))).unwrap();
        }
        fs::rename(self.path(), self.beside(".1")).unwrap();
    }

    fn json(&self) -> JsonLines<Row> {
        JsonLines::file(self.path()).follow(true)
    }
}

fn line(id: u64) -> String {
    format!("{{\"id\":{id}}}\n")
}

fn lines(ids: std::ops::Range<u64>) -> String {
    ids.map(line).collect()
}

/// Reads until there is nothing for now: the ids, and where to go on.
async fn drain<R>(reader: &mut R) -> Result<(Vec<u64>, TextCursor), SourceError>
where
    R: Reader<Record = Row, Cursor = TextCursor>,
{
    let mut ids = Vec::new();
    loop {
        let mut chunk = Chunk::new(0, 0);
        reader.read(&mut chunk, 3).await?;
        assert!(chunk.unreadable().is_empty(), "{chunk:?}");
        ids.extend(chunk.records().iter().map(|row| row.id));
        if chunk.is_empty() {
            return Ok((ids, chunk.after().unwrap().clone()));
        }
    }
}

async fn open<S: Source<Cursor = TextCursor>>(source: &S, from: Option<&TextCursor>) -> Result<S::Reader, SourceError> {
    source.open(&Range { from: from.cloned(), to: None }).await
}

#[test]
fn the_rest_of_a_file_that_is_rotated_is_read_before_the_file_that_takes_its_name() {
    paused(async || {
        let mut log = Log::new("log", &lines(0..5));
        let mut reader = open(&log.json(), None).await.unwrap();
        assert_eq!(drain(&mut reader).await.unwrap().0, [0, 1, 2, 3, 4]);
        // The last line has no end, and will never get one.
        log.append("{\"id\":5}");
        assert!(drain(&mut reader).await.unwrap().0.is_empty());
        log.rotate();
        assert_eq!(drain(&mut reader).await.unwrap().0, [5]);
        assert!(drain(&mut reader).await.unwrap().0.is_empty(), "the new file is not there yet");
        log.append(&lines(6..9));
        assert_eq!(drain(&mut reader).await.unwrap().0, [6, 7, 8]);
    });
}

#[test]
fn a_file_that_was_rotated_while_nobody_read_it_is_found_and_read_to_its_end() {
    paused(async || {
        let mut log = Log::new("log", &lines(0..600));
        let (_, cursor) = drain(&mut open(&log.json(), None).await.unwrap()).await.unwrap();
        log.append(&lines(600..602));
        log.rotate();
        log.append(&lines(602..604));
        log.rotate();
        log.append(&lines(604..606));
        fs::write(log.beside(".bak"), lines(900..902)).unwrap();
        let mut reader = open(&log.json(), Some(&cursor)).await.unwrap();
        assert_eq!(drain(&mut reader).await.unwrap().0, [600, 601, 602, 603, 604, 605]);
    });
}

#[test]
fn a_rotated_file_is_found_when_it_was_compressed() {
    paused(async || {
        let mut log = Log::new("log", &lines(0..10));
        let (_, cursor) = drain(&mut open(&log.json(), None).await.unwrap()).await.unwrap();
        log.append(&lines(10..12));
        let mut packed =
            flate2::write::GzEncoder::new(File::create(log.beside(".1.gz")).unwrap(), flate2::Compression::fast());
        packed.write_all(&fs::read(log.path()).unwrap()).unwrap();
        let packed = packed.finish().unwrap();
        log.date(&packed);
        fs::remove_file(log.path()).unwrap();
        log.append(&lines(12..14));
        let mut reader = open(&log.json(), Some(&cursor)).await.unwrap();
        assert_eq!(drain(&mut reader).await.unwrap().0, [10, 11, 12, 13]);
    });
}

#[test]
fn another_file_under_the_name_is_refused_when_the_one_of_the_checkpoint_is_gone() {
    paused(async || {
        let mut log = Log::new("log", &lines(0..10));
        let (_, cursor) = drain(&mut open(&log.json(), None).await.unwrap()).await.unwrap();
        fs::remove_file(log.path()).unwrap();
        log.append(&lines(100..120));
        let error = open(&log.json(), Some(&cursor)).await.unwrap_err();
        assert_eq!(error.kind(), SourceErrorKind::Changed);
        assert!(error.to_string().contains("no rotated file beside it"), "{error}");
    });
}

#[test]
fn a_file_that_becomes_shorter_is_read_from_its_beginning_where_that_is_declared() {
    paused(async || {
        for restart in [false, true] {
            let mut log = Log::new("log", &lines(0..10));
            let source = if restart { log.json().follow_truncated() } else { log.json() };
            let mut reader = open(&source, None).await.unwrap();
            let (_, cursor) = drain(&mut reader).await.unwrap();
            fs::write(log.path(), "").unwrap();
            log.append(&lines(20..22));
            let (now, later) = (drain(&mut reader).await, open(&source, Some(&cursor)).await);
            if restart {
                assert_eq!(now.unwrap().0, [20, 21]);
                assert_eq!(drain(&mut later.unwrap()).await.unwrap().0, [20, 21]);
            } else {
                assert_eq!(now.unwrap_err().kind(), SourceErrorKind::Changed);
                assert_eq!(later.unwrap_err().kind(), SourceErrorKind::Changed);
            }
        }
    });
}

#[test]
fn a_followed_csv_may_be_empty_at_first_and_each_file_has_its_own_header() {
    paused(async || {
        let mut log = Log::new("rows.csv", "");
        let source = Csv::<Row>::file(log.path()).follow(true);
        let mut reader = open(&source, None).await.unwrap();
        assert!(drain(&mut reader).await.unwrap().0.is_empty());
        log.append("name,i");
        assert!(drain(&mut reader).await.unwrap().0.is_empty());
        log.append("d\nx,1\ny,2");
        assert_eq!(drain(&mut reader).await.unwrap().0, [1]);
        log.rotate();
        log.append("id,name\n3,z\n");
        assert_eq!(drain(&mut reader).await.unwrap().0, [2, 3]);
    });
}

#[test]
fn a_followed_record_that_is_too_large_is_rejected_once_it_is_complete() {
    paused(async || {
        let large = |part: &str| format!("7,\"a\nb{}\n{part}", "x".repeat(100));
        let mut log = Log::new("log.csv", &format!("id,text\n1,a\n{}", large("8,")));
        let source = || Csv::<Row>::file(log.folder.path().join("log.csv")).follow(true).max_record_bytes(50);
        let mut reader = source().open(&Range::all()).await.unwrap();
        let (ids, cursor) = drain(&mut reader).await.unwrap();
        assert_eq!(ids, [1], "its beginning is not refused, and its lines are no records");
        let mut again = source().open(&Range { from: Some(cursor), to: None }).await.unwrap();
        assert!(drain(&mut again).await.unwrap().0.is_empty());
        log.append("9\"\n2,b\n");
        for mut reader in [reader, again] {
            let mut chunk = Chunk::new(0, 0);
            reader.read(&mut chunk, 10).await.unwrap();
            let refused: Vec<_> = chunk.unreadable().iter().map(|record| record.position().record).collect();
            assert_eq!((refused, chunk.records()[0].id), (vec![0], 2));
        }
    });
}

#[test]
fn a_preview_and_a_dry_run_of_a_followed_file_see_what_is_there() {
    paused(async || {
        let log = Log::new("log.csv", "id\n1\n2\n3\n");
        let flow = || Pipeline::named("followed").read(Csv::<Row>::file(log.path()).follow(true));
        let sink = || for_each(|_: &Row| {});
        assert_eq!(flow().write(sink()).preview(10).await.unwrap().len(), 3);
        let report = flow().write(sink()).accept_duplicates(true).dry_run(10).await.unwrap();
        assert_eq!((report.read, report.written), (3, 3));
    });
}

#[test]
fn files_that_come_to_match_a_followed_pattern_are_read() {
    paused(async || {
        let folder = TempDir::new().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        write("a.jsonl", "{\"id\":1}\n{\"id\":2}");
        let source = JsonLines::<Row>::glob(folder.path().join("*.jsonl").display().to_string()).follow(true);
        let mut reader = open(&source, None).await.unwrap();
        assert_eq!(drain(&mut reader).await.unwrap().0, [1]);
        write("b.jsonl", "{\"id\":3}\n");
        let (ids, cursor) = drain(&mut reader).await.unwrap();
        assert_eq!(ids, [2, 3], "the file before another one is complete");
        write("c.jsonl", "{\"id\":4}\n");
        assert_eq!(drain(&mut open(&source, Some(&cursor)).await.unwrap()).await.unwrap().0, [4]);
    });
}

/// What happens to a log.
#[derive(Debug, Clone)]
enum Step {
    /// Lines are written, and so many bytes of the next one.
    Write(u64, usize),
    Rotate,
    Read,
    /// The reader ends and another one goes on.
    GoOn,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0_u64..200, 0_usize..20).prop_map(|(lines, torn)| Step::Write(lines, torn)),
        2 => Just(Step::Rotate),
        3 => Just(Step::Read),
        2 => Just(Step::GoOn),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn every_line_of_a_log_is_read_once_and_in_order(steps in prop::collection::vec(step(), 1..25)) {
        paused(async || {
            let mut log = Log::new("log", &line(0));
            let (mut written, mut torn) = (1, String::new());
            let mut reader = open(&log.json(), None).await.unwrap();
            let mut read = Vec::new();
            for step in steps.into_iter().chain([Step::Read]) {
                match step {
                    Step::Write(count, bytes) => {
                        let text = lines(written..written + count) + &line(written + count);
                        let rest = &text[torn.len()..];
                        let end = rest.len() - line(written + count).len().min(rest.len());
                        let end = (end + bytes).min(rest.len() - 1).max(end.min(rest.len() - 1));
                        log.append(&rest[..end]);
                        let all = torn.clone() + &rest[..end];
                        written += all.matches('\n').count() as u64;
                        torn = all[all.rfind('\n').map_or(0, |end| end + 1)..].to_owned();
                    }
                    Step::Rotate => {
                        // A writer ends its line before it lets go of the file.
                        if log.path().exists() {
                            let rest = line(written)[torn.len()..].to_owned();
                            log.append(&rest);
                            (written, torn) = (written + 1, String::new());
                            log.rotate();
                        }
                    }
                    Step::Read => read.extend(drain(&mut reader).await.unwrap().0),
                    Step::GoOn => {
                        let (ids, cursor) = drain(&mut reader).await.unwrap();
                        read.extend(ids);
                        reader = open(&log.json(), Some(&cursor)).await.unwrap();
                    }
                }
            }
            assert_eq!(read, (0..written).collect::<Vec<_>>());
        });
    }
}
