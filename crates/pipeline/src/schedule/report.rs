//! What the pipelines of a schedule have done.

use std::fmt;

use serde::Serialize;

use crate::progress::Report;

/// What a pipeline of a schedule has done so far.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Scheduled {
    /// The pipeline's name.
    pub pipeline: String,
    /// How often it has run, in vain or not.
    pub runs: u64,
    /// How many of the runs have failed.
    pub failures: u64,
    /// Whether it runs now.
    pub is_running: bool,
    /// Records that all runs have read. Those of a run that failed are not counted: the next one goes on from what had settled.
    pub read: u64,
    /// Records that all runs have written, counted in the same way.
    pub written: u64,
    /// Records that all runs have rejected, counted in the same way.
    pub rejected: u64,
    /// What the last successful run did.
    pub report: Option<Report>,
    /// Why the last run failed; `None` if it did not.
    pub error: Option<String>,
}

/// One report for all pipelines of a schedule. It is shown as a table.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ScheduleReport {
    /// The pipelines, by name.
    pub pipelines: Vec<Scheduled>,
}

impl Scheduled {
    pub(super) fn new(pipeline: String) -> Self {
        Self {
            pipeline,
            runs: 0,
            failures: 0,
            is_running: false,
            read: 0,
            written: 0,
            rejected: 0,
            report: None,
            error: None,
        }
    }

    pub(super) fn begins(&mut self) {
        self.is_running = true;
    }

    pub(super) fn ended(&mut self, report: Report) {
        self.is_running = false;
        self.runs += 1;
        self.read += report.read;
        self.written += report.written;
        self.rejected += report.rejected;
        self.error = None;
        self.report = Some(report);
    }

    pub(super) fn failed(&mut self, error: String) {
        self.is_running = false;
        self.runs += 1;
        self.failures += 1;
        self.error = Some(error);
    }

    fn state(&self) -> String {
        match (&self.error, self.is_running) {
            (_, true) => "runs".to_owned(),
            (Some(error), false) => format!("failed: {error}"),
            (None, false) => "waits".to_owned(),
        }
    }
}

impl fmt::Display for ScheduleReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.pipelines.iter().map(|entry| entry.pipeline.chars().count()).max().unwrap_or(0).max(8);
        write!(
            f,
            "{:width$} {:>6} {:>8} {:>12} {:>12} {:>9}",
            "pipeline", "runs", "failures", "read", "written", "rejected"
        )?;
        for entry in &self.pipelines {
            let Scheduled { pipeline, runs, failures, read, written, rejected, .. } = entry;
            write!(
                f,
                "\n{pipeline:width$} {runs:>6} {failures:>8} {read:>12} {written:>12} {rejected:>9}  {}",
                entry.state()
            )?;
        }
        Ok(())
    }
}
