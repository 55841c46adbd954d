//! A trace, as it is read.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    ops::Range,
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::Deserialize;

use super::{BatchLine, Header, Line, TraceError, VERSION};
use crate::{
    config::CollectorConfig,
    flush::{Timing, replay::Incoming},
    observe::AttemptStatus,
};

/// What a collector has recorded: see [`CollectorBuilder::record`](crate::CollectorBuilder::record) (feature `record`).
///
/// ```
/// use actix_batch::{flush::replay::{Cost, Setting, replay}, observe::Trace};
///
/// // What the policy of these settings, or any other, makes of jobs that really came.
/// fn calls(path: &str) -> Result<usize, Box<dyn std::error::Error>> {
///     let trace = Trace::read(path)?;
///     let cost = Cost::fit(&trace.timings()).ok_or("no batch was answered")?;
///     let setting = Setting { max_size: trace.config.max_size, workers: trace.config.workers.max(), cost, ..Setting::default() };
///     Ok(replay(trace.config.policy(), &setting, &trace.jobs).len())
/// }
/// # assert!(calls("nowhere").is_err());
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Trace {
    /// When it began.
    pub started_at: SystemTime,
    /// The settings of the collector.
    pub config: CollectorConfig,
    /// Whether its flush policy was one that the settings do not know: that of [`CollectorBuilder::policy`](crate::CollectorBuilder::policy).
    pub own_policy: bool,
    /// The accepted jobs, in the order in which they came; times count from the trace's start. Weights are not recorded.
    pub jobs: Vec<Incoming>,
    /// The attempts that have ended, in that order.
    pub batches: Vec<Attempt>,
    /// How many jobs and batches were left out, because the disk could not keep up.
    pub lost: u64,
}

/// An attempt that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Attempt {
    /// The batch's number.
    pub batch: u64,
    /// How many jobs it had.
    pub jobs: usize,
    /// Which attempt it was, from 1.
    pub attempt: u32,
    /// When it began, counted from the trace's start.
    pub started: Duration,
    /// When it ended.
    pub done: Duration,
    /// From its first job to its start, and from there to the worker's answer.
    pub timing: Timing,
    /// How it ended.
    pub status: AttemptStatus,
}

impl From<BatchLine> for Attempt {
    fn from(line: BatchLine) -> Self {
        let BatchLine { id: batch, at, jobs, attempt, waited, took, status } = line;
        let [done, waited, took] = [at, waited, took].map(Duration::from_micros);
        Self {
            batch,
            jobs,
            attempt,
            started: done.saturating_sub(took),
            done,
            timing: Timing { jobs, waited, took },
            status,
        }
    }
}

impl Trace {
    /// No trace is longer: a time beyond it is a mistake.
    const LONGEST: Duration = Duration::from_secs(10 * 366 * 24 * 60 * 60);

    /// Reads a trace. A last line that was torn, by a kill or a full disk, is left out.
    ///
    /// # Errors
    ///
    /// [`TraceError`]: what the file system says, a file that is no trace or one of another version, and the number of a line
    /// that is not valid, with what is wrong with it.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, TraceError> {
        Self::parse(BufReader::new(File::open(path)?))
    }

    /// As [`read`](Self::read), from anywhere.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub fn parse(mut lines: impl BufRead) -> Result<Self, TraceError> {
        let (mut text, mut line) = (Vec::new(), 1);
        lines.read_until(b'\n', &mut text)?;
        let mut trace = Self::begin(&text)?;
        loop {
            text.clear();
            line += 1;
            if lines.read_until(b'\n', &mut text)? == 0 || !text.ends_with(b"\n") {
                break;
            }
            let read = parse_line(&text).and_then(|said| trace.add(said));
            read.map_err(|problem| TraceError::Line { line, problem })?;
        }
        trace.jobs.sort_by_key(|job| job.at);
        Ok(trace)
    }

    fn begin(text: &[u8]) -> Result<Self, TraceError> {
        let Some(version) = version(text) else { return Err(TraceError::NoTrace) };
        if version != VERSION {
            return Err(TraceError::Version(version));
        }
        let header = parse_line(text).map_err(|problem| TraceError::Line { line: 1, problem })?;
        let Line::Trace(Header { started_at, own_policy, config, .. }) = header else {
            return Err(TraceError::NoTrace);
        };
        let started_at = UNIX_EPOCH.checked_add(Duration::from_millis(started_at)).unwrap_or(UNIX_EPOCH);
        Ok(Self { started_at, config, own_policy, jobs: Vec::new(), batches: Vec::new(), lost: 0 })
    }

    fn add(&mut self, line: Line) -> Result<(), String> {
        match line {
            Line::Trace(_) => return Err("a trace has one header, and it is the first line".to_owned()),
            Line::Arrivals(gaps) => {
                let mut at = Duration::ZERO;
                for gap in gaps {
                    at = within(at.saturating_add(Duration::from_micros(gap)))?;
                    self.jobs.push(Incoming::at(at));
                }
            }
            Line::Batch(batch) => {
                within(Duration::from_micros(batch.at))?;
                self.batches.push(batch.into());
            }
            Line::Lost(lost) => self.lost = self.lost.saturating_add(lost),
        }
        Ok(())
    }

    /// How long workers took for the batches that they answered: what [`Cost::fit`](crate::flush::replay::Cost::fit) asks for.
    pub fn timings(&self) -> Vec<Timing> {
        self.batches.iter().filter(|batch| batch.status == AttemptStatus::Answered).map(|batch| batch.timing).collect()
    }

    /// Which jobs were in which batch, and when it began and ended, as far as can be told: jobs enter batches in the order in
    /// which they came, and only first attempts are looked at. So this is exact without batchers, retries, splits, abandoned jobs
    /// and [lost](Self::lost) lines.
    pub fn runs(&self) -> Vec<(Range<usize>, &Attempt)> {
        let mut first: Vec<_> = self.batches.iter().filter(|batch| batch.attempt == 1).collect();
        first.sort_by_key(|batch| batch.batch);
        let mut next = 0_usize;
        let run = |batch: &Attempt| {
            let begin = next;
            next = self.jobs.len().min(begin.saturating_add(batch.jobs));
            begin..next
        };
        let ranges: Vec<_> = first.iter().copied().map(run).collect();
        ranges.into_iter().zip(first).filter(|(jobs, _)| !jobs.is_empty()).collect()
    }
}

fn within(time: Duration) -> Result<Duration, String> {
    if time > Trace::LONGEST { Err(format!("{} s is longer than ten years", time.as_secs())) } else { Ok(time) }
}

fn parse_line(text: &[u8]) -> Result<Line, String> {
    serde_json::from_slice(text).map_err(|error| error.to_string())
}

/// Of the first line, whatever else it says.
fn version(text: &[u8]) -> Option<u32> {
    #[derive(Deserialize)]
    struct First {
        trace: Version,
    }
    #[derive(Deserialize)]
    struct Version {
        version: u32,
    }
    serde_json::from_slice::<First>(text).ok().map(|first| first.trace.version)
}
