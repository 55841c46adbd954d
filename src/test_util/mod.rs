//! To prove a service with: a [`Ledger`] that holds every submit against every reply, and a [`Script`]ed processor that fails,
//! panics and hangs where it is told to.
//!
//! Behind the feature `test-util`; switch it on under `[dev-dependencies]`.
//!
//! ```
//! use actix_batch::{
//!     prelude::*,
//!     test_util::{Ledger, Script},
//! };
//!
//! #[derive(Clone)]
//! struct Double(u64);
//! impl Job for Double {
//!     type Output = u64;
//!     type Error = String;
//! }
//!
//! # actix_rt::System::new().block_on(async {
//! let script = Script::new(|job: &Double| Ok(job.0 * 2)).fail_at(2, "the database is down".to_owned()).panic_at(3);
//! let doubles = Collector::builder(script.factory()).max_size(1).start().unwrap();
//!
//! let ledger = Ledger::new(&doubles);
//! assert_eq!(ledger.submit(Double(1)).await.unwrap(), 2);
//! assert!(matches!(ledger.submit(Double(2)).await, Err(JobError::Failed(_))));
//! assert!(matches!(ledger.submit(Double(3)).await, Err(JobError::Panicked)));
//! assert_eq!(ledger.submit(Double(4)).await.unwrap(), 8);
//!
//! let balance = ledger.check(&doubles.stats().await.unwrap()).unwrap();
//! assert_eq!((balance.submitted, balance.succeeded, balance.failed.total()), (4, 2, 2));
//! # });
//! ```

mod balance;
mod ledger;
mod script;

pub use balance::{Balance, Imbalance};
pub use ledger::{Ledger, Recorded};
pub use script::{Script, Scripted, Seen};
