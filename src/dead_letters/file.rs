//! Dead letters as JSON lines in a file, and back.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write},
    marker::PhantomData,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tracing::error;

use super::{DeadLetter, DeadLetters};
use crate::job::Job;

/// One line of a [`DeadLetterFile`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DeadRecord<J> {
    /// The job, as it was submitted.
    pub job: J,
    /// What its caller was told.
    pub error: String,
    /// As which attempt it was sent last; 0 if it never was.
    pub attempts: u32,
    /// When the first job of its batch was accepted, in milliseconds since 1970.
    pub accepted_at: u64,
    /// When it failed, in milliseconds since 1970.
    pub failed_at: u64,
}

/// Appends each dead letter to a file as one line of JSON (feature `dead-letters`).
///
/// Each line is appended with one call and not synced: it survives the process, not the machine. A line that was torn – by a
/// kill, by a disk that was full – is cut off before the next one is written, and is never read as a record. A letter that could
/// not be written is lost, and logged as an error.
///
/// ```
/// use actix_batch::{DeadLetterFile, prelude::*};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Insert(u64);
/// # impl Job for Insert { type Output = (); type Error = String; }
/// # struct Inserts;
/// # impl BatchProcessor for Inserts {
/// #     type Job = Insert;
/// #     async fn process(&mut self, _: &Batch<Insert>) -> Result<Outcomes<Insert>, String> { Err("disk full".to_owned()) }
/// # }
/// # actix_rt::System::new().block_on(async {
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("dead.jsonl");
/// let inserts = Collector::builder(|| Inserts).dead_letters(DeadLetterFile::open(&path)?).start().unwrap();
/// assert!(inserts.submit(Insert(7)).await.is_err());
///
/// // Later, to be submitted again:
/// for record in DeadLetterFile::<Insert>::read(&path)? {
///     assert_eq!((record.job.0, record.attempts), (7, 1));
/// }
/// # std::io::Result::Ok(())
/// # }).unwrap();
/// ```
#[derive(Debug)]
pub struct DeadLetterFile<J> {
    file: File,
    path: PathBuf,
    /// The last line was not written to its end.
    torn: bool,
    jobs: PhantomData<fn(J)>,
}

impl<J> DeadLetterFile<J> {
    /// Opens the file to append to it, or creates it.
    ///
    /// # Errors
    ///
    /// What the file system says.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref().to_owned();
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(&path)?;
        cut_torn_line(&mut file)?;
        Ok(Self { file, path, torn: false, jobs: PhantomData })
    }

    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        if self.torn {
            cut_torn_line(&mut self.file)?;
        }
        self.torn = true;
        self.file.write_all(line)?;
        self.torn = false;
        Ok(())
    }

    /// Reads every whole line of the file.
    ///
    /// # Errors
    ///
    /// What the file system says; [`io::ErrorKind::InvalidData`], with the line's number, for a line that is not such a record.
    pub fn read(path: impl AsRef<Path>) -> io::Result<Vec<DeadRecord<J>>>
    where
        J: DeserializeOwned,
    {
        let (mut lines, mut records) = (BufReader::new(File::open(path)?), Vec::new());
        let mut line = Vec::new();
        while lines.read_until(b'\n', &mut line)? > 0 && line.ends_with(b"\n") {
            let number = records.len() + 1;
            let invalid = |error| io::Error::new(io::ErrorKind::InvalidData, format!("line {number}: {error}"));
            records.push(serde_json::from_slice(&line).map_err(invalid)?);
            line.clear();
        }
        Ok(records)
    }
}

fn cut_torn_line(file: &mut File) -> io::Result<()> {
    let whole = whole_lines(file)?;
    file.set_len(whole)
}

