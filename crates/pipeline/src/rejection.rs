//! A record that was refused on its way.

use crate::record::{Origin, Position};

/// A record that will not be written, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rejection {
    /// Where it stands in its source.
    pub position: Position,
    /// Where a person finds it.
    pub origin: Origin,
    /// What rejected it: the source, a stage or the sink.
    pub by: String,
    /// Why.
    pub error: String,
    /// How often the sink tried to write it; 0 if it never reached the sink.
    pub attempts: u32,
    /// The record, as far as it can be shown.
    pub record: Option<String>,
}
