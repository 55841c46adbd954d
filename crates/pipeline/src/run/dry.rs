//! Runs that write and save nothing.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use super::Plan;
use crate::{
    error::RunError,
    progress::{Counters, Ended, Report},
    record::Record,
    source::{Chunk, More, Range, Reader, Source},
    stage::Ledger,
};

impl<S: Source, T: Send + Sync + 'static> Plan<S, T> {
    /// What a run over the first records would do.
    pub(crate) async fn dry_run(&self, records: u64) -> Result<Report, RunError> {
        self.settings.validate()?;
        let (counters, mut written) = (Arc::new(Counters::new(&self.settings.name)), 0);
        let (mut filtered, mut rejected) = (0, 0);
        self.look_at(records, &counters, |staged| {
            for record in staged {
                let mut is_wanted = false;
                match self.outlet.send(record, &mut |_, _| is_wanted = true) {
                    Err(_) => rejected += 1,
                    Ok(()) if is_wanted => written += 1,
                    Ok(()) => filtered += 1,
                }
            }
            true
        })
        .await?;
        let progress = counters.progress(false);
        Ok(Report {
            pipeline: self.settings.name.clone(),
            ended: Ended::DryRun,
            read: progress.read,
            produced: progress.produced,
            written,
            filtered: progress.filtered + filtered,
            rejected: progress.rejected + rejected,
            skipped: 0,
            batches: 0,
            resumed_after: 0,
            ranges: 1,
            guarantee: self.guarantee(),
            elapsed: progress.elapsed,
        })
    }

    /// The first records as they would be written.
    pub(crate) async fn preview(&self, records: usize) -> Result<Vec<Record<T>>, RunError> {
        self.settings.validate()?;
        let mut seen = Vec::new();
        let counters = Arc::new(Counters::new(&self.settings.name));
        self.look_at(u64::MAX, &counters, |staged| {
            seen.extend(staged.into_iter().take(records - seen.len()));
            seen.len() < records
        })
        .await?;
        Ok(seen)
    }

    /// Reads and stages chunks until `look` has seen enough.
    async fn look_at(
        &self,
        records: u64,
        counters: &Counters,
        look: impl FnMut(Vec<Record<T>>) -> bool,
    ) -> Result<(), RunError> {
        let seen = self.read_and_stage(records, counters, look).await;
        self.source.release().await;
        seen
    }

    async fn read_and_stage(
        &self,
        records: u64,
        counters: &Counters,
        mut look: impl FnMut(Vec<Record<T>>) -> bool,
    ) -> Result<(), RunError> {
        let began = Instant::now();
        self.stages.begin();
        self.source.identity().await?;
        let mut reader = self.source.open(&Range::all()).await?;
        let (mut next, mut more) = (0, More::Yes);
        while more == More::Yes && next < records {
            let limit = usize::try_from(records - next).unwrap_or(usize::MAX).min(self.settings.chunk);
            let mut chunk = Chunk::new(0, next);
            more = reader.read(&mut chunk, limit).await?;
            if chunk.is_empty() && more == More::Yes {
                // A source that waits for more: what is there has been seen.
                break;
            }
            next = chunk.next_record();
            counters.read.store(next, Ordering::Relaxed);
            let mut ledger = Ledger::default();
            let unreadable = chunk.unreadable.len();
            let staged = self.stages.run(chunk.records, &mut ledger).await;
            if let Some(broken) = ledger.broken {
                return Err(broken.into());
            }
            counters.filtered.fetch_add(ledger.filtered, Ordering::Relaxed);
            counters.produced.fetch_add(ledger.produced, Ordering::Relaxed);
            counters.rejected.fetch_add((unreadable + ledger.rejected.len()) as u64, Ordering::Relaxed);
            if !look(staged) {
                break;
            }
        }
        tracing::debug!(records = next, took = ?began.elapsed(), "looked at the source");
        Ok(reader.close().await?)
    }
}
