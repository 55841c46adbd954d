//! What a program that moves data needs; the rest is one path away.

#[cfg(feature = "sqlite")]
pub use crate::sink::Sqlite;
#[cfg(feature = "csv")]
pub use crate::source::Csv;
pub use crate::{
    Definition, Ended, Guarantee, Pipeline, PipelineHandle, Record, Report, RunError,
    sink::for_each,
    source::{JsonLines, from_iter},
};
