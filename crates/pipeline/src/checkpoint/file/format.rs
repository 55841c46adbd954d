//! A checkpoint as bytes: one line that says what follows, then JSON.
//!
//! `actix-batch checkpoint 1 crc32 1a2b3c4d bytes 345` – format version, checksum and length of the JSON.

use std::str;

use crate::checkpoint::Checkpoint;

/// The version of the format. Raise it when a stored checkpoint would be read wrongly.
const VERSION: u32 = 1;
const MAGIC: &str = "actix-batch checkpoint";

/// Why bytes are no checkpoint.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum FormatError {
    /// A newer version wrote it.
    Future { version: u32 },
    /// It is another kind of file.
    Foreign,
    /// It was a checkpoint once.
    Damaged(String),
}

pub(super) fn encode(checkpoint: &Checkpoint) -> serde_json::Result<Vec<u8>> {
    let body = serde_json::to_vec(checkpoint)?;
    let (checksum, length) = (crc32fast::hash(&body), body.len());
    let mut bytes = format!("{MAGIC} {VERSION} crc32 {checksum:08x} bytes {length}\n").into_bytes();
    bytes.extend(body);
    Ok(bytes)
}

pub(super) fn decode(bytes: &[u8]) -> Result<Checkpoint, FormatError> {
    if bytes.is_empty() {
        return Err(FormatError::Damaged("it is empty".to_owned()));
    }
    let (version, checksum, length, body) = parts(bytes).ok_or_else(|| no_header(bytes))?;
    if version > VERSION {
        return Err(FormatError::Future { version });
    }
    if body.len() != length {
        return Err(FormatError::Damaged(format!("it has {} bytes instead of {length}", body.len())));
    }
    if version != VERSION || crc32fast::hash(body) != checksum {
        return Err(FormatError::Damaged("its checksum does not fit".to_owned()));
    }
    serde_json::from_slice(body).map_err(|error| FormatError::Damaged(error.to_string()))
}

/// Version, checksum, length and JSON.
fn parts(bytes: &[u8]) -> Option<(u32, u32, usize, &[u8])> {
    let end = memchr::memchr(b'\n', bytes)?;
    let header = str::from_utf8(&bytes[..end]).ok()?.strip_prefix(MAGIC)?.strip_prefix(' ')?;
    let mut words = header.split(' ');
    let version = words.next()?.parse().ok()?;
    // A later format may have another header.
    if version > VERSION {
        return Some((version, 0, 0, &[]));
    }
    let checksum = words.by_ref().skip_while(|word| *word != "crc32").nth(1)?;
    let length = words.skip_while(|word| *word != "bytes").nth(1)?;
    Some((version, u32::from_str_radix(checksum, 16).ok()?, length.parse().ok()?, &bytes[end + 1..]))
}

/// A file whose header cannot be read was a checkpoint if it begins or goes on like one.
fn no_header(bytes: &[u8]) -> FormatError {
    let same = MAGIC.bytes().zip(bytes).filter(|(expected, found)| expected == *found).count();
    // A torn or a flipped byte leaves most of the first words as they were.
    if same + 1 >= MAGIC.len().min(bytes.len()) {
        FormatError::Damaged("its header cannot be read".to_owned())
    } else {
        FormatError::Foreign
    }
}
