//! What all text files have in common: which files, in which order, what makes a cursor valid, and how their bytes become text.

use std::{fmt, future::Future, io, time::SystemTime};

use serde::{Deserialize, Serialize};

use super::{Cursor, Identity, Size, SourceError};

mod decode;
mod local;
mod sequence;
mod text;

pub use local::{LocalBlocks, LocalFile, LocalFiles};
pub(super) use sequence::{Follow, Next, Sequence};
pub(super) use text::{Fill, Text};

/// Files of text, wherever they are: on this machine, or in an object store. [`Csv`](super::Csv) and [`JsonLines`](super::JsonLines)
/// read them. They ask for bytes and do the rest themselves: compression, byte order marks, records, cursors.
///
/// It is serde data as a rule, so that a source made of it is.
pub trait TextFiles: Clone + fmt::Debug + Send + Sync + 'static {
    /// One file of the list. It is shown to people as its text.
    type File: fmt::Display + Clone + Send + 'static;
    /// The bytes of a file.
    type Blocks: Blocks;

    /// Whether a file may be read twice to cut it into ranges: a disk is near, a network is not. The header of each file is then checked
    /// before anything is read, else only that of the first one, and of each other one when it is opened.
    const IS_NEAR: bool = false;

    /// Which files, for people and for the plan's fingerprint.
    fn describe(&self) -> String;

    /// The files in their order.
    ///
    /// # Errors
    ///
    /// If they cannot be listed, or there are none.
    fn list(&self) -> impl Future<Output = Result<Vec<Self::File>, SourceError>>;

    /// What makes a cursor valid: something that changes when a file is replaced.
    ///
    /// # Errors
    ///
    /// If a file cannot be found.
    fn identity(&self) -> impl Future<Output = Result<Identity, SourceError>>;

    /// Checks that the files of a checkpoint are still there and the same, in the same order. Others may come after them.
    ///
    /// # Errors
    ///
    /// [`SourceError::changed`], which names the file.
    fn verify(&self, checkpoint: &Identity) -> impl Future<Output = Result<(), SourceError>>;

    /// How many bytes there are, if that is known.
    fn size(&self) -> impl Future<Output = Option<Size>>;

    /// Opens a file; its first block begins with this byte. There is none if the file ends before.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    fn open(&self, file: &Self::File, byte: u64) -> impl Future<Output = Result<Self::Blocks, SourceError>>;

    /// The one file that may be rotated while it is followed: it gets another name, and another file takes its place. Default: none.
    fn rotating(&self) -> Option<Self::File> {
        None
    }

    /// The files that were rotated away from this place, and when each was written to last. Default: none.
    ///
    /// # Errors
    ///
    /// If they cannot be listed.
    fn rotated(&self) -> Result<Vec<(SystemTime, Self::File)>, SourceError> {
        Ok(Vec::new())
    }
}

/// The bytes of one file, block by block.
pub trait Blocks: 'static {
    /// Appends the next bytes; none at the end of the file. A block of about 64 KiB is a good one: what is appended stays in memory
    /// until its records have been read.
    ///
    /// # Errors
    ///
    /// If they cannot be read.
    fn read(&mut self, into: &mut Vec<u8>) -> impl Future<Output = Result<(), SourceError>>;

    /// Whether the file has become shorter than what was read of it; asked where a file is followed. Default: `false`.
    fn was_cut(&self) -> bool {
        false
    }

    /// Whether the file still has the name by which it was opened; asked where it is followed. Default: `true`.
    fn has_its_name(&self) -> bool {
        true
    }

    /// When the file was written to last, if that is known; asked where it is followed.
    fn modified(&self) -> Option<SystemTime> {
        None
    }
}

/// Where reading goes on in a list of text files: after the terminator of a record.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextCursor {
    /// The number of the file in the list, from 0.
    #[serde(default, skip_serializing_if = "is_first_file")]
    pub file: u32,
    /// The byte within its text, from 0: decompressed, and in UTF-8.
    pub byte: u64,
    /// The line that begins there, from 1.
    pub line: u64,
    /// The checksum of up to 256 bytes before it.
    pub before: u32,
    /// The checksum of up to 4096 bytes with which the text begins, if the file is followed: by it the file is found again when it has
    /// another name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<u32>,
}

impl Cursor for TextCursor {}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
fn is_first_file(file: &u32) -> bool {
    *file == 0
}

fn failed(name: &str, error: io::Error) -> SourceError {
    SourceError::io(format!("cannot read {name}")).caused_by(error)
}

fn changed(what: &str) -> SourceError {
    SourceError::changed(format!("{what}: restore the files, or run with `fresh` to start again"))
}
