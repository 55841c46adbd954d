//! The two drawings of the page, as the insides of an `<svg>`.

use std::collections::BTreeMap;
use std::fmt::Write;

use actix_batch::{Distribution, Trigger};

use crate::panel::count;

const WIDTH: f64 = 600.0;

/// A line over the last seconds, the newest at the right edge, in a box of 600 × 80.
pub(crate) fn sparkline(rates: &[f64], seconds: usize) -> String {
    let peak = rates.iter().copied().fold(1.0, f64::max);
    let step = WIDTH / (seconds - 1) as f64;
    let start = WIDTH - step * rates.len().saturating_sub(1) as f64;
    let line = rates.iter().enumerate().fold(String::new(), |mut line, (at, rate)| {
        let _ = write!(line, " {:.1},{:.1}", start + step * at as f64, 78.0 - 74.0 * rate / peak);
        line
    });
    format!(
        r#"<polygon class="area" points="{start:.1},80{line} {WIDTH},80"/><polyline class="line" points="{line}"/>"#
    )
}

/// How many batches of which size, stacked by what sent them off, in a box of 600 × 160.
pub(crate) fn sizes(sizes: &BTreeMap<Trigger, Distribution>, max_size: u64) -> String {
    let columns = columns(sizes, max_size);
    let highest = columns.iter().map(Column::batches).max().unwrap_or(0).max(1);
    let width = WIDTH / columns.len() as f64;
    columns.iter().enumerate().map(|(at, column)| column.draw(width * at as f64, width, highest)).collect()
}

/// What the colours mean, and how many batches left for that reason.
pub(crate) fn triggers(batches: &BTreeMap<Trigger, u64>) -> String {
    let seen = batches.iter().filter(|(_, batches)| **batches > 0);
    let keys: Vec<String> = seen
        .map(|(trigger, batches)| format!(r#"<li class="{trigger}">{trigger} <b>{}</b></li>"#, count(*batches)))
        .collect();
    if keys.is_empty() { "<li>no batch in the last minute</li>".into() } else { keys.concat() }
}

/// Batches of `from..=to` jobs.
struct Column {
    from: u64,
    to: u64,
    by_trigger: Vec<(Trigger, u64)>,
}

/// 1, 2, 3–4, 5–8, … : each column twice as wide as the one before, up to the one with `max_size`.
fn columns(sizes: &BTreeMap<Trigger, Distribution>, max_size: u64) -> Vec<Column> {
    let doublings = max_size.next_power_of_two().ilog2();
    let column = |doubling| {
        let to = 1_u64 << doubling;
        let from = to / 2 + 1;
        // A distribution rounds large values up a little: no batch is really larger than `max_size`.
        let fits = |size: u64| (from..=to).contains(&size.min(max_size));
        let within =
            |sizes: &Distribution| sizes.iter().filter(|(size, _)| fits(*size)).map(|(_, batches)| batches).sum();
        let by_trigger = sizes.iter().map(|(trigger, sizes)| (*trigger, within(sizes))).collect();
        Column { from, to: to.min(max_size), by_trigger }
    };
    (0..=doublings).map(column).collect()
}

impl Column {
    fn batches(&self) -> u64 {
        self.by_trigger.iter().map(|(_, batches)| batches).sum()
    }

    fn label(&self) -> String {
        if self.from == self.to { self.to.to_string() } else { format!("{}–{}", self.from, self.to) }
    }

    fn draw(&self, left: f64, width: f64, highest: u64) -> String {
        let (middle, mut top) = (left + width / 2.0, 136.0);
        let mut svg = String::new();
        for (trigger, batches) in self.by_trigger.iter().filter(|(_, batches)| *batches > 0) {
            // Never less than a line that can be seen.
            let height = (112.0 * *batches as f64 / highest as f64).max(1.5);
            top -= height;
            let _ = write!(
                svg,
                r#"<rect class="{trigger}" x="{:.1}" y="{top:.1}" width="{:.1}" height="{height:.1}"><title>{} batches of {} by {trigger}</title></rect>"#,
                left + width * 0.12,
                width * 0.76,
                count(*batches),
                self.label(),
            );
        }
        if self.batches() > 0 {
            let _ = write!(svg, r#"<text x="{middle:.1}" y="{:.1}">{}</text>"#, top - 5.0, count(self.batches()));
        }
        let _ = write!(svg, r#"<text class="axis" x="{middle:.1}" y="153">{}</text>"#, self.label());
        svg
    }
}
