//! Many callers submit one job each; the downstream sees one request per batch; every caller gets that job's own reply.
//!
//! For people who run actix or actix-web, and whose downstream – a database, an HTTP API, a model, a broker – wants few, large
//! requests.
//!
//! ```
//! use actix_batch::prelude::*;
//!
//! struct GetUser(u64);
//! impl Job for GetUser {
//!     type Output = String;
//!     type Error = std::io::Error;
//! }
//!
//! struct UserLookup;
//! impl BatchProcessor for UserLookup {
//!     type Job = GetUser;
//!     async fn process(&mut self, batch: &Batch<GetUser>) -> Result<Outcomes<GetUser>, std::io::Error> {
//!         // One query for all of them would stand here.
//!         Ok(Outcomes::in_order(batch.iter().map(|job| format!("user {}", job.0))))
//!     }
//! }
//!
//! # actix_rt::System::new().block_on(async {
//! let users = Collector::builder(|| UserLookup).name("users").max_size(100).start()?;
//! assert_eq!(users.submit(GetUser(7)).await?, "user 7");
//! users.shutdown(Shutdown::drain()).await?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # }).unwrap();
//! ```
//!
//! [`Collector`] is the handle, [`CollectorActor`] the actor behind it, [`BatchProcessor`] what you write. The guides are in
//! the repository's `docs/`: architecture, batching, embedding, failure, guarantees, observability, performance, tuning.

mod batch;
pub mod batcher;
mod bell;
mod clock;
mod collector;
mod config;
mod dead_letters;
mod dispatch;
mod error;
pub mod flush;
mod job;
pub mod observe;
mod panics;
pub mod prelude;
mod processor;
mod reentry;
mod sync;
#[cfg(feature = "test-util")]
pub mod test_util;
#[cfg(feature = "actix-web")]
mod web;

pub use batch::{Batch, Outcomes, Trigger};
#[cfg(feature = "cache")]
pub use collector::Cache;
pub use collector::{
    Admission, Answer, Barrier, Collector, CollectorActor, CollectorBuilder, CollectorService, Flush, GetJobState,
    GetStats, Pause, Resume, SetMaxInFlight, Shutdown, Submit, SubmitAll, SubmitJob, Subscribe, Unsubscribe,
    WeakCollector,
};
pub use config::{CollectorConfig, NoWorkers, Workers};
pub use dead_letters::{DeadLetter, DeadLetters};
#[cfg(feature = "dead-letters")]
pub use dead_letters::{DeadLetterFile, DeadRecord, DeadRecords};
pub use dispatch::{Breaker, BreakerState, RateLimit, Retry};
pub use error::{
    Blame, Closed, ConfigError, Failures, JobError, RecipientError, RejectReason, Rejected, Rejections, StartError,
    WaitError,
};
pub use flush::Strategy;
pub use job::{Job, JobEvent, JobId, JobIds, JobResult, JobState, Priority};
pub use observe::{Distribution, Observer, ShutdownReport, Stats, WorkerStats};
pub use processor::{BatchProcessor, ProcessorActor};

/// The code of the README and the guides, compiled and run with the documentation's.
#[cfg(all(doctest, feature = "actix-web"))]
mod guides {
    #[doc = include_str!("../README.md")]
    struct Readme;

    #[doc = include_str!("../docs/architecture.md")]
    struct Architecture;

    #[doc = include_str!("../docs/batching.md")]
    struct Batching;

    #[doc = include_str!("../docs/embedding.md")]
    struct Embedding;

    #[doc = include_str!("../docs/failure.md")]
    struct Failure;

    #[doc = include_str!("../docs/guarantees.md")]
    struct Guarantees;

    #[doc = include_str!("../docs/observability.md")]
    struct Observability;
}
