//! The end of a run: the sinks close, the checkpoint is saved, the data gets its final name, and the report adds up.

use std::sync::atomic::Ordering;

use actix_batch::{Collector, Shutdown};

use super::{
    Plan,
    resume::{Resume, Stores},
    shared::Shared,
};
use crate::{
    error::RunError,
    progress::{Ended, Report},
    record::Record,
    source::Source,
};

impl<S: Source, T: Send + Sync + 'static> Plan<S, T> {
    /// Ends the run in order: the sinks write what they have and close, the data gets its final name, and the checkpoint says so.
    pub(super) async fn end(
        &self,
        copied: Result<bool, RunError>,
        shared: &Shared,
        resume: &Resume,
        collectors: &[Collector<Record<T>>],
        stores: &mut Stores,
    ) -> Result<Report, RunError> {
        if copied.is_err() {
            shared.control.update(|command| command.failed = true);
        }
        for collector in collectors {
            // A paused collector sends nothing, also at its end.
            let _ = collector.resume().await;
            let how = if copied.is_ok() { Shutdown::drain() } else { Shutdown::now() };
            drop(collector.shutdown(how).await);
        }
        let closed = shared.monitor.close_error.lock().take();
        let ended = match (copied, closed) {
            (Ok(complete), None) => Ok(complete),
            (Ok(_), Some(error)) => Err(error.into()),
            (Err(error), _) => Err(error),
        };
        // What has settled is kept, also when the run has failed; but the first error is the one to report.
        let saved = shared.save(stores).await;
        let complete = ended?;
        saved?;
        if complete {
            // If this fails, the next run finds nothing to read and publishes.
            self.outlet.publish().await?;
        }
        let report = self.report(complete, shared, resume);
        if !report.adds_up() {
            let (came_in, accounted_for) =
                (report.read + report.produced, report.written + report.filtered + report.rejected + report.skipped);
            return Err(RunError::BrokenSum { stage: self.fingerprint(), came_in, accounted_for });
        }
        Ok(report)
    }

    fn report(&self, complete: bool, shared: &Shared, resume: &Resume) -> Report {
        let progress = shared.counters.progress(false);
        Report {
            pipeline: self.settings.name.clone(),
            ended: if complete { Ended::Complete } else { Ended::Stopped },
            read: progress.read,
            produced: progress.produced,
            written: progress.written,
            filtered: progress.filtered,
            rejected: progress.rejected,
            skipped: progress.skipped,
            batches: shared.monitor.batches.load(Ordering::Relaxed),
            resumed_after: resume.checkpoint.ranges.iter().map(|range| range.record).sum(),
            ranges: resume.checkpoint.ranges.len(),
            guarantee: self.guarantee(),
            elapsed: progress.elapsed,
        }
    }
}
