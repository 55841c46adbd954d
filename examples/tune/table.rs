//! What is printed.

use std::time::Duration;

use actix_batch::{
    CollectorConfig, Strategy,
    flush::replay::Setting,
    observe::{AttemptStatus, Trace},
};

use crate::{
    replays::{Replayed, Replays},
    summary::Summary,
};

const HEAD: &str = "   strategy           size  interval       p50       p99  mean size     calls  workers";

/// What was recorded, and what the downstream costs.
pub(crate) fn head(trace: &Trace, setting: &Setting) {
    let span = trace.jobs.last().map_or(Duration::ZERO, |job| job.at).saturating_sub(trace.jobs[0].at);
    println!(
        "`{}`: {} jobs in {}, {:.0} a second; {} batches, {} of them answered",
        trace.config.name,
        trace.jobs.len(),
        time(span),
        trace.jobs.len() as f64 / span.as_secs_f64().max(1e-9),
        trace.batches.len(),
        trace.batches.iter().filter(|batch| batch.status == AttemptStatus::Answered).count(),
    );
    println!(
        "a batch costs {} and each of its jobs {}; {} workers",
        time(setting.cost.batch()),
        time(setting.cost.job()),
        setting.workers
    );
    if trace.lost > 0 {
        println!("{} jobs and batches are missing: the disk could not keep up", trace.lost);
    }
    if trace.own_policy {
        println!("it was recorded with a policy of its own: its size and interval below may mean nothing");
    }
}

/// What happened, and beside it what the replay makes of the same settings: so far it can be trusted.
pub(crate) fn recorded(config: &CollectorConfig, recorded: &Summary, replayed: Option<&Replayed>) {
    println!("\n{HEAD}");
    println!("   {}", line("as recorded", config, recorded));
    if let Some(replayed) = replayed {
        println!("   {}", line("the same, replayed", config, &replayed.summary));
    }
}

pub(crate) fn settings(replays: &Replays) {
    println!();
    let mut before: Option<&Replayed> = None;
    for replayed in &replays.all {
        if before.is_some_and(|before| is_no_other(before, replayed)) {
            continue;
        }
        println!("{}", row(replayed));
        before = Some(replayed);
    }
    println!("\n*  no setting has both a shorter p99 and fewer calls");
}

/// A larger size that no batch reaches changes nothing.
fn is_no_other(before: &Replayed, replayed: &Replayed) -> bool {
    let same = |replayed: &Replayed| (replayed.config.strategy, replayed.config.interval);
    same(before) == same(replayed) && before.summary == replayed.summary
}

pub(crate) fn took(replays: &Replays, jobs: usize, took: Duration) {
    println!(
        "{} settings × {jobs} jobs, replayed in {}: {:.1} million jobs a second",
        replays.all.len(),
        time(took),
        (replays.all.len() * jobs) as f64 / took.as_secs_f64().max(1e-9) / 1e6
    );
}

pub(crate) fn row(replayed: &Replayed) -> String {
    format!(
        "{}  {}",
        if replayed.best { '*' } else { ' ' },
        line(replayed.config.strategy.as_str(), &replayed.config, &replayed.summary)
    )
}

fn line(name: &str, config: &CollectorConfig, summary: &Summary) -> String {
    let CollectorConfig { strategy, max_size, interval, .. } = config;
    let interval = match strategy {
        Strategy::Capacity | Strategy::Idle => "–".to_owned(),
        _ => time(*interval),
    };
    let Summary { p50, p99, mean_size, calls, use_of_workers } = summary;
    format!(
        "{name:<18} {max_size:>4}  {interval:>8}  {:>8}  {:>8}  {mean_size:>9.1}  {calls:>8}  {:>5.0} %",
        time(*p50),
        time(*p99),
        use_of_workers * 100.0
    )
}

/// Three digits, and the unit that makes them readable.
pub(crate) fn time(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    let (number, unit) = match seconds {
        s if s >= 100.0 => return format!("{s:.0} s"),
        s if s >= 1.0 => (s, "s"),
        s if s >= 1e-3 => (s * 1e3, "ms"),
        s => (s * 1e6, "µs"),
    };
    let decimals = usize::from(number < 100.0 && number.fract() >= 0.05);
    format!("{number:.decimals$} {unit}")
}
