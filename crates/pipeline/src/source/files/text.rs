//! The text of a file, buffered, with positions that count every byte and every line.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use super::{
    TextCursor, changed,
    decode::{corrupt, decode},
    failed,
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
        Ok(Self { path, name, file, rest, buffer, start: 0, byte: 0, line: 1, mark, is_plain })
    }

    /// Opens a file behind a cursor, and checks that the text before it is the one that was read.
    pub(in crate::source) fn open_at(path: &Path, cursor: &TextCursor) -> Result<Self, SourceError> {
        let mut text = Self::open(path, cursor.file)?;
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

    /// Goes to a byte of the text, without counting lines.
    fn skip_to(&mut self, byte: u64) -> Result<(), SourceError> {
        let skipped = if self.is_plain {
            let length = self.path.metadata().map_err(|error| failed(&self.path, error))?.len();
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
        let before = self.buffer.len();
        self.buffer.resize(before + READ, 0);
        let read = loop {
            match self.rest.read(&mut self.buffer[before..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        self.buffer.truncate(before + *read.as_ref().unwrap_or(&0));
        match read.map_err(|error| corrupt(&self.path, error))? {
            0 => Ok(Fill::End),
            _ => Ok(Fill::More),
        }
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
        TextCursor { file: self.file, byte: self.byte, line: self.line, before: crc32fast::hash(before) }
    }

    /// Where the next record begins, for people.
    #[inline]
    pub(in crate::source) fn origin(&self) -> Origin {
        Origin::File { file: self.name, line: self.line, byte: self.byte }
    }

    #[cfg(feature = "csv")]
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
        self.is_plain && self.path.metadata().is_ok_and(|now| now.len() < self.mark + self.byte)
    }
}
