//! Contenders take turns, and each trial has a process of its own, so that its memory is its own. The benches of all packages share this
//! file.

use std::{env, fmt, fs, process::Command, time::Instant};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// The environment variable that holds the one trial of a process.
const TRIAL: &str = "TRIAL";

/// What came of a trial.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Outcome {
    pub(crate) rows: u64,
    pub(crate) seconds: f64,
    /// The most memory that the process had, as Linux counts it; 0 elsewhere.
    pub(crate) peak_kib: u64,
}

impl Outcome {
    /// Of a trial in this process that ends now.
    pub(crate) fn now(rows: u64, begin: Instant) -> Self {
        Self { rows, seconds: begin.elapsed().as_secs_f64(), peak_kib: peak_kib() }
    }

    #[expect(clippy::cast_precision_loss, reason = "a rate is for reading")]
    pub(crate) fn per_second(self) -> f64 {
        self.rows as f64 / self.seconds
    }
}

/// The trial that this process has been started for, unless it is the one that starts them.
pub(crate) fn trial<T: DeserializeOwned>() -> Option<T> {
    let trial = env::var(TRIAL).ok()?;
    Some(serde_json::from_str(&trial).expect("a trial as JSON"))
}

/// Tells the process that has started this one what came of its trial.
pub(crate) fn tell(outcome: Outcome) {
    println!("{}", serde_json::to_string(&outcome).expect("an outcome is serde data"));
}

/// Runs a trial in a process of its own, with the same arguments, and these environment variables more.
pub(crate) fn start<T: Serialize>(trial: &T, environment: &[(String, String)]) -> Outcome {
    let trial = serde_json::to_string(trial).expect("a trial is serde data");
    let mut command = Command::new(env::current_exe().expect("this program"));
    let output = command.args(env::args_os().skip(1)).env(TRIAL, &trial).envs(environment.iter().cloned()).output();
    let output = output.expect("the trial runs");
    assert!(output.status.success(), "{trial}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("the trial's outcome")
}

/// Whose turn it is, in so many rounds: each contender comes first in some of them.
pub(crate) fn turns(contenders: usize, rounds: usize) -> impl Iterator<Item = usize> {
    (0..rounds).flat_map(move |round| (0..contenders).map(move |at| (at + round) % contenders))
}

/// A contender beside another one, which is the measure. Rates and ratios are medians.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Figures {
    pub(crate) per_second: f64,
    /// Of both within a round.
    pub(crate) ratio: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
    /// The largest of all rounds.
    pub(crate) peak_kib: u64,
}

impl Figures {
    pub(crate) fn of(own: &[Outcome], measure: &[Outcome]) -> Self {
        let rounds = || own.iter().zip(measure);
        let ratios: Vec<_> = rounds().map(|(own, measure)| own.per_second() / measure.per_second()).collect();
        Self {
            per_second: median(own.iter().map(|own| own.per_second())),
            ratio: median(ratios.iter().copied()),
            least: ratios.iter().copied().fold(f64::INFINITY, f64::min),
            most: ratios.iter().copied().fold(0.0, f64::max),
            peak_kib: own.iter().map(|own| own.peak_kib).max().unwrap_or_default(),
        }
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { per_second, ratio, least, most, peak_kib } = self;
        write!(f, "{per_second:>9.0} rows/s  {ratio:>5.2} × ({least:.2}–{most:.2})")?;
        if *peak_kib == 0 { Ok(()) } else { write!(f, "  peak {} MiB", peak_kib / 1024) }
    }
}

pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn peak_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or_default()
}
