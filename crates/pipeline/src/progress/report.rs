//! What a run did, in numbers that add up.

use std::{fmt, time::Duration};

use serde::Serialize;

use crate::guarantee::Guarantee;

/// What a run did: `read + produced = written + filtered + rejected + skipped`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// The pipeline's name.
    pub pipeline: String,
    /// How the run ended.
    pub ended: Ended,
    /// Records that were read from the source, readable or not.
    pub read: u64,
    /// Records that stages made in addition.
    pub produced: u64,
    /// Records that the sink has stored.
    pub written: u64,
    /// Records that a stage did not want.
    pub filtered: u64,
    /// Records that went to the dead letters.
    pub rejected: u64,
    /// Records that an earlier run had stored beyond its checkpoint.
    pub skipped: u64,
    /// Batches that were written.
    pub batches: u64,
    /// Source records that earlier runs had settled; 0 for a first run.
    pub resumed_after: u64,
    /// Ranges of the source that were read.
    pub ranges: usize,
    /// How often a record takes effect.
    pub guarantee: Guarantee,
    /// How long the run took.
    pub elapsed: Duration,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Ended {
    /// The source was read to its end.
    Complete,
    /// It was stopped, or reached `max_records` or `max_batches`: the next run goes on.
    Stopped,
    /// A dry run: nothing was written or saved.
    DryRun,
}

impl Report {
    /// Whether `read + produced = written + filtered + rejected + skipped`.
    pub fn adds_up(&self) -> bool {
        self.read + self.produced == self.written + self.filtered + self.rejected + self.skipped
    }

    /// Records that were read, in a second.
    #[expect(clippy::cast_precision_loss, reason = "a rate is shown, not counted with")]
    pub fn records_per_second(&self) -> f64 {
        self.read as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ended = match self.ended {
            Ended::Complete => "complete",
            Ended::Stopped => "stopped, the next run goes on",
            Ended::DryRun => "dry run, nothing was written",
        };
        writeln!(f, "{} – {ended}", self.pipeline)?;
        if self.resumed_after > 0 {
            writeln!(f, "  {:<10}{:>12}  settled by earlier runs", "resumed", self.resumed_after)?;
        }
        let rows = [
            ("read", self.read, "from the source"),
            ("produced", self.produced, "made in addition by stages"),
            ("written", self.written, "stored by the sink"),
            ("filtered", self.filtered, "not wanted by a stage"),
            ("rejected", self.rejected, "to the dead letters"),
            ("skipped", self.skipped, "stored by an earlier run"),
        ];
        for (name, count, meaning) in rows.into_iter().filter(|(name, count, _)| *count > 0 || *name != "produced") {
            writeln!(f, "  {name:<10}{count:>12}  {meaning}")?;
        }
        let rate = self.records_per_second();
        writeln!(f, "  {:<10}{:>12}  in {:.2?}, {rate:.0} records a second", "batches", self.batches, self.elapsed)?;
        write!(f, "  {:<10}{:>12}  {}", "effect", self.guarantee.word(), self.guarantee)
    }
}
