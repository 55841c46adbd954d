//! The observer that records, and the thread that writes.

use std::{
    fmt,
    fs::{File, OpenOptions},
    io::{self, Read, Seek, Write},
    path::Path,
    sync::Arc,
    thread,
    time::Duration,
};

use fs4::FileExt;
use tokio::time::Instant;
use tracing::{error, warn};

use super::{
    BatchLine, Header, Line, TraceError, micros,
    tape::{Piece, Tape},
};
use crate::{
    config::CollectorConfig,
    job::JobId,
    observe::{Attempted, Observer, ShutdownReport},
};

/// Records when jobs come and how batches go, as lines of JSON in a file: a [`Trace`](super::Trace) (feature `record`).
///
/// [`CollectorBuilder::record`](crate::CollectorBuilder::record) sets one up. Made by hand, it can be asked what is lost.
///
/// A job costs a look at the clock and a push under a lock of the recorder's own; a thread of its own writes ten times a second
/// while there is something to write, so the collector never waits for the disk. What the disk cannot keep up with – more than
/// 2²⁰ jobs and batches unwritten – is left out, counted, and said in the trace. A disk that fails ends the recording: that is
/// logged once, what comes afterwards is counted, and no job notices.
///
/// A shutdown, and the drop of the recorder, wait until everything is written, for a second at the most. Lines are not synced:
/// they survive the process, not the machine.
///
/// ```
/// use std::sync::Arc;
///
/// use actix_batch::{CollectorConfig, observe::{Trace, TraceRecorder}, prelude::*};
/// # struct Double(u64);
/// # impl Job for Double { type Output = u64; type Error = String; }
/// # struct Doubles;
/// # impl BatchProcessor for Doubles {
/// #     type Job = Double;
/// #     async fn process(&mut self, batch: &Batch<Double>) -> Result<Outcomes<Double>, String> {
/// #         Ok(Outcomes::in_order(batch.iter().map(|job| job.0 * 2)))
/// #     }
/// # }
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("trace.jsonl");
///
/// # actix_rt::System::new().block_on(async {
/// let config = CollectorConfig::default();
/// let recorder = Arc::new(TraceRecorder::create(&path, &config)?);
/// let doubles = Collector::builder(|| Doubles).config(config).observer(Arc::clone(&recorder)).start()?;
/// doubles.submit(Double(2)).await?;
/// doubles.shutdown(Shutdown::drain()).await?;
///
/// assert_eq!(recorder.lost(), 0);
/// assert_eq!(Trace::read(&path)?.jobs.len(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct TraceRecorder {
    tape: Arc<Tape>,
    start: Instant,
}

impl TraceRecorder {
    /// How long an end waits for the disk.
    const PATIENCE: Duration = Duration::from_secs(1);

    /// Begins a trace of a collector with these settings. An earlier trace at this path is replaced.
    ///
    /// # Errors
    ///
    /// [`TraceError::Io`] where no file can be written or no thread started; [`TraceError::NoTrace`] for a file that is there and
    /// is no trace: it is left alone.
    pub fn create(path: impl AsRef<Path>, config: &CollectorConfig) -> Result<Self, TraceError> {
        Self::create_for(path.as_ref(), config, false)
    }

    /// As [`create`](Self::create), for a policy that the configuration does not know.
    pub(crate) fn create_for(path: &Path, config: &CollectorConfig, own_policy: bool) -> Result<Self, TraceError> {
        Ok(Self::write_to(open(path)?, Header::new(config, own_policy))?)
    }

    pub(super) fn write_to(file: impl Write + Send + 'static, header: Header) -> io::Result<Self> {
        let start = Instant::now();
        let collector = header.config.name.clone();
        let mut writer = Writer { file, start, line: Vec::new() };
        writer.push(&Line::Trace(header))?;
        writer.write()?;
        let tape = Arc::new(Tape::default());
        let writers = Arc::clone(&tape);
        thread::Builder::new().name("trace".to_owned()).spawn(move || writer.run(&writers, &collector))?;
        Ok(Self { tape, start })
    }

    /// How many jobs and batches were not written, and never will be.
    pub fn lost(&self) -> u64 {
        self.tape.lost()
    }
}

/// Opens the file for a new trace, unless it holds something else.
fn open(path: &Path) -> Result<File, TraceError> {
    let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
    if file.metadata()?.is_file() {
        // Held as long as the file is open: two recorders would write over each other.
        lock(&file)?;
        let mut begin = Vec::new();
        Read::by_ref(&mut file).take(9).read_to_end(&mut begin)?;
        if !begin.is_empty() && begin != br#"{"trace":"# {
            return Err(TraceError::NoTrace);
        }
        file.set_len(0)?;
        file.rewind()?;
    }
    Ok(file)
}

/// Locks the file. A recorder that was dropped just now may still be closing it.
fn lock(file: &File) -> Result<(), TraceError> {
    for _ in 0..20 {
        if FileExt::try_lock(file).is_ok() {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(10));
    }
    Err(TraceError::InUse)
}

impl Observer for TraceRecorder {
    fn accepted(&self, _: &str, _: JobId) {
        self.tape.arrival();
    }

    fn attempted(&self, _: &str, outcome: &Attempted) {
        self.tape.batch(BatchLine::new(outcome, self.start.elapsed()));
    }

    // The last reply is out, so no caller waits any more.
    fn drained(&self, _: &str, _: &ShutdownReport) {
        self.tape.catch_up(Self::PATIENCE);
    }
}

impl Drop for TraceRecorder {
    fn drop(&mut self) {
        self.tape.end(Self::PATIENCE);
    }
}

impl fmt::Debug for TraceRecorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TraceRecorder").field("lost", &self.lost()).finish_non_exhaustive()
    }
}

struct Writer<W> {
    file: W,
    start: Instant,
    /// What is to be written next: one call for all that there is.
    line: Vec<u8>,
}

impl<W: Write> Writer<W> {
    /// A line is lost as a whole when the process is killed, so lines are not too long.
    const JOBS_PER_LINE: usize = 1_000;

    fn run(mut self, tape: &Tape, collector: &str) {
        while let Some(piece) = tape.take() {
            if let Err(error) = self.write_piece(&piece) {
                tape.give_up(piece.arrivals.len() + piece.batches.len());
                return error!(collector, %error, "the trace cannot be written: recording stops");
            }
        }
        if tape.lost() > 0 {
            warn!(collector, lost = tape.lost(), "the disk could not keep up with the trace");
        }
    }

    fn write_piece(&mut self, piece: &Piece) -> io::Result<()> {
        for arrivals in piece.arrivals.chunks(Self::JOBS_PER_LINE) {
            let mut before = self.start;
            let gaps = arrivals.iter().map(|at| {
                // What is rounded off one gap is in the next one: the times do not drift.
                let gap = micros(at.saturating_duration_since(before));
                before += Duration::from_micros(gap);
                gap
            });
            let line = Line::Arrivals(gaps.collect());
            self.push(&line)?;
        }
        for batch in &piece.batches {
            self.push(&Line::Batch(batch.clone()))?;
        }
        if piece.lost > 0 {
            self.push(&Line::Lost(piece.lost))?;
        }
        self.write()
    }

    fn push(&mut self, line: &Line) -> io::Result<()> {
        serde_json::to_writer(&mut self.line, line)?;
        self.line.push(b'\n');
        Ok(())
    }

    fn write(&mut self) -> io::Result<()> {
        let written = self.file.write_all(&self.line).and_then(|()| self.file.flush());
        self.line.clear();
        written
    }
}
