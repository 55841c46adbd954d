//! Shows the progress of a run to the person in front of it: a bar on a terminal, a plain line every few seconds otherwise.

use std::{
    io::{self, IsTerminal, Write},
    sync::Arc,
    time::Duration,
};

use actix_rt::task::JoinHandle;
use tokio::time::sleep;

use super::{Counters, Progress};

/// How often a plain line is written.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Shows the progress until it is dropped.
#[derive(Debug)]
pub(crate) struct Display(JoinHandle<()>);

impl Display {
    /// Starts to show it on standard error.
    pub(crate) fn start(counters: Arc<Counters>, resumed: bool) -> Self {
        Self(actix_rt::spawn(async move {
            if io::stderr().is_terminal() {
                on_terminal(&counters, resumed).await;
            } else {
                as_lines(&counters).await;
            }
        }))
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn as_lines(counters: &Counters) {
    loop {
        sleep(LINE_EVERY).await;
        // There is nothing to be done about a standard error that is closed.
        let _ = writeln!(io::stderr(), "{}", line(&counters.progress(false)));
    }
}

/// The progress in one line.
fn line(progress: &Progress) -> String {
    let rate = per_second(progress);
    let share = progress.share().map(|share| format!("{:.0} %, ", share * 100.0)).unwrap_or_default();
    format!(
        "{}: {share}{} read, {} written, {} rejected, {rate:.0} records a second",
        progress.pipeline, progress.read, progress.written, progress.rejected
    )
}

#[expect(clippy::cast_precision_loss, reason = "a rate is shown, not counted with")]
fn per_second(progress: &Progress) -> f64 {
    progress.read as f64 / progress.elapsed.as_secs_f64().max(1e-3)
}

#[cfg(not(feature = "progress-bar"))]
async fn on_terminal(counters: &Counters, _resumed: bool) {
    as_lines(counters).await;
}

#[cfg(feature = "progress-bar")]
async fn on_terminal(counters: &Counters, resumed: bool) {
    use indicatif::{ProgressBar, ProgressStyle};

    use crate::source::Size;

    let size = *counters.size.lock();
    // How much an earlier run has read is not known, so a run that goes on has no percentage.
    let (bar, template) = match size.filter(|_| !resumed) {
        Some(Size::Bytes(bytes)) => {
            (ProgressBar::new(bytes), "{bar:30} {percent:>3} %  {binary_bytes}/{binary_total_bytes}  {eta} left  {msg}")
        }
        Some(Size::Records(records)) => {
            (ProgressBar::new(records), "{bar:30} {percent:>3} %  {human_pos}/{human_len}  {eta} left  {msg}")
        }
        None => (ProgressBar::new_spinner(), "{spinner} {elapsed}  {msg}"),
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("█▉▊▋▌▍▎▏ "));
    }
    let _cleared = Cleared(bar.clone());
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    loop {
        ticks.tick().await;
        let progress = counters.progress(false);
        bar.set_position(progress.passed);
        bar.set_message(format!(
            "{} written, {} rejected, {:.0}/s",
            progress.written,
            progress.rejected,
            per_second(&progress)
        ));
    }
}

/// Takes the bar away when the run ends: the report comes in its place.
#[cfg(feature = "progress-bar")]
struct Cleared(indicatif::ProgressBar);

#[cfg(feature = "progress-bar")]
impl Drop for Cleared {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
