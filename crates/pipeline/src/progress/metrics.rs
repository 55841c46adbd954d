//! The progress of a run through the `metrics` facade.

use std::{sync::Arc, time::Duration};

use actix_rt::task::JoinHandle;
use metrics::{Unit, counter, describe_counter, describe_gauge, gauge};
use parking_lot::Mutex;
use tokio::time::sleep;

use super::{Counters, Progress};

const EVERY: Duration = Duration::from_secs(1);

const RECORDS: &str = "actix_batch_pipeline_records_total";
const OPEN: &str = "actix_batch_pipeline_open_records";
const CHECKPOINT_AGE: &str = "actix_batch_pipeline_checkpoint_age_seconds";
const RUNS: &str = "actix_batch_pipeline_runs_total";

/// Tells the recorder every second how far a run is, and once more when it is dropped.
pub(crate) struct Metrics {
    told: Arc<Told>,
    task: JoinHandle<()>,
}

struct Told {
    counters: Arc<Counters>,
    /// What was told last, by the name of what becomes of records.
    last: Mutex<[u64; 6]>,
}

impl Metrics {
    pub(crate) fn start(counters: Arc<Counters>) -> Self {
        describe_counter!(RECORDS, Unit::Count, "Records, by what became of them");
        describe_gauge!(OPEN, Unit::Count, "Records that were read and have not settled");
        describe_gauge!(CHECKPOINT_AGE, Unit::Seconds, "How old the last checkpoint is");
        describe_counter!(RUNS, Unit::Count, "Runs that were started");
        counter!(RUNS, "pipeline" => counters.pipeline.clone()).increment(1);
        let told = Arc::new(Told { counters, last: Mutex::default() });
        let often = Arc::clone(&told);
        let task = actix_rt::spawn(async move {
            loop {
                often.tell();
                sleep(EVERY).await;
            }
        });
        Self { told, task }
    }
}

impl Told {
    fn tell(&self) {
        let progress = self.counters.progress(false);
        let now = numbers(&progress);
        let mut last = self.last.lock();
        for ((name, now), last) in NAMES.into_iter().zip(now).zip(last.iter_mut()) {
            let new = now.saturating_sub(*last);
            counter!(RECORDS, "pipeline" => progress.pipeline.clone(), "outcome" => name).increment(new);
            *last = now;
        }
        drop(last);
        #[expect(clippy::cast_precision_loss, reason = "a gauge is read, not counted with")]
        gauge!(OPEN, "pipeline" => progress.pipeline.clone()).set(progress.open as f64);
        if let Some(age) = progress.checkpoint_age {
            gauge!(CHECKPOINT_AGE, "pipeline" => progress.pipeline).set(age.as_secs_f64());
        }
    }
}

const NAMES: [&str; 6] = ["read", "produced", "written", "filtered", "rejected", "skipped"];

fn numbers(progress: &Progress) -> [u64; 6] {
    let Progress { read, produced, written, filtered, rejected, skipped, .. } = *progress;
    [read, produced, written, filtered, rejected, skipped]
}

impl Drop for Metrics {
    fn drop(&mut self) {
        self.task.abort();
        self.told.tell();
    }
}