/// Where the last whole line ends.
fn whole_lines(file: &mut File) -> io::Result<u64> {
    let (mut end, mut block) = (file.metadata()?.len(), [0; 4096]);
    while end > 0 {
        let start = end.saturating_sub(block.len() as u64);
        let piece = &mut block[..usize::try_from(end - start).unwrap_or(0)];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(piece)?;
        if let Some(at) = piece.iter().rposition(|byte| *byte == b'\n') {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

impl<J: Job + Serialize> DeadLetters<J> for DeadLetterFile<J> {
    fn push(&mut self, letter: DeadLetter<J>) {
        let record = DeadRecord {
            job: &letter.job,
            error: letter.error.to_string(),
            attempts: letter.attempts,
            accepted_at: millis(letter.accepted_at),
            failed_at: millis(letter.failed_at),
        };
        let written = serde_json::to_vec(&record).map_err(io::Error::from).and_then(|mut line| {
            line.push(b'\n');
            self.append(&line)
        });
        if let Err(error) = written {
            error!(path = %self.path.display(), %error, "a dead letter could not be written");
        }
    }
}

fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::{fs, sync::Arc};

    use super::*;
    use crate::error::JobError;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Insert(u64);

    impl Job for Insert {
        type Output = ();
        type Error = String;
    }

    fn letter(number: u64) -> DeadLetter<Insert> {
        let failed_at = UNIX_EPOCH + Duration::from_millis(number);
        let error = JobError::Failed(Arc::new("full\nof lines".to_owned()));
        DeadLetter { job: Insert(number), error, attempts: 2, accepted_at: UNIX_EPOCH, failed_at }
    }

    fn numbers(path: &Path) -> Vec<u64> {
        DeadLetterFile::<Insert>::read(path).unwrap().into_iter().map(|record| record.job.0).collect()
    }

    #[test]
    fn what_is_buried_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dead.jsonl");
        let mut file = DeadLetterFile::open(&path).unwrap();
        (0..3).for_each(|number| file.push(letter(number)));
        let records = DeadLetterFile::<Insert>::read(&path).unwrap();
        assert_eq!(records.len(), 3);
        assert_eq!((&records[2].job, records[2].attempts, records[2].failed_at), (&Insert(2), 2, 2));
        assert_eq!(records[2].error, "the processor failed: full\nof lines");
    }

    #[test]
    fn a_torn_last_line_is_no_record_and_does_not_spoil_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dead.jsonl");
        let mut file = DeadLetterFile::open(&path).unwrap();
        (0..200).for_each(|number| file.push(letter(number)));
        let whole = fs::read(&path).unwrap();
        for torn in [1, 30, whole.len() - 1] {
            fs::write(&path, &whole[..whole.len() - torn]).unwrap();
            let before = numbers(&path);
            DeadLetterFile::open(&path).unwrap().push(letter(1000));
            assert_eq!(numbers(&path), [before, vec![1000]].concat(), "{torn} bytes torn off");
        }
    }

    /// Runs the test of this name once more, where files have no more than a few KiB.
    #[cfg(unix)]
    fn on_a_small_disk(test: &str, path: &Path) {
        let script = r#"trap "" XFSZ; ulimit -f 8; exec "$@""#;
        let this = std::env::current_exe().unwrap();
        let mut again = std::process::Command::new("sh");
        again.args(["-c", script, "sh"]).arg(this).args(["--exact", test]).env("SMALL_DISK", path);
        let ended = again.output().unwrap();
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stdout));
    }

    #[cfg(unix)]
    #[test]
    fn a_disk_that_is_full_loses_a_letter_and_spoils_no_other() {
        if let Some(path) = std::env::var_os("SMALL_DISK") {
            let mut file = DeadLetterFile::open(&path).unwrap();
            file.push(letter(1));
            file.push(DeadLetter { error: JobError::Failed(Arc::new("long".repeat(10_000))), ..letter(2) });
            return file.push(letter(3));
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dead.jsonl");
        let test = "dead_letters::file::tests::a_disk_that_is_full_loses_a_letter_and_spoils_no_other";
        on_a_small_disk(test, &path);
        assert_eq!(numbers(&path), [1, 3]);
    }

    #[test]
    fn several_writers_of_one_file_do_not_write_over_each_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dead.jsonl");
        let mut files = [(); 2].map(|()| DeadLetterFile::open(&path).unwrap());
        for number in 0..4 {
            files[number % 2].push(letter(number as u64));
        }
        assert_eq!(numbers(&path), [0, 1, 2, 3]);
    }

    #[test]
    fn a_line_that_is_no_record_is_an_error_with_its_number() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dead.jsonl");
        DeadLetterFile::open(&path).unwrap().push(letter(1));
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{}\n").unwrap();
        let error = DeadLetterFile::<Insert>::read(&path).unwrap_err();
        assert!(error.to_string().starts_with("line 2: "), "{error}");
    }
}
