//! All that a service needs: `use actix_batch::prelude::*;`. It re-exports actix's own prelude.

pub use actix::prelude::*;

#[cfg(feature = "cache")]
pub use crate::Cache;
pub use crate::{
    Batch, BatchProcessor, Breaker, Collector, CollectorActor, CollectorBuilder, CollectorConfig, CollectorService,
    DeadLetter, DeadLetters, Flush, GetJobState, GetStats, Job, JobError, JobEvent, JobResult, JobState, NoWorkers,
    Observer, Outcomes, Pause, Priority, RateLimit, Rejected, Resume, Retry, SetMaxInFlight, Shutdown, ShutdownReport,
    Stats, Submit, SubmitJob, Subscribe, Unsubscribe, Workers,
};
