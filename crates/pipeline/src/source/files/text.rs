//! The text of a file, buffered, with positions that count every byte and every line.

use std::{
    fs::{File, Metadata},
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    time::SystemTime,
};

use same_file::Handle;

use super::{
    HEAD, TextCursor, changed,
    decode::{corrupt, decode},
    failed,
    sequence::leads_to,
};
use crate::{file_name::FileName, record::Origin, source::SourceError};

/// Bytes that are read at once.
const READ: usize = 64 * 1024;
/// Bytes before a cursor that its checksum covers.
const BEFORE: usize = 256;

/// Whether there was more to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::source) enum Fill {
    More,
    End,
}

/// One file that is being read.
pub(in crate::source) struct Text {
    path: PathBuf,
    name: FileName,
    /// Its number in the list.
    file: u32,
    rest: Box<dyn Read + Send>,
    buffer: Vec<u8>,
    /// Where the unread part of the buffer begins.
    start: usize,
    /// The position of `start` in the text.
    byte: u64,
    line: u64,
    /// Bytes of a byte order mark that are not part of the text.
    mark: u64,
    is_plain: bool,
    followed: Option<Followed>,
}

/// What is known of a file that is followed.
struct Followed {
    /// The file itself, whatever its name is by now.
    file: Handle,
    /// How the text begins: up to as many bytes as an identity looks at.
    head: Vec<u8>,
    /// Nothing more will be written to it.
    is_complete: bool,
}

impl Text {
    /// Opens a file at its beginning.
    pub(in crate::source) fn open(path: &Path, file: u32) -> Result<Self, SourceError> {
        let decoded = decode(path)?;
        let is_plain = decoded.plain.is_some();
        let (rest, mark) = match decoded.plain {
            Some((mut plain, mark)) => {
                plain.seek(SeekFrom::Start(mark)).map_err(|error| failed(path, error))?;
                (Box::new(plain) as Box<dyn Read + Send>, mark)
            }
            None => (decoded.text, 0),
        };
        let name = FileName::new(&path.display().to_string());
        let (path, buffer) = (path.to_owned(), Vec::new());
        Ok(Self { path, name, file, rest, buffer, start: 0, byte: 0, line: 1, mark, is_plain, followed: None })
    }

    /// Opens a file behind a cursor, and checks that the text before it is the one that was read.
    pub(in crate::source) fn open_at(path: &Path, cursor: &TextCursor) -> Result<Self, SourceError> {
        Self::open(path, cursor.file)?.go_to(cursor)
    }

    /// Goes to a cursor, and checks that the text before it is the one that was read.
    pub(in crate::source) fn go_to(self, cursor: &TextCursor) -> Result<Self, SourceError> {
        let mut text = self.at_its_beginning(covered_head(cursor.byte))?;
        let path = text.path.clone();
        let from = cursor.byte.saturating_sub(BEFORE as u64);
        text.skip_to(from)?;
        while text.byte + (text.buffer.len() - text.start) as u64 <= cursor.byte {
            if text.fill()? == Fill::End {
                break;
            }
        }
        let before = usize::try_from(cursor.byte - from).unwrap_or(BEFORE);
        let found = text.buffer[text.start..].get(..before);
        if found.map(crc32fast::hash) != Some(cursor.before) {
            let what = format!("{} is not what it was before byte {}", path.display(), cursor.byte);
            return Err(changed(&what));
        }
        text.start += before;
        (text.byte, text.line) = (cursor.byte, cursor.line);
        Ok(text)
    }

    /// The same file from its beginning, of which this much is known if it is followed.
    fn at_its_beginning(mut self, known: usize) -> Result<Self, SourceError> {
        while self.followed.is_some() && self.head().len() < known {
            if self.fill()? == Fill::End {
                break;
            }
        }
        if self.byte == 0 && self.buffer.is_empty() {
            return Ok(self);
        }
        let text = Self::open(&self.path, self.file)?;
        Ok(Self { followed: self.followed, ..text })
    }

    /// The file may grow and get another name. It is at its beginning.
    pub(in crate::source) fn followed(mut self) -> Result<Self, SourceError> {
        let file = Handle::from_path(&self.path).map_err(|error| failed(&self.path, error))?;
        self.followed = Some(Followed { file, head: Vec::new(), is_complete: false });
        Ok(self)
    }

    /// Whether a followed file is the one of a cursor, as far as its beginning and its length tell.
    pub(in crate::source) fn begins_as(mut self, cursor: &TextCursor) -> Result<bool, SourceError> {
        let covered = covered_head(cursor.byte);
        while self.head().len() < covered {
            if self.fill()? == Fill::End {
                return Ok(false);
            }
        }
        let is_long_enough = !self.is_plain || self.length()? >= self.mark + cursor.byte;
        let begins_so = |head| head == crc32fast::hash(&self.head()[..covered]);
        Ok(is_long_enough && cursor.head.is_none_or(begins_so))
    }

    fn head(&self) -> &[u8] {
        self.followed.as_ref().map_or(&[], |followed| &followed.head)
    }

    /// Nothing more will be written to it, so what stands behind the last line end is a record.
    pub(in crate::source) fn complete(&mut self) {
        if let Some(followed) = &mut self.followed {
            followed.is_complete = true;
        }
    }

