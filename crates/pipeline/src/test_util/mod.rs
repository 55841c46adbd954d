//! The kit that this project's own sources and sinks are tested with (feature `test-util`).

mod kill;
mod sink;
mod source;

pub use kill::{Kills, Victim};
pub use sink::{Unreliable, UnreliableSink, check_sink};
pub use source::{Read, check_source, read_range};
