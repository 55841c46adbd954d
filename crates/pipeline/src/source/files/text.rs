//! The text of a file, buffered, with positions that count every byte and every line.

use super::{
    Blocks, TextCursor, TextFiles, changed,
    decode::{Decoded, Decoder, decode},
};
use crate::{file_name::FileName, record::Origin, source::SourceError};

/// Once so many bytes of the buffer have been passed, they make room.
const PASSED: usize = 64 * 1024;
/// Bytes before a cursor that its checksum covers.
const BEFORE: usize = 256;

/// Whether there was more to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::source) enum Fill {
    More,
    End,
}

/// One file that is being read.
pub(in crate::source) struct Text<B> {
    shown: String,
    name: FileName,
    /// Its number in the list.
    file: u32,
    blocks: B,
    decoder: Option<Decoder>,
    buffer: Vec<u8>,
    /// Where the unread part of the buffer begins.
    start: usize,
    /// The position of `start` in the text.
    byte: u64,
    line: u64,
    /// Bytes of a byte order mark that are not part of the text.
    mark: u64,
}

impl<B: Blocks> Text<B> {
    /// Opens a file at its beginning.
    pub(in crate::source) async fn open<F: TextFiles<Blocks = B>>(
        files: &F,
        path: &F::File,
        file: u32,
    ) -> Result<Self, SourceError> {
        let shown = path.to_string();
        let mut blocks = files.open(path, 0).await?;
        let Decoded { begin: buffer, decoder, mark } = decode(&mut blocks, &shown).await?;
        let name = FileName::new(&shown);
        Ok(Self { shown, name, file, blocks, decoder, buffer, start: 0, byte: 0, line: 1, mark })
    }

    /// Opens a file behind a cursor, and checks that the text before it is the one that was read.
    pub(in crate::source) async fn open_at<F: TextFiles<Blocks = B>>(
        files: &F,
        path: &F::File,
        cursor: &TextCursor,
    ) -> Result<Self, SourceError> {
        let text = Self::open(files, path, cursor.file).await?;
        text.go_to(files, path, cursor).await
    }

    /// Goes on behind a cursor, which lies further on in the same file.
    pub(in crate::source) async fn go_to<F: TextFiles<Blocks = B>>(
        mut self,
        files: &F,
        path: &F::File,
        cursor: &TextCursor,
    ) -> Result<Self, SourceError> {
        let from = cursor.byte.saturating_sub(BEFORE as u64).max(self.byte);
        self.skip_to(files, path, from).await?;
        while self.ahead() < cursor.byte {
            if self.fill().await? == Fill::End {
                break;
            }
        }
        if self.ahead() < cursor.byte {
            return Err(changed(&format!("{} is shorter than it was", self.shown)));
        }
        let passed = usize::try_from(cursor.byte - from).unwrap_or(BEFORE);
        self.pass(passed, 0);
        if self.before() != cursor.before {
            let what = format!("{} is not what it was before byte {}", self.shown, cursor.byte);
            return Err(changed(&what));
        }
        self.line = cursor.line;
        Ok(self)
    }

    /// Goes to a byte of the text, without counting lines. What is in the buffer already needs no other block.
    async fn skip_to<F: TextFiles<Blocks = B>>(
        &mut self,
        files: &F,
        path: &F::File,
        byte: u64,
    ) -> Result<(), SourceError> {
        if self.decoder.is_none() && self.ahead() < byte {
            self.blocks = files.open(path, self.mark + byte).await?;
            (self.buffer, self.start, self.byte) = (Vec::new(), 0, byte);
            return Ok(());
        }
        while self.ahead() < byte {
            self.pass(self.unread().len(), 0);
            if self.fill().await? == Fill::End {
                return Err(changed(&format!("{} is shorter than it was", self.shown)));
            }
        }
        self.pass(usize::try_from(byte.saturating_sub(self.byte)).unwrap_or(0), 0);
        Ok(())
    }

    /// How far the buffer goes in the text.
    fn ahead(&self) -> u64 {
        self.byte + self.unread().len() as u64
    }

    /// Reads more into the buffer.
    pub(in crate::source) async fn fill(&mut self) -> Result<Fill, SourceError> {
        if self.start > PASSED {
            let kept = self.start - BEFORE;
            self.buffer.drain(..kept);
            self.start = BEFORE;
        }
        let before = self.buffer.len();
        match &mut self.decoder {
            Some(decoder) => {
                decoder.read(&mut self.blocks, &mut self.buffer, &self.shown).await?;
            }
            None => self.blocks.read(&mut self.buffer).await?,
        }
        Ok(if self.buffer.len() > before { Fill::More } else { Fill::End })
    }

    /// Whether the file has become shorter than what was read of it.
    pub(in crate::source) fn was_truncated(&self) -> bool {
        self.decoder.is_none() && self.blocks.was_cut()
    }
}

impl<B> Text<B> {
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
        TextCursor { file: self.file, byte: self.byte, line: self.line, before: self.before() }
    }

    /// The checksum of the bytes before the unread ones.
    fn before(&self) -> u32 {
        let before = &self.buffer[self.start.saturating_sub(BEFORE)..self.start];
        let covered = usize::try_from(self.byte).map_or(BEFORE, |byte| byte.min(BEFORE));
        crc32fast::hash(&before[before.len().saturating_sub(covered)..])
    }

    /// Where the next record begins, for people.
    #[inline]
    pub(in crate::source) fn origin(&self) -> Origin {
        Origin::File { file: self.name, line: self.line, byte: self.byte }
    }

    /// The file, for people.
    #[cfg(feature = "csv")]
    pub(in crate::source) fn shown(&self) -> &str {
        &self.shown
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
        self.decoder.is_none()
    }
}
