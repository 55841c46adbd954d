//! What the figures were taken on.

use std::{fs, thread};

/// Cores, and how busy they already are: on a machine with other work, medians mean little.
pub(crate) fn describe() -> String {
    let cores = thread::available_parallelism().map_or_else(|_| "?".to_owned(), |cores| cores.to_string());
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().filter(|load| !load.is_empty()).unwrap_or("?");
    format!("{cores} cores, load average {load} before the first measurement")
}
