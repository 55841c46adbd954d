//! Moves data sets from a source to a sink, batch by batch, and goes on where it stopped.

pub mod checkpoint;
mod cursor;
mod file_name;
mod record;
pub mod sink;
pub mod source;
#[cfg(feature = "sqlite")]
mod sqlite;

pub use cursor::{Cursor, Range};
pub use file_name::FileName;
pub use record::{Origin, Position, Record};
