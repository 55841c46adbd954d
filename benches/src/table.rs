//! Rows and columns for a terminal.

use std::fmt;

/// A table whose columns are as wide as their widest cell: words to the left, numbers to the right.
pub(crate) struct Table {
    header: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new<const N: usize>(header: [&str; N]) -> Self {
        Self { header: header.map(str::to_owned).to_vec(), rows: Vec::new() }
    }

    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.into());
    }

    /// An empty line between groups.
    pub(crate) fn gap(&mut self) {
        self.rows.push(Vec::new());
    }

    fn column(&self, at: usize) -> Column {
        let cells = || self.rows.iter().filter_map(move |row| row.get(at));
        let widest = cells().map(|cell| cell.chars().count()).max().unwrap_or(0);
        Column {
            width: widest.max(self.header[at].chars().count()),
            numbers: cells().all(|cell| cell.starts_with(|c: char| c.is_ascii_digit() || c == '-')),
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns: Vec<Column> = (0..self.header.len()).map(|at| self.column(at)).collect();
        for row in [&self.header].into_iter().chain(&self.rows) {
            let cells: Vec<String> = row.iter().zip(&columns).map(|(cell, column)| column.pad(cell)).collect();
            writeln!(f, "{}", cells.join("  ").trim_end())?;
        }
        Ok(())
    }
}

struct Column {
    width: usize,
    numbers: bool,
}

impl Column {
    fn pad(&self, cell: &str) -> String {
        let width = self.width;
        if self.numbers { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
    }
}
