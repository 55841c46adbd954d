#![doc = include_str!("../README.md")]

mod server;
mod sink;
mod source;
mod tls;

pub use sink::{NatsSubject, SubjectSink};
pub use source::{JetStream, JetStreamReader, StreamSequence};
