//! From the bytes of a file to text: compression is recognized by its first bytes, UTF-16 by its byte order mark.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use super::{failed, open};
use crate::source::SourceError;

/// Bytes that are looked at for NULs.
const PROBE: usize = 1024;

/// The text of a file, and whether it is the file byte by byte, so that a reader can seek.
pub(super) struct Decoded {
    pub(super) text: Box<dyn Read + Send>,
    /// The file itself, and how many bytes of a byte order mark to leave out; `None` if the text is not the file.
    pub(super) plain: Option<(File, u64)>,
}

/// Opens a file.
pub(super) fn decode(path: &Path) -> Result<Decoded, SourceError> {
    let mut file = open(path)?;
    let mut magic = [0; 4];
    let found = read_full(&mut file, &mut magic).map_err(|error| failed(path, error))?;
    let bytes: Box<dyn Read + Send> = match &magic[..found] {
        [0x1f, 0x8b, ..] => gzip(again(path)?, path)?,
        [0x28, 0xb5, 0x2f, 0xfd] => zstandard(again(path)?, path)?,
        _ => return plain(again(path)?, path),
    };
    let (text, _) = transcode(bytes, path)?;
    Ok(Decoded { text, plain: None })
}

fn again(path: &Path) -> Result<File, SourceError> {
    open(path)
}

fn plain(file: File, path: &Path) -> Result<Decoded, SourceError> {
    let clone = file.try_clone().map_err(|error| failed(path, error))?;
    let (text, mark) = transcode(Box::new(clone), path)?;
    Ok(match mark {
        Some(mark) => Decoded { text: Box::new(io::empty()), plain: Some((file, mark)) },
        None => Decoded { text, plain: None },
    })
}

#[cfg(feature = "compression")]
#[expect(clippy::unnecessary_wraps, reason = "without the feature it is an error")]
fn gzip(file: File, _path: &Path) -> Result<Box<dyn Read + Send>, SourceError> {
    // All members: files are often joined from several.
    Ok(Box::new(flate2::read::MultiGzDecoder::new(io::BufReader::new(file))))
}

#[cfg(feature = "compression")]
fn zstandard(file: File, path: &Path) -> Result<Box<dyn Read + Send>, SourceError> {
    Ok(Box::new(zstd::Decoder::new(file).map_err(|error| failed(path, error))?))
}

#[cfg(not(feature = "compression"))]
fn gzip(_file: File, path: &Path) -> Result<Box<dyn Read + Send>, SourceError> {
    Err(no_compression(path, "gzip"))
}

#[cfg(not(feature = "compression"))]
fn zstandard(_file: File, path: &Path) -> Result<Box<dyn Read + Send>, SourceError> {
    Err(no_compression(path, "zstd"))
}

#[cfg(not(feature = "compression"))]
fn no_compression(path: &Path, what: &str) -> SourceError {
    SourceError::config(format!("{} is compressed with {what}: enable the feature `compression`", path.display()))
}

/// Text in UTF-8 without its byte order mark. The length of the mark is returned if nothing else had to be done.
fn transcode(mut bytes: Box<dyn Read + Send>, path: &Path) -> Result<(Box<dyn Read + Send>, Option<u64>), SourceError> {
    let mut probe = vec![0; PROBE];
    let found = read_full(&mut bytes, &mut probe).map_err(|error| corrupt(path, error))?;
    probe.truncate(found);
    let (mark, is_utf16) = match &probe[..] {
        [0xef, 0xbb, 0xbf, ..] => (3, false),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => (0, true),
        _ => (0, false),
    };
    if !is_utf16 && memchr::memchr(0, &probe).is_some() {
        return Err(SourceError::corrupt(format!(
            "{} has NUL bytes and no byte order mark: it is no text in UTF-8. If it is UTF-16, give it a byte order mark",
            path.display()
        )));
    }
    let all = io::Cursor::new(probe).chain(bytes);
    if is_utf16 {
        return Ok((utf16(Box::new(all), path)?, None));
    }
    let mut all = all;
    io::copy(&mut all.by_ref().take(mark), &mut io::sink()).map_err(|error| failed(path, error))?;
    Ok((Box::new(all), Some(mark)))
}

#[cfg(feature = "csv")]
#[expect(clippy::unnecessary_wraps, reason = "without the feature it is an error")]
fn utf16(bytes: Box<dyn Read + Send>, _path: &Path) -> Result<Box<dyn Read + Send>, SourceError> {
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
fn utf16(_bytes: Box<dyn Read + Send>, path: &Path) -> Result<Box<dyn Read + Send>, SourceError> {
    Err(SourceError::config(format!("{} is UTF-16: enable the feature `csv`", path.display())))
}

/// Text in UTF-16 as UTF-8. The decoder takes the byte order from the mark.
#[cfg(feature = "csv")]
struct Utf16 {
    bytes: Box<dyn Read + Send>,
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
pub(super) fn corrupt(path: &Path, error: io::Error) -> SourceError {
    let is_damage =
        matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput)
            || error.to_string().contains("incomplete");
    if is_damage {
        let message = format!("{} is damaged or was cut off: get it again, complete", path.display());
        return SourceError::corrupt(message).caused_by(error);
    }
    failed(path, error)
}

fn read_full(from: &mut impl Read, into: &mut [u8]) -> io::Result<usize> {
    let mut found = 0;
    while found < into.len() {
        match from.read(&mut into[found..]) {
            Ok(0) => break,
            Ok(read) => found += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}