    /// Whether nothing more will be written to it.
    pub(in crate::source) fn is_complete(&self) -> bool {
        self.followed.as_ref().is_none_or(|followed| followed.is_complete)
    }

    /// Whether a path leads to this file.
    pub(in crate::source) fn is_at(&self, path: &Path) -> bool {
        self.followed.as_ref().is_some_and(|followed| leads_to(path, &followed.file))
    }

    /// When the file was written to last.
    pub(in crate::source) fn modified(&self) -> Result<SystemTime, SourceError> {
        self.metadata()?.modified().map_err(|error| failed(&self.path, error))
    }

    fn length(&self) -> Result<u64, SourceError> {
        Ok(self.metadata()?.len())
    }

    /// Of the file itself if it is followed, whatever its name is by now.
    fn metadata(&self) -> Result<Metadata, SourceError> {
        let metadata = match &self.followed {
            Some(followed) => followed.file.as_file().metadata(),
            None => self.path.metadata(),
        };
        metadata.map_err(|error| failed(&self.path, error))
    }

    /// Goes to a byte of the text, without counting lines.
    fn skip_to(&mut self, byte: u64) -> Result<(), SourceError> {
        let skipped = if self.is_plain {
            let length = self.length()?;
            if length >= self.mark + byte {
                let mut file = File::open(&self.path).map_err(|error| failed(&self.path, error))?;
                file.seek(SeekFrom::Start(self.mark + byte)).map_err(|error| failed(&self.path, error))?;
                self.rest = Box::new(file);
                byte
            } else {
                length
            }
        } else {
            io::copy(&mut self.rest.by_ref().take(byte), &mut io::sink()).map_err(|error| corrupt(&self.path, error))?
        };
        if skipped < byte {
            return Err(changed(&format!("{} is shorter than it was", self.path.display())));
        }
        self.byte = byte;
        Ok(())
    }

    /// Reads more into the buffer.
    pub(in crate::source) fn fill(&mut self) -> Result<Fill, SourceError> {
        if self.start > READ {
            let kept = self.start - BEFORE;
            self.buffer.drain(..kept);
            self.start = BEFORE;
        }
        let (before, at) = (self.buffer.len(), self.byte + (self.buffer.len() - self.start) as u64);
        self.buffer.resize(before + READ, 0);
        let read = loop {
            match self.rest.read(&mut self.buffer[before..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        self.buffer.truncate(before + *read.as_ref().unwrap_or(&0));
        let read = read.map_err(|error| corrupt(&self.path, error))?;
        if let Some(followed) = &mut self.followed {
            keep_head(&mut followed.head, at, &self.buffer[before..]);
        }
        Ok(if read == 0 { Fill::End } else { Fill::More })
    }

    /// What has been read into the buffer and not been passed.
    #[inline]
    pub(in crate::source) fn unread(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    /// Passes bytes that hold this many line ends.
    #[inline]
    pub(in crate::source) fn pass(&mut self, bytes: usize, lines: u64) {
        self.start += bytes;
        self.byte += bytes as u64;
        self.line += lines;
    }

    /// Where reading goes on.
    pub(in crate::source) fn cursor(&self) -> TextCursor {
        let before = &self.buffer[self.start.saturating_sub(BEFORE)..self.start];
        let covered = usize::try_from(self.byte).map_or(BEFORE, |byte| byte.min(BEFORE));
        let before = &before[before.len().saturating_sub(covered)..];
        let head = self.followed.as_ref().and_then(|followed| followed.head.get(..covered_head(self.byte)));
        TextCursor {
            file: self.file,
            byte: self.byte,
            line: self.line,
            before: crc32fast::hash(before),
            head: head.map(crc32fast::hash),
        }
    }

    /// Where the next record begins, for people.
    #[inline]
    pub(in crate::source) fn origin(&self) -> Origin {
        Origin::File { file: self.name, line: self.line, byte: self.byte }
    }

    pub(in crate::source) fn path(&self) -> &Path {
        &self.path
    }

    pub(in crate::source) fn file(&self) -> u32 {
        self.file
    }

    pub(in crate::source) fn byte(&self) -> u64 {
        self.byte
    }

    /// Whether the text is the file byte by byte, so that it can be cut into ranges.
    #[cfg(feature = "csv")]
    pub(in crate::source) fn is_plain(&self) -> bool {
        self.is_plain
    }

    /// Whether the file has become shorter than what was read of it.
    pub(in crate::source) fn was_truncated(&self) -> bool {
        self.is_plain && self.length().is_ok_and(|now| now < self.mark + self.byte)
    }
}

/// Adds to the beginning of a text what these bytes hold of it.
fn keep_head(head: &mut Vec<u8>, at: u64, bytes: &[u8]) {
    let known = usize::try_from((head.len() as u64).wrapping_sub(at)).unwrap_or(usize::MAX);
    if let Some(new) = bytes.get(known..) {
        head.extend_from_slice(&new[..new.len().min(HEAD - head.len())]);
    }
}

/// How many bytes of a text's beginning a cursor covers.
fn covered_head(byte: u64) -> usize {
    usize::try_from(byte).map_or(HEAD, |byte| byte.min(HEAD))
}
