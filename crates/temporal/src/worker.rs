//! A worker: a process that copies ranges.

use std::{fmt, time::Duration};

use actix_batch_pipeline::{Definition, Definitions};
use temporalio_client::Client;
use temporalio_common::telemetry::TelemetryOptions;
use temporalio_sdk::{
    Runtime, Worker, WorkerOptions,
    runtime::{
        RuntimeOptions,
        worker_tuner::{FixedSizeSlotSupplier, TunerHolder},
    },
};
use tokio::{signal, time::sleep};
use tracing::{info, warn};

#[cfg(feature = "metrics")]
use crate::metrics::Metrics;
use crate::{
    activities::Activities,
    error::ClusterError,
    server::{Server, TemporalServer},
    workflow::PipelineWorkflow,
};

/// How long ranges may go on once the worker is told to end; then they are stopped, and another worker goes on with them.
const GRACE: Duration = Duration::from_secs(10);

/// A worker on this machine. It knows the definitions that are registered, and copies ranges of them.
#[must_use = "a worker does nothing until it is run"]
pub struct TemporalWorker {
    server: Server,
    definitions: Definitions,
    slots: usize,
    task_queue: String,
    telemetry: TelemetryOptions,
    #[cfg(feature = "metrics")]
    metrics: bool,
}

impl TemporalWorker {
    /// A worker of a server: its URL, such as `http://127.0.0.1:7233`, or a [`TemporalServer`] with a namespace, TLS, an API key.
    pub fn new(server: impl Into<TemporalServer>) -> Self {
        Self::of(Server::Known(server.into()))
    }

    /// With a client of the SDK, which says the namespace, too.
    pub fn with_client(client: &Client) -> Self {
        Self::of(Server::Connected(client.clone()))
    }

    fn of(server: Server) -> Self {
        Self {
            server,
            definitions: Definitions::new(),
            slots: 4,
            task_queue: crate::runner::QUEUE.to_owned(),
            telemetry: TelemetryOptions::builder().build(),
            #[cfg(feature = "metrics")]
            metrics: false,
        }
    }

    /// Adds a definition. A run of any other one is refused by name.
    pub fn register<D: Definition>(mut self) -> Self {
        self.definitions = self.definitions.register::<D>();
        self
    }

    /// How many ranges are copied at once, each on a thread of its own. Default: 4.
    pub fn slots(mut self, ranges: usize) -> Self {
        self.slots = ranges;
        self
    }

    /// The task queue: runners and workers with the same one find each other. Default: `actix-batch`.
    pub fn task_queue(mut self, queue: impl Into<String>) -> Self {
        self.task_queue = queue.into();
        self
    }

    /// Counts and measures what the worker does through the `metrics` facade: `actix_batch_temporal_ranges_started_total`, `_retried_total`,
    /// `_completed_total`, `_failed_total`, `_stopped_total`, `actix_batch_temporal_records_total` and `actix_batch_temporal_range_seconds` with
    /// the label `definition`; `actix_batch_temporal_slots_in_use` and `_slots_free` with the label `task_queue`. Default: `false`.
    #[cfg(feature = "metrics")]
    pub fn metrics(mut self, metrics: bool) -> Self {
        self.metrics = metrics;
        self
    }

    /// Where the SDK's own metrics and log lines go: how long tasks wait at the server, what requests cost. Default: the metrics nowhere.
    pub fn telemetry(mut self, telemetry: TelemetryOptions) -> Self {
        self.telemetry = telemetry;
        self
    }

    /// Works until SIGTERM or Ctrl-C, inside an actix `System`. While the server is away it waits for it. When it is told to end, ranges that
    /// are being copied have 10 s to end; then they are stopped cleanly.
    ///
    /// # Errors
    ///
    /// [`ClusterError::Config`], [`ClusterError::NotAllowed`], or if the worker cannot be made.
    pub async fn run(self) -> Result<(), ClusterError> {
        if !(1..=1_000).contains(&self.slots) {
            let (key, value, allowed) = ("slots", self.slots.to_string(), "from 1 to 1,000".to_owned());
            return Err(ClusterError::Config { key, value, allowed });
        }
        let made = |error: &dyn fmt::Display| ClusterError::Worker(error.to_string());
        let telemetry = RuntimeOptions::builder().telemetry_options(self.telemetry).build();
        let runtime = Runtime::from_current_tokio(telemetry.map_err(|error| made(&error))?);
        let runtime = runtime.map_err(|error| made(&error))?;
        let activities = Activities::new(self.definitions, 2 * self.slots);
        #[cfg(feature = "metrics")]
        let activities = activities.metrics(self.metrics.then(|| Metrics::new(&self.task_queue, self.slots)));
        let mut ending = std::pin::pin!(ending());
        loop {
            let client = tokio::select! {
                client = self.server.connect_with_retry() => client?,
                () = &mut ending => return Ok(()),
            };
            let options = options(&self.task_queue, self.slots, &activities)?;
            let mut worker =
                Worker::new(&runtime, client, options).map_err(|error| ClusterError::Worker(error.to_string()))?;
            let shutdown = worker.shutdown_handle();
            info!(queue = self.task_queue, slots = self.slots, "working");
            let mut running = std::pin::pin!(worker.run());
            tokio::select! {
                ended = &mut running => match ended {
                    Ok(()) => return Ok(()),
                    Err(error) => {
                        warn!("the worker begins anew: {}", crate::error::chain(&error));
                        sleep(Duration::from_secs(1)).await;
                    }
                },
                () = &mut ending => {
                    info!("ending: ranges that are being copied have {GRACE:?}");
                    shutdown();
                    return running.await.map_err(|error| ClusterError::Worker(crate::error::chain(&error)));
                }
            }
        }
    }
}

fn options(task_queue: &str, slots: usize, activities: &Activities) -> Result<WorkerOptions, ClusterError> {
    // Workflow tasks take milliseconds, and one slot each is plenty for what is not used.
    let tuner = TunerHolder::builder()
        .workflow_task_slot_supplier(FixedSizeSlotSupplier::new(20))
        .activity_task_slot_supplier(FixedSizeSlotSupplier::new(slots))
        .local_activity_task_slot_supplier(FixedSizeSlotSupplier::new(1))
        .nexus_task_slot_supplier(FixedSizeSlotSupplier::new(1))
        .build();
    Ok(WorkerOptions::new(task_queue)
        .tuner(tuner)
        .sticky_queue_schedule_to_start_timeout(Duration::from_secs(1))
        .max_heartbeat_throttle_interval(Duration::from_secs(1))
        .default_heartbeat_throttle_interval(Duration::from_secs(1))
        .graceful_shutdown_period(GRACE)
        .register_activities(activities.clone())
        .register_workflow::<PipelineWorkflow>()
        .map_err(|error| ClusterError::Worker(error.to_string()))?
        .build())
}

/// Resolves when the process is told to end.
async fn ending() {
    #[cfg(unix)]
    {
        let Ok(mut terminate) = signal::unix::signal(signal::unix::SignalKind::terminate()) else {
            return drop(signal::ctrl_c().await);
        };
        tokio::select! {
            _ = terminate.recv() => {}
            _ = signal::ctrl_c() => {}
        }
    }
    #[cfg(not(unix))]
    drop(signal::ctrl_c().await);
}

impl fmt::Debug for TemporalWorker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TemporalWorker")
            .field("server", &self.server)
            .field("definitions", &self.definitions)
            .field("slots", &self.slots)
            .finish_non_exhaustive()
    }
}
