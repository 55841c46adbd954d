//! Moves data sets from a source to a sink, batch by batch, and goes on where it stopped.
//!
//! ```
//! use actix_batch_pipeline::prelude::*;
//!
//! # actix_rt::System::new().block_on(async {
//! let report = Pipeline::named("squares")
//!     .read(from_iter("numbers", || 1..=1_000_u64))
//!     .filter(|number| number % 2 == 0)
//!     .map(|number| number * number)
//!     .write(for_each(|square: &u64| assert_eq!(square % 4, 0)))
//!     .accept_duplicates(true)
//!     .run()
//!     .await?;
//! assert_eq!((report.read, report.filtered, report.written), (1_000, 500, 500));
//! println!("{report}");
//! # Ok::<(), RunError>(())
//! # }).unwrap();
//! ```
//!
//! A pipeline is a caller of a [`Collector`](actix_batch::Collector): the sink is a batch processor, so batch sizes, workers, retries,
//! splitting, time-outs, breaker and rate limit are the collector's. What a pipeline adds is reading, stages, the settled prefix and
//! checkpoints.

mod actor;
mod builder;
pub mod checkpoint;
mod dead_letters;
mod definitions;
mod error;
mod file_name;
mod flow;
mod guarantee;
pub mod messages;
pub mod outlet;
mod panics;
mod pipeline;
pub mod prelude;
mod progress;
mod record;
mod rejection;
mod run;
pub mod schedule;
pub mod sink;
pub mod source;
#[cfg(feature = "sqlite")]
mod sqlite;
mod stage;
#[cfg(feature = "test-util")]
pub mod test_util;

pub use actor::{PipelineActor, PipelineHandle};
pub use builder::PipelineBuilder;
pub use dead_letters::{DeadLetterQueue, DeadRecord, PendingLetters, read_dead_records};
pub use definitions::{Definition, Definitions};
pub use error::RunError;
pub use file_name::FileName;
pub use flow::{Flow, Named};
pub use guarantee::Guarantee;
pub use pipeline::Pipeline;
pub use progress::{Ended, Progress, Report};
pub use record::{Origin, Position, Record};
pub use rejection::Rejection;
pub use run::SourceRange;
pub use schedule::Schedule;
pub use source::{Cursor, Range};
pub use stage::{Lookup, Output, Stage};

/// The code of the README and the guide, compiled and run with the documentation's.
#[cfg(all(doctest, feature = "csv"))]
mod guides {
    #[doc = include_str!("../README.md")]
    struct Readme;

    #[doc = include_str!("../../../docs/pipelines.md")]
    struct Pipelines;
}
