//! Which plots there are, from which files.

use std::{fs, io};

use crate::{
    downstream::{Downstream, RoundTrip, Sqlite},
    plot::{Line, Plot},
    report::{self, Latency, OpenLoop, Row, Scale},
};

/// Draws every plot whose file an earlier run has written, into `docs/img`.
pub(crate) fn draw() -> io::Result<()> {
    fs::create_dir_all(report::workspace().join("docs/img"))?;
    match report::read::<OpenLoop>("open_loop") {
        Ok(results) => open_loop(&results)?,
        Err(error) => println!("no plots of throughput and latency: run `--open-loop` first ({error})"),
    }
    match report::read::<Scale>("scale") {
        Ok(results) => write("cost", &cost(&results.rows)),
        Err(error) => {
            println!("no plot of cost per job: run `--scale` first ({error})");
            Ok(())
        }
    }
}

fn write(name: &str, plot: &Plot) -> io::Result<()> {
    let path = report::workspace().join("docs/img").join(name).with_extension("svg");
    fs::write(&path, plot.svg())?;
    println!("drawn: {}", path.display());
    Ok(())
}

fn open_loop(results: &OpenLoop) -> io::Result<()> {
    write("throughput", &throughput(results))?;
    for (file, downstream) in [("latency-round-trip", RoundTrip::NAME), ("latency-sqlite", Sqlite::NAME)] {
        write(file, &latency(results, downstream, "median", |row| row.p50_ms))?;
        write(&format!("{file}-p99"), &latency(results, downstream, "p99", |row| row.p99_ms))?;
    }
    Ok(())
}

fn throughput(results: &OpenLoop) -> Plot {
    let line = |(colour, name): (usize, &str)| {
        let rows = results.capacity.iter().filter(|row| row.downstream == name);
        let points = rows.map(|row| (row.max_size as f64, row.jobs_per_second)).collect();
        Line { name: name.to_owned(), colour, dashed: false, points }
    };
    Plot {
        title: "Throughput against batch size",
        subtitle: "one worker, callers always waiting · actix-batch-bench --open-loop --plots".to_owned(),
        x: "jobs per batch (max_size)",
        y: "jobs per second",
        log: (true, true),
        lines: [RoundTrip::NAME, Sqlite::NAME].into_iter().enumerate().map(line).collect(),
    }
}

fn latency(results: &OpenLoop, downstream: &str, quantile: &str, of: fn(&Latency) -> f64) -> Plot {
    let rows: Vec<&Latency> = results.latency.iter().filter(|row| row.downstream == downstream).collect();
    let mut policies: Vec<&str> = rows.iter().map(|row| row.policy.as_str()).collect();
    policies.dedup();
    Plot {
        title: "Latency against offered load",
        subtitle: format!(
            "{quantile}, {downstream}, one worker, from the intended send time · actix-batch-bench --open-loop --plots"
        ),
        x: "jobs offered per second",
        y: "milliseconds",
        log: (true, true),
        lines: policies.iter().enumerate().map(|(colour, policy)| latency_of(&rows, colour, policy, of)).collect(),
    }
}

fn latency_of(rows: &[&Latency], colour: usize, policy: &str, of: fn(&Latency) -> f64) -> Line {
    let rows = rows.iter().filter(|row| row.policy == policy);
    let mut points: Vec<_> = rows.map(|row| (row.offered_per_second, of(row))).collect();
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    // The one to beat is drawn dashed.
    Line { name: policy.to_owned(), colour, dashed: policy == "unbatched", points }
}

fn cost(rows: &[Row]) -> Plot {
    let mut contenders: Vec<&str> = Vec::new();
    for row in rows {
        if !contenders.contains(&row.contender.as_str()) {
            contenders.push(&row.contender);
        }
    }
    Plot {
        title: "Cost per job against concurrent callers",
        subtitle: "batches of 100, one thread; fewer callers than that wait for the interval (1 ms) · actix-batch-bench --scale --plots".to_owned(),
        x: "concurrent callers",
        y: "nanoseconds per job",
        log: (true, true),
        lines: contenders.iter().enumerate().map(|(colour, name)| cost_of(rows, colour, name)).collect(),
    }
}

fn cost_of(rows: &[Row], colour: usize, contender: &str) -> Line {
    let points = rows.iter().filter(|row| row.contender == contender).map(|row| (row.callers as f64, row.ns_per_job));
    // Ours are drawn through, the others dashed.
    let dashed = !matches!(contender, "message" | "handle");
    Line { name: contender.to_owned(), colour, dashed, points: points.collect() }
}
