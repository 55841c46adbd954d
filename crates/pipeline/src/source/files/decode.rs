//! From the bytes of a file to text: compression is recognized by its first bytes, UTF-16 by its byte order mark.
//!
//! Bytes come from [`Blocks`], which are awaited, and decoders read, which must not wait. So a decoder reads from a queue of the bytes
//! that have come. An empty queue says `WouldBlock`, which leaves every decoder as it was; then the next block is awaited.

use std::{
    collections::VecDeque,
    io::{self, Read},
    sync::Arc,
};

use parking_lot::Mutex;

use super::Blocks;
use crate::source::SourceError;

/// Bytes that are looked at for NULs.
const PROBE: usize = 1024;
/// Bytes of text that are decoded at once.
const DECODED: usize = 64 * 1024;

/// How a file's text begins, and what decodes the rest.
pub(super) struct Decoded {
    /// The first bytes of the text.
    pub(super) begin: Vec<u8>,
    /// What decodes the rest; `None` if the text is the file byte by byte, so that a reader can begin anywhere.
    pub(super) decoder: Option<Decoder>,
    /// Bytes of a byte order mark that are not part of the text.
    pub(super) mark: u64,
}

/// Makes text of the bytes of a file.
pub(super) struct Decoder {
    text: Box<dyn Read + Send>,
    queue: Queue,
}

/// Bytes that have come and were not decoded yet.
#[derive(Clone, Default)]
struct Queue(Arc<Mutex<Queued>>);

#[derive(Default)]
struct Queued {
    bytes: VecDeque<u8>,
    /// No more will come.
    is_all: bool,
}

/// Looks at how a file begins.
pub(super) async fn decode(blocks: &mut impl Blocks, name: &str) -> Result<Decoded, SourceError> {
    let mut begin = Vec::new();
    while begin.len() < PROBE {
        let before = begin.len();
        blocks.read(&mut begin).await?;
        if begin.len() == before {
            break;
        }
    }
    let Some(mut decoder) = Decoder::decompress(&mut begin, name)? else {
        return transcode(begin, None, name);
    };
    let mut text = Vec::new();
    while text.len() < PROBE && decoder.read(blocks, &mut text, name).await? > 0 {}
    transcode(text, Some(decoder), name)
}

impl Decoder {
    /// What decompresses a file that begins like this, with the beginning in its queue; `None` if the file is not compressed.
    fn decompress(begin: &mut Vec<u8>, name: &str) -> Result<Option<Self>, SourceError> {
        let queue = Queue::default();
        let bytes = Box::new(queue.clone());
        let text = match begin[..] {
            [0x1f, 0x8b, ..] => gzip(bytes, name)?,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => zstandard(bytes, name)?,
            _ => return Ok(None),
        };
        queue.push(begin);
        Ok(Some(Self { text, queue }))
    }

    /// Appends some text, and says how much; none at the end of the file.
    pub(super) async fn read(
        &mut self,
        blocks: &mut impl Blocks,
        into: &mut Vec<u8>,
        name: &str,
    ) -> Result<usize, SourceError> {
        let before = into.len();
        into.resize(before + DECODED, 0);
        let read = loop {
            match self.text.read(&mut into[before..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let mut block = Vec::new();
                    if let Err(error) = blocks.read(&mut block).await {
                        into.truncate(before);
                        return Err(error);
                    }
                    self.queue.push(&mut block);
                }
                read => break read,
            }
        };
        into.truncate(before + *read.as_ref().unwrap_or(&0));
        read.map_err(|error| damaged(name, error))
    }
}

impl Queue {
    /// Adds a block; an empty one is the end.
    fn push(&self, block: &mut Vec<u8>) {
        let mut queued = self.0.lock();
        queued.is_all = block.is_empty();
        queued.bytes.extend(block.drain(..));
    }
}

impl Read for Queue {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let mut queued = self.0.lock();
        if queued.bytes.is_empty() && !queued.is_all {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        queued.bytes.read(out)
    }
}

type Bytes = Box<dyn Read + Send>;

#[cfg(feature = "compression")]
#[expect(clippy::unnecessary_wraps, reason = "without the feature it is an error")]
fn gzip(bytes: Bytes, _name: &str) -> Result<Bytes, SourceError> {
    // All members: files are often joined from several.
    Ok(Box::new(flate2::read::MultiGzDecoder::new(bytes)))
}

