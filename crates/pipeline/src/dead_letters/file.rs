//! Dead letters as lines of JSON in a file.

use std::{
    collections::HashSet,
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use super::{DeadRecord, letters};
use crate::record::Position;

/// Appends letters.
#[derive(Debug)]
pub(super) struct LetterFile {
    path: PathBuf,
    file: BufWriter<File>,
    /// What earlier attempts of this run have written beyond their checkpoint.
    known: HashSet<(Position, String)>,
    /// Why letters are missing in it.
    error: Option<io::Error>,
}

impl LetterFile {
    /// A run that starts anew keeps the letters of earlier ones beside it, under a name with the time. One that goes on will read only the
    /// records that `is_settled` denies once more.
    pub(super) fn open(path: &Path, goes_on: bool, is_settled: impl Fn(Position) -> bool) -> io::Result<Self> {
        if !goes_on && fs::metadata(path).is_ok_and(|file| file.len() > 0) {
            fs::rename(path, earlier(path))?;
        }
        let known = if goes_on { known(path, is_settled)? } else { HashSet::new() };
        let mut file = OpenOptions::new().create(true).append(true).open(path)?;
        if !ends_with_newline(path)? {
            // A letter that was torn by a kill becomes a line of its own.
            file.write_all(b"\n")?;
        }
        Ok(Self { path: path.to_owned(), file: BufWriter::new(file), known, error: None })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Adds a letter, unless an earlier attempt has written it. An error is told by the next [`flush`](Self::flush).
    pub(super) fn push(&mut self, letter: &DeadRecord) {
        if self.known.contains(&(letter.position, letter.by.clone())) {
            return;
        }
        if let Err(error) = self.write(letter) {
            self.error.get_or_insert(error);
        }
    }

    fn write(&mut self, letter: &DeadRecord) -> io::Result<()> {
        let mut line = serde_json::to_vec(letter)?;
        line.push(b'\n');
        self.file.write_all(&line)
    }

    /// Hands all letters to the system. They are durable once the file that this returns is synced. After an error it fails for good.
    pub(super) fn flush(&mut self) -> io::Result<File> {
        if let Some(error) = &self.error {
            return Err(copy(error));
        }
        self.file
            .flush()
            .and_then(|()| self.file.get_ref().try_clone())
            .inspect_err(|error| self.error = Some(copy(error)))
    }

    /// Letters are missing in it.
    pub(super) fn fail(&mut self, error: &io::Error) {
        self.error.get_or_insert(copy(error));
    }
}

fn copy(error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), error.to_string())
}

fn known(path: &Path, is_settled: impl Fn(Position) -> bool) -> io::Result<HashSet<(Position, String)>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(HashSet::new()),
        Err(error) => return Err(error),
    };
    let open = |letter: &io::Result<DeadRecord>| letter.as_ref().map_or(true, |letter| !is_settled(letter.position));
    letters(file).filter(open).map(|letter| letter.map(|letter| (letter.position, letter.by))).collect()
}

fn ends_with_newline(path: &Path) -> io::Result<bool> {
    use std::io::{Read, Seek, SeekFrom};
    let mut file = File::open(path)?;
    if file.seek(SeekFrom::End(0))? == 0 {
        return Ok(true);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

fn earlier(path: &Path) -> PathBuf {
    let millis = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_millis());
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{millis}"));
    PathBuf::from(name)
}
