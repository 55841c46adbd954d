//! The text of a file, buffered, with positions that count every byte and every line.

use std::time::SystemTime;

use super::{
    Blocks, TextCursor, TextFiles, changed,
    decode::{Decoded, Decoder, decode},
};
use crate::{file_name::FileName, record::Origin, source::SourceError};

/// Once so many bytes of the buffer have been passed, they make room.
const PASSED: usize = 64 * 1024;
/// Bytes before a cursor that its checksum covers.
const BEFORE: usize = 256;
/// Bytes at the beginning of a followed file by which it is found again.
const HEAD: usize = 4096;

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
    followed: Option<Followed>,
}

/// What is known of a file that is followed.
struct Followed {
    /// How the text begins.
    head: Vec<u8>,
    /// Nothing more will be written to it.
    is_complete: bool,
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
        Ok(Self { shown, name, file, blocks, decoder, buffer, start: 0, byte: 0, line: 1, mark, followed: None })
    }

    /// Opens a file behind a cursor, and checks that the text before it is the one that was read.
    #[cfg(feature = "csv")]
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
        // Before anything is passed over, so that the next cursor can say how the file begins.
        self.read_head(covered_head(cursor.byte)).await?;
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
        let (before, at) = (self.buffer.len(), self.ahead());
        match &mut self.decoder {
            Some(decoder) => {
                decoder.read(&mut self.blocks, &mut self.buffer, &self.shown).await?;
            }
            None => self.blocks.read(&mut self.buffer).await?,
        }
        if let Some(followed) = &mut self.followed {
            keep_head(&mut followed.head, at, &self.buffer[before..]);
        }
        Ok(if self.buffer.len() > before { Fill::More } else { Fill::End })
    }

    /// Whether a followed file is the one of a cursor, as far as its beginning tells.
    pub(in crate::source) async fn begins_as(&mut self, cursor: &TextCursor) -> Result<bool, SourceError> {
        let covered = covered_head(cursor.byte);
        self.read_head(covered).await?;
        let begins_so = |head| self.head().get(..covered).map(crc32fast::hash) == Some(head);
        Ok(cursor.head.is_none_or(begins_so))
    }

    /// Reads a followed file until this much of its beginning is known, or all of it.
    async fn read_head(&mut self, bytes: usize) -> Result<(), SourceError> {
        while self.followed.is_some() && self.head().len() < bytes {
            if self.fill().await? == Fill::End {
                break;
            }
        }
        Ok(())
    }

    /// Whether the file still has the name by which it was opened.
    pub(in crate::source) fn has_its_name(&self) -> bool {
        self.blocks.has_its_name()
    }

    /// When the file was written to last.
    pub(in crate::source) fn modified(&self) -> Option<SystemTime> {
        self.blocks.modified()
    }

    /// Whether the file has become shorter than what was read of it.
    pub(in crate::source) fn was_truncated(&self) -> bool {
        self.decoder.is_none() && self.blocks.was_cut()
    }
}

impl<B> Text<B> {
    /// The file may grow and get another name. It is at its beginning.
    pub(in crate::source) fn followed(mut self) -> Self {
        let mut head = Vec::new();
        keep_head(&mut head, 0, &self.buffer);
        self.followed = Some(Followed { head, is_complete: false });
        self
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
        let head = self.followed.as_ref().and_then(|followed| followed.head.get(..covered_head(self.byte)));
        let head = head.map(crc32fast::hash);
        TextCursor { file: self.file, byte: self.byte, line: self.line, before: self.before(), head }
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
