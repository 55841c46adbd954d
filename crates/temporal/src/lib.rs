//! The pipelines of `actix-batch-pipeline` on a cluster: [Temporal](https://temporal.io) runs the same definitions, range by range, on many
//! machines.
//!
#![doc = include_str!("../README.md")]

mod activities;
mod error;
#[cfg(feature = "metrics")]
mod metrics;
mod run;
mod runner;
mod server;
mod state;
mod worker;
mod workflow;

pub use error::ClusterError;
pub use run::{Report, RunHandle};
pub use runner::{Start, TemporalRunner};
pub use server::TemporalServer;
pub use state::{FailedRange, Progress, Settings, Totals};
pub use worker::TemporalWorker;
pub use workflow::PipelineWorkflow;
