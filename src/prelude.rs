//! What a service cannot do without: `use actix_batch::prelude::*;`. It re-exports actix's own prelude. Everything else is one path
//! away, in the crate's root.

pub use actix::prelude::*;

pub use crate::{
    Batch, BatchProcessor, Breaker, Collector, CollectorActor, CollectorBuilder, CollectorConfig, CollectorService,
    Job, JobError, JobResult, Outcomes, Priority, RateLimit, Retry, Shutdown, Submit, SubmitJob, Workers,
};
