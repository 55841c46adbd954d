//! What a program that moves data needs; the rest is one path away.

pub use crate::{
    Definition, Guarantee, Pipeline, PipelineHandle, Record, Report, RunError, sink::for_each, source::from_iter,
};
