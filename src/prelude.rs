//! All that a service needs: `use actix_batch::prelude::*;`. It re-exports actix's own prelude.

pub use actix::prelude::*;

pub use crate::{
    Batch, BatchProcessor, Builder, Collector, CollectorActor, CollectorConfig, CollectorService, Flush, GetStats, Job,
    JobError, JobResult, NoWorkers, Outcomes, Pause, Rejected, Resume, Shutdown, ShutdownReport, Stats, Submit,
    SubmitJob, Workers,
};
