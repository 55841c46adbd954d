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
    write("latency-round-trip", &latency(results, RoundTrip::NAME))?;
    write("latency-sqlite", &latency(results, Sqlite::NAME))
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

fn latency(results: &OpenLoop, downstream: &str) -> Plot {
    let rows: Vec<&Latency> = results.latency.iter().filter(|row| row.downstream == downstream).collect();
    let mut policies: Vec<&str> = rows.iter().map(|row| row.policy.as_str()).collect();
    policies.dedup();
    Plot {
        title: "Latency against offered load",
        subtitle: format!(
            "{downstream}, one worker, from the intended send time · actix-batch-bench --open-loop --plots"
        ),
        x: "jobs offered per second",
        y: "milliseconds",
        log: (true, true),
        lines: policies.iter().enumerate().flat_map(|(colour, policy)| quantiles(&rows, colour, policy)).collect(),
    }
}

fn quantiles(rows: &[&Latency], colour: usize, policy: &str) -> [Line; 2] {
    let mut rows: Vec<_> = rows.iter().filter(|row| row.policy == policy).collect();
    rows.sort_by(|a, b| a.offered_per_second.total_cmp(&b.offered_per_second));
    let line = |name: &str, dashed, quantile: fn(&Latency) -> f64| Line {
        name: format!("{policy}, {name}"),
        colour,
        dashed,
        points: rows.iter().map(|row| (row.offered_per_second, quantile(row))).collect(),
    };
    [line("p50", false, |row| row.p50_ms), line("p99", true, |row| row.p99_ms)]
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
