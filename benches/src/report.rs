//! What a run writes for later runs, plots and other programs to read.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::trial::Threads;

/// `results.json`: the closed loops, and what actix-batch costs when nobody submits, when many wait, and how late it is.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Results {
    pub(crate) closed_loop: Vec<Row>,
    /// Memory that the collector holds per job that waits, the 8-byte job included; the caller's own future is not.
    pub(crate) bytes_per_pending_job: f64,
    /// `None` where the system does not count context switches.
    pub(crate) idle_wakeups_per_second: Option<f64>,
    pub(crate) flush_lateness_ms: FlushLateness,
}

/// One contender under one closed loop: the median of the rounds, and the lowest and highest of them.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Row {
    pub(crate) contender: String,
    pub(crate) callers: usize,
    pub(crate) batch: usize,
    pub(crate) job_bytes: usize,
    pub(crate) threads: Threads,
    pub(crate) ns_per_job: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
    pub(crate) allocations_per_job: f64,
    pub(crate) mean_batch: f64,
}

/// How far after its due time an interval flush happens, in milliseconds.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FlushLateness {
    pub(crate) idle_p99: f64,
    pub(crate) flooded_p99: f64,
}

/// `scale.json`: cost per job as callers grow.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scale {
    pub(crate) rows: Vec<Row>,
}

/// `open_loop.json`: what a downstream system can take, and how long jobs take below, at and above that.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OpenLoop {
    pub(crate) capacity: Vec<Capacity>,
    pub(crate) latency: Vec<Latency>,
}

/// The most that goes through.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Capacity {
    pub(crate) downstream: String,
    pub(crate) max_size: usize,
    pub(crate) jobs_per_second: f64,
}

/// Latency from the intended send time, at one offered load.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Latency {
    pub(crate) downstream: String,
    pub(crate) policy: String,
    pub(crate) offered_per_second: f64,
    /// Of what this policy can take.
    pub(crate) percent_of_capacity: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) p999_ms: f64,
}

/// Writes `target/bench/<name>.json`.
pub(crate) fn write<T: Serialize>(name: &str, results: &T) -> io::Result<()> {
    let path = file(name);
    fs::create_dir_all(folder())?;
    fs::write(&path, serde_json::to_string_pretty(results)? + "\n")?;
    println!("written: {}", path.display());
    Ok(())
}

/// Reads what an earlier run has written.
pub(crate) fn read<T: DeserializeOwned>(name: &str) -> io::Result<T> {
    Ok(serde_json::from_str(&fs::read_to_string(file(name))?)?)
}

/// `target/bench`.
pub(crate) fn folder() -> PathBuf {
    workspace().join("target/bench")
}

fn file(name: &str) -> PathBuf {
    folder().join(name).with_extension("json")
}

/// The workspace's root.
pub(crate) fn workspace() -> PathBuf {
    let member = Path::new(env!("CARGO_MANIFEST_DIR"));
    member.parent().unwrap_or(member).to_path_buf()
}
