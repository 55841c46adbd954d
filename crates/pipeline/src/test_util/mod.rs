//! The kit that this project's own sources and sinks are tested with (feature `test-util`).

mod source;

pub use source::{Read, check_source, read_range};
