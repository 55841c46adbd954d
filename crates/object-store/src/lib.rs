#![doc = include_str!("../README.md")]

mod fault;
mod location;
mod sink;
mod source;
mod store;

pub use sink::{ObjectParts, ObjectSink, PartStore};
pub use source::{ObjectBlocks, ObjectFile, Objects};
