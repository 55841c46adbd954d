//! Dead letters as JSON lines in a file, and back.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write},
    marker::PhantomData,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use fs4::FileExt;
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
    /// The number of its last attempt; 0 if it was never sent.
    pub attempts: u32,
    /// When the first job of its batch was accepted, in milliseconds since 1970.
    pub accepted_at: u64,
    /// When it failed, in milliseconds since 1970.
    pub failed_at: u64,
}

/// What was read from a [`DeadLetterFile`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeadRecords<J> {
    /// The letters, in the order in which they were written.
    pub records: Vec<DeadRecord<J>>,
    /// The lines that are no dead letters, by their number from 1, and why: a line that was torn by a kill or a full disk, for
    /// instance.
    pub bad_lines: Vec<(usize, String)>,
}

impl<J> IntoIterator for DeadRecords<J> {
    type Item = DeadRecord<J>;
    type IntoIter = std::vec::IntoIter<DeadRecord<J>>;

    fn into_iter(self) -> Self::IntoIter {
        self.records.into_iter()
    }
}

/// Appends each dead letter to a file as one line of JSON (feature `dead-letters`).
///
/// Each line is appended under the file's lock and not synced: it survives the process, not the machine. Several writers, also of
/// several processes, may share a file. Nothing that is in the file is ever cut away: a line that was torn by a kill stays as one bad
/// line, which [`read`](Self::read) names and skips. A letter that cannot be written, or could not be read back (JSON has no `NaN`), is
/// lost, counted in [`Stats::lost_dead_letters`](crate::Stats::lost_dead_letters), and logged as an error.
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
/// let letters = DeadLetterFile::<Insert>::read(&path)?;
/// assert!(letters.bad_lines.is_empty());
/// for record in letters {
///     assert_eq!((record.job.0, record.attempts), (7, 1));
/// }
/// # std::io::Result::Ok(())
/// # }).unwrap();
/// ```
#[derive(Debug)]
pub struct DeadLetterFile<J> {
    file: File,
    path: PathBuf,
    jobs: PhantomData<fn(J)>,
}

impl<J> DeadLetterFile<J> {
    /// How every line begins.
    const BEGIN: &'static [u8] = br#"{"job":"#;

    /// Opens the file to append to it, or creates it.
    ///
    /// # Errors
    ///
    /// What the file system says; [`io::ErrorKind::InvalidData`] for a file that holds something else, which is left untouched.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref().to_owned();
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(&path)?;
        check_begin(&mut file, Self::BEGIN).map_err(|error| named(&error, &path))?;
        Ok(Self { file, path, jobs: PhantomData })
    }

    /// Reads every letter of the file, past lines that are none.
    ///
    /// # Errors
    ///
    /// What the file system says; [`io::ErrorKind::InvalidData`] for a file that holds something else.
    pub fn read(path: impl AsRef<Path>) -> io::Result<DeadRecords<J>>
    where
        J: DeserializeOwned,
    {
        let path = path.as_ref();
        let mut file = File::open(path)?;
        check_begin(&mut file, Self::BEGIN).map_err(|error| named(&error, path))?;
        file.rewind()?;
        let (mut records, mut bad_lines) = (Vec::new(), Vec::new());
        for (number, line) in BufReader::new(file).split(b'\n').enumerate() {
            match serde_json::from_slice(&line?) {
                Ok(record) => records.push(record),
                Err(error) => bad_lines.push((number + 1, error.to_string())),
            }
        }
        Ok(DeadRecords { records, bad_lines })
    }

    /// Appends a line under the file's lock. What another writer left torn becomes a line of its own.
    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        FileExt::lock(&self.file)?;
        let appended = self.append_locked(line);
        FileExt::unlock(&self.file)?;
        appended
    }

    fn append_locked(&mut self, line: &[u8]) -> io::Result<()> {
        let end = self.file.seek(SeekFrom::End(0))?;
        if end > 0 && last_byte(&mut self.file)? != b'\n' {
            self.file.write_all(b"\n")?;
        }
        let begin = self.file.seek(SeekFrom::End(0))?;
        let written = self.file.write_all(line);
        if written.is_err() {
            // It is our own line that is torn, and the lock is ours.
            self.file.set_len(begin)?;
        }
        written
    }
}

/// Whether the file is empty or begins like this, as far as it goes.
fn check_begin(file: &mut File, begin: &[u8]) -> io::Result<()> {
    let mut found = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    Read::by_ref(file).take(begin.len() as u64).read_to_end(&mut found)?;
    if begin.starts_with(&found) {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, "it holds something else than dead letters, and was left untouched"))
}

fn named(error: &io::Error, path: &Path) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

fn last_byte(file: &mut File) -> io::Result<u8> {
    let mut byte = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut byte)?;
    Ok(byte[0])
}

