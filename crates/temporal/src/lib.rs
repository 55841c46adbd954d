//! The pipelines of `actix-batch-pipeline` on a cluster: [Temporal](https://temporal.io) runs the same definitions, range by range, on many
//! machines.
//!
#![doc = include_str!("../README.md")]

mod activities;
mod error;
mod runner;
mod server;
mod state;
mod worker;
mod workflow;

pub use error::ClusterError;
pub use runner::{Report, RunHandle, Start, TemporalRunner};
pub use state::{FailedRange, Progress, Settings, Totals};
pub use worker::TemporalWorker;
pub use workflow::PipelineWorkflow;
