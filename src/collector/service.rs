//! A collector as an actix service: started when it is first asked for.

use std::sync::Arc;

use actix::SystemService;
use tracing::error;

use super::{CollectorActor, CollectorBuilder};
use crate::processor::BatchProcessor;

/// Makes a processor's collector a `SystemService`, one per `System`, under actix's supervisor.
///
/// Settings that are refused cannot be returned as an error there: they are logged, and the service answers every job with
/// [`JobError::ShutDown`](crate::JobError::ShutDown). `collector().build()` in a test, or at start, shows the error.
///
/// ```
/// use actix_batch::prelude::*;
/// # struct Double(u64);
/// # impl Job for Double { type Output = u64; type Error = String; }
/// # struct Doubles;
/// # impl BatchProcessor for Doubles {
/// #     type Job = Double;
/// #     async fn process(&mut self, batch: &Batch<Double>) -> Result<Outcomes<Double>, String> {
/// #         Ok(Outcomes::in_order(batch.iter().map(|job| job.0 * 2)))
/// #     }
/// # }
/// impl CollectorService for Doubles {
///     fn collector() -> CollectorBuilder<Self> {
///         Collector::builder(|| Doubles).name("doubles")
///     }
/// }
///
/// # actix_rt::System::new().block_on(async {
/// let doubles = CollectorActor::<Doubles>::from_registry();
/// assert_eq!(doubles.send(SubmitJob::new(Double(4))).await.unwrap().unwrap(), 8);
/// # });
/// ```
pub trait CollectorService: BatchProcessor {
    /// How the service is set up.
    fn collector() -> CollectorBuilder<Self>;
}

impl<P: CollectorService> Default for CollectorActor<P> {
    fn default() -> Self {
        let builder = P::collector();
        let factory = Arc::clone(&builder.factory);
        builder.build().unwrap_or_else(|error| {
            error!(%error, "the service's settings are refused: every job will be answered with `ShutDown`");
            let actor = Self::new(CollectorBuilder::new(move |seat| factory(seat)));
            actor.shared().intake.reject_all();
            actor
        })
    }
}

impl<P: CollectorService> SystemService for CollectorActor<P> {}