#[cfg(feature = "compression")]
fn zstandard(bytes: Bytes, name: &str) -> Result<Bytes, SourceError> {
    Ok(Box::new(zstd::Decoder::new(bytes).map_err(|error| super::failed(name, error))?))
}

#[cfg(not(feature = "compression"))]
fn gzip(_bytes: Bytes, name: &str) -> Result<Bytes, SourceError> {
    Err(no_compression(name, "gzip"))
}

#[cfg(not(feature = "compression"))]
fn zstandard(_bytes: Bytes, name: &str) -> Result<Bytes, SourceError> {
    Err(no_compression(name, "zstd"))
}

#[cfg(not(feature = "compression"))]
fn no_compression(name: &str, what: &str) -> SourceError {
    SourceError::config(format!("{name} is compressed with {what}: enable the feature `compression`"))
}

/// Text in UTF-8 without its byte order mark.
fn transcode(mut begin: Vec<u8>, decoder: Option<Decoder>, name: &str) -> Result<Decoded, SourceError> {
    let (mark, is_utf16) = match &begin[..] {
        [0xef, 0xbb, 0xbf, ..] => (3, false),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => (0, true),
        _ => (0, false),
    };
    if !is_utf16 && memchr::memchr(0, &begin[..begin.len().min(PROBE)]).is_some() {
        return Err(SourceError::corrupt(format!(
            "{name} has NUL bytes and no byte order mark: it is no text in UTF-8. If it is UTF-16, give it a byte order mark"
        )));
    }
    if !is_utf16 {
        begin.drain(..mark);
        return Ok(Decoded { begin, decoder, mark: mark as u64 });
    }
    let Decoder { text: rest, queue } = decoder.unwrap_or_else(|| {
        let queue = Queue::default();
        Decoder { text: Box::new(queue.clone()), queue }
    });
    let text = utf16(Box::new(io::Cursor::new(begin).chain(rest)), name)?;
    Ok(Decoded { begin: Vec::new(), decoder: Some(Decoder { text, queue }), mark: 0 })
}

#[cfg(feature = "csv")]
#[expect(clippy::unnecessary_wraps, reason = "without the feature it is an error")]
fn utf16(bytes: Bytes, _name: &str) -> Result<Bytes, SourceError> {
    Ok(Box::new(Utf16 {
        bytes,
        decoder: encoding_rs::UTF_8.new_decoder(),
        raw: Vec::new(),
        text: Vec::new(),
        at: 0,
        end: false,
    }))
}

#[cfg(not(feature = "csv"))]
fn utf16(_bytes: Bytes, name: &str) -> Result<Bytes, SourceError> {
    Err(SourceError::config(format!("{name} is UTF-16: enable the feature `csv`")))
}

/// Text in UTF-16 as UTF-8. The decoder takes the byte order from the mark.
#[cfg(feature = "csv")]
struct Utf16 {
    bytes: Bytes,
    decoder: encoding_rs::Decoder,
    raw: Vec<u8>,
    text: Vec<u8>,
    at: usize,
    end: bool,
}

#[cfg(feature = "csv")]
impl Read for Utf16 {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.at == self.text.len() && !self.end {
            self.raw.resize(16 * 1024, 0);
            let read = self.bytes.read(&mut self.raw)?;
            self.end = read == 0;
            self.text.resize(self.decoder.max_utf8_buffer_length(read).unwrap_or(64 * 1024), 0);
            let (_, _, written, _) = self.decoder.decode_to_utf8(&self.raw[..read], &mut self.text, self.end);
            self.text.truncate(written);
            self.at = 0;
        }
        let length = out.len().min(self.text.len() - self.at);
        out[..length].copy_from_slice(&self.text[self.at..self.at + length]);
        self.at += length;
        Ok(length)
    }
}

/// A decoder that comes to the end of a file in the middle of its data.
fn damaged(name: &str, error: io::Error) -> SourceError {
    let is_damage =
        matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput)
            || error.to_string().contains("incomplete");
    if is_damage {
        let message = format!("{name} is damaged or was cut off: get it again, complete");
        return SourceError::corrupt(message).caused_by(error);
    }
    super::failed(name, error)
}
