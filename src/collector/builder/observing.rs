//! Observers, metrics, job tracking, and the trace.

use super::CollectorBuilder;
#[cfg(feature = "record")]
use crate::{error::ConfigError, observe::TraceRecorder};
use crate::{observe::Observer, processor::BatchProcessor};

impl<P: BatchProcessor> CollectorBuilder<P> {
    /// Adds an observer, which is told what happens: see [`Observer`]. Observers are called in the order in which they were added.
    /// Default: none.
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.observers.push(Box::new(observer));
        self
    }

    /// Tracks each job, so that [`Collector::job_state`](crate::Collector::job_state) can tell its state, and remembers the last
    /// `history` settled jobs. Each query scans the batches in flight; tracking costs some work for each batch and each settled job.
    /// Default: jobs are not tracked.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use actix_batch::{JobState, prelude::*};
    /// # struct Double(u64);
    /// # impl Job for Double { type Output = u64; type Error = String; }
    /// # struct Doubles;
    /// # impl BatchProcessor for Doubles {
    /// #     type Job = Double;
    /// #     async fn process(&mut self, batch: &Batch<Double>) -> Result<Outcomes<Double>, String> {
    /// #         Ok(Outcomes::in_order(batch.iter().map(|job| job.0 * 2)))
    /// #     }
    /// # }
    /// # actix_rt::System::new().block_on(async {
    /// let doubles = Collector::builder(|| Doubles).interval(Duration::from_secs(60)).track_jobs(1_000).start().unwrap();
    /// let reply = doubles.submit(Double(2));
    /// let job = reply.id().unwrap();
    /// assert_eq!(doubles.job_state(job).await.unwrap(), Some(JobState::Buffered));
    /// doubles.flush().await.unwrap();
    /// reply.await.unwrap();
    /// assert_eq!(doubles.job_state(job).await.unwrap(), Some(JobState::Succeeded));
    /// # });
    /// ```
    pub fn track_jobs(mut self, history: usize) -> Self {
        self.history = Some(history);
        self
    }

    /// Publishes metrics through the [`metrics`](https://docs.rs/metrics) facade, labelled with the collector's name. Default: none.
    ///
    /// The metrics are registered when the collector is built, with the recorder that is installed then: install yours before.
    /// `docs/observability.md` lists them with their units and labels.
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
    /// # actix_rt::System::new().block_on(async {
    /// // An exporter is installed here, for instance that of `metrics-exporter-prometheus`.
    /// let doubles = Collector::builder(|| Doubles).name("doubles").metrics().start().unwrap();
    /// assert_eq!(doubles.submit(Double(2)).await.unwrap(), 4);
    /// # });
    /// ```
    #[cfg(feature = "metrics")]
    pub fn metrics(mut self) -> Self {
        self.metrics = true;
        self
    }

    /// Records arrivals and batches as lines of JSON in this file: a [`Trace`](crate::observe::Trace), which `examples/tune` replays
    /// with other settings. Default: no trace.
    ///
    /// It can be left on: where a job costs 256 ns, a job that is recorded costs 304 (medians of 21 interleaved rounds of 1,000
    /// callers on one thread, on a busy machine), and the file grows by some 4 bytes for each job and 100 for each batch. An
    /// earlier trace at this path is replaced; weights are not recorded. See
    /// [`TraceRecorder`](crate::observe::TraceRecorder) for a disk that is full or slow.
    ///
    /// ```
    /// use actix_batch::{observe::Trace, prelude::*};
    /// # struct Double(u64);
    /// # impl Job for Double { type Output = u64; type Error = String; }
    /// # struct Doubles;
    /// # impl BatchProcessor for Doubles {
    /// #     type Job = Double;
    /// #     async fn process(&mut self, batch: &Batch<Double>) -> Result<Outcomes<Double>, String> {
    /// #         Ok(Outcomes::in_order(batch.iter().map(|job| job.0 * 2)))
    /// #     }
    /// # }
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let path = folder.path().join("trace.jsonl");
    /// # actix_rt::System::new().block_on(async {
    /// let doubles = Collector::builder(|| Doubles).record(&path).start().unwrap();
    /// assert_eq!(doubles.submit(Double(2)).await.unwrap(), 4);
    /// doubles.shutdown(Shutdown::drain()).await.unwrap();
    ///
    /// let trace = Trace::read(&path).unwrap();
    /// assert_eq!((trace.jobs.len(), trace.batches.len()), (1, 1));
    /// # });
    /// ```
    #[cfg(feature = "record")]
    pub fn record(mut self, path: impl Into<std::path::PathBuf>) -> Self {
        self.record = Some(path.into());
        self
    }

    /// Creates the trace file, if a path is set.
    #[cfg(feature = "record")]
    pub(super) fn begin_trace(&mut self) -> Result<(), ConfigError> {
        let Some(path) = &self.record else { return Ok(()) };
        let recorder = TraceRecorder::create_for(path, &self.config, self.flushing.policy.is_some());
        let refused = |error| {
            let allowed = format!("a file that can be written, or an earlier trace to be replaced: {error}");
            ConfigError::new("record", path.display(), allowed)
        };
        self.observers.push(Box::new(recorder.map_err(refused)?));
        Ok(())
    }
}