impl<J: Job + Serialize + DeserializeOwned> DeadLetters<J> for DeadLetterFile<J> {
    fn push(&mut self, letter: DeadLetter<J>) -> io::Result<()> {
        let record = DeadRecord {
            job: &letter.job,
            error: letter.error.to_string(),
            attempts: letter.attempts,
            accepted_at: millis(letter.accepted_at),
            failed_at: millis(letter.failed_at),
        };
        let line = serde_json::to_vec(&record).map_err(io::Error::from).and_then(|mut line| {
            serde_json::from_slice::<DeadRecord<J>>(&line)?;
            line.push(b'\n');
            Ok(line)
        });
        let written = line.and_then(|line| self.append(&line));
        if let Err(error) = &written {
            error!(path = %self.path.display(), %error, "a dead letter could not be written");
        }
        written
    }
}

fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        sync::{
            Arc,
            atomic::{AtomicBool, Ordering},
        },
        thread,
    };

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
    fn what_is_written_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dead.jsonl");
        let mut file = DeadLetterFile::open(&path).unwrap();
        (0..3).for_each(|number| file.push(letter(number)).unwrap());
        let records = DeadLetterFile::<Insert>::read(&path).unwrap().records;
        assert_eq!(records.len(), 3);
        assert_eq!((&records[2].job, records[2].attempts, records[2].failed_at), (&Insert(2), 2, 2));
        assert_eq!(records[2].error, "the processor failed: full\nof lines");
    }

    #[test]
    fn a_torn_line_is_one_bad_line_and_spoils_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dead.jsonl");
        let mut file = DeadLetterFile::open(&path).unwrap();
        (0..3).for_each(|number| file.push(letter(number)).unwrap());
        let whole = fs::read(&path).unwrap();
        for torn in [2, 30] {
            fs::write(&path, &whole[..whole.len() - torn]).unwrap();
            DeadLetterFile::open(&path).unwrap().push(letter(1000)).unwrap();
            let letters = DeadLetterFile::<Insert>::read(&path).unwrap();
            assert_eq!(letters.bad_lines.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [3]);
            assert_eq!(letters.into_iter().map(|record| record.job.0).collect::<Vec<_>>(), [0, 1, 1000]);
        }
    }

    #[test]
    fn an_open_never_cuts_what_another_writer_is_writing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dead.jsonl");
        let (stop, shared_path) = (Arc::new(AtomicBool::new(false)), path.clone());
        let stopped = Arc::clone(&stop);
        let opener = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                drop(DeadLetterFile::<Insert>::open(&shared_path).unwrap());
            }
        });
        let mut file = DeadLetterFile::open(&path).unwrap();
        (0..3_000).for_each(|number| file.push(letter(number)).unwrap());
        stop.store(true, Ordering::Relaxed);
        opener.join().unwrap();
        assert_eq!(numbers(&path).len(), 3_000);
    }

    #[test]
    fn writers_on_several_threads_lose_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dead.jsonl");
        let writers = [0, 1].map(|first| {
            let mut file = DeadLetterFile::open(&path).unwrap();
            thread::spawn(move || (0..1_000).for_each(|number| file.push(letter(first + 2 * number)).unwrap()))
        });
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        let mut numbers = numbers(&path);
        numbers.sort_unstable();
        assert_eq!(numbers, (0..2_000).collect::<Vec<_>>());
    }

    #[test]
    fn a_file_of_another_kind_is_refused_and_left_untouched() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        for content in ["{\"port\": 80}", "{\"port\": 80}\n", "no newline", "\n"] {
            fs::write(&path, content).unwrap();
            let error = DeadLetterFile::<Insert>::open(&path).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
            assert!(error.to_string().contains("config.json: it holds something else"), "{error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
        }
    }

    #[test]
    fn a_job_that_could_not_be_read_back_is_not_written() {
        #[derive(Debug, Serialize, Deserialize)]
        struct Measure(f64);
        impl Job for Measure {
            type Output = ();
            type Error = String;
        }
        let folder = tempfile::tempdir().unwrap();
        let mut file = DeadLetterFile::open(folder.path().join("dead.jsonl")).unwrap();
        let letter = |job| DeadLetter {
            job,
            error: JobError::Lost,
            attempts: 1,
            accepted_at: UNIX_EPOCH,
            failed_at: UNIX_EPOCH,
        };
        assert!(file.push(letter(Measure(f64::NAN))).is_err());
        file.push(letter(Measure(1.5))).unwrap();
        assert_eq!(DeadLetterFile::<Measure>::read(folder.path().join("dead.jsonl")).unwrap().records.len(), 1);
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
            file.push(letter(1)).unwrap();
            let _ = file.push(DeadLetter { error: JobError::Failed(Arc::new("long".repeat(10_000))), ..letter(2) });
            return file.push(letter(3)).unwrap();
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
            files[number % 2].push(letter(number as u64)).unwrap();
        }
        assert_eq!(numbers(&path), [0, 1, 2, 3]);
    }
}
