//! What each contender does.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use crate::{
    by_hand,
    contest::{self, Outcome},
    piped, rows,
};

/// What is tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Trial {
    Serial(usize),
    Threads(usize),
    Pipeline(usize),
    /// In ranges of so many records.
    Ranges(u64),
    Python(usize),
    /// By a program of its own: see `peers/`.
    Peer {
        program: PathBuf,
        batch: usize,
    },
    JsonLinesByHand,
    JsonLinesPipeline,
    Nothing {
        readers: usize,
    },
    /// Without a pipeline behind them.
    Readers(usize),
    Checkpoints {
        every: Duration,
    },
    Stages {
        records: u64,
        stages: usize,
    },
    Filtered {
        records: u64,
        stages: usize,
    },
}

impl Trial {
    /// Runs it in a process of its own. `None` if what it needs is not there.
    pub(crate) fn run(&self, data: &Path) -> Option<Outcome> {
        let is_here = !matches!(self, Self::Python(_)) || Command::new("python3").arg("-V").output().is_ok();
        is_here.then(|| contest::start(&(self, data), &[]))
    }

    /// Runs it here.
    pub(crate) fn run_here(&self, data: &Path) -> Outcome {
        let folder = tempfile::tempdir().expect("a folder");
        let (database, file) = (folder.path().join("flights.sqlite"), folder.path().join("flights.jsonl"));
        let begin = Instant::now();
        let rows = match *self {
            Self::Peer { ref program, batch } => return peer(program, data, &database, batch),
            Self::Serial(batch) => by_hand::serial(data, &database, batch),
            Self::Threads(batch) => by_hand::threads(data, &database, batch),
            Self::Pipeline(batch) => piped::sqlite(data, &database, batch),
            Self::Ranges(records) => piped::ranges(data, &database, records),
            Self::Python(batch) => return python(data, &database, batch),
            Self::JsonLinesByHand => by_hand::json_lines(data, &file),
            Self::JsonLinesPipeline => piped::json_lines(data, &file),
            Self::Nothing { readers } => piped::nothing(data, readers),
            Self::Readers(readers) => piped::readers_alone(data, readers),
            Self::Checkpoints { every } => piped::checkpoints(data, &file, every),
            Self::Stages { records, stages } => piped::stages(records, stages),
            Self::Filtered { records, stages } => piped::filtered(records, stages),
        };
        Outcome::now(rows, begin)
    }
}

fn python(data: &Path, database: &Path, batch: usize) -> Outcome {
    let begin = Instant::now();
    let mut command = Command::new("python3");
    command.args(["-c", include_str!("peer.py")]).arg(data).arg(database).arg(batch.to_string());
    let output = command.args([rows::SCHEMA, &rows::upsert()]).output().expect("Python runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let rows = String::from_utf8_lossy(&output.stdout).trim().parse().expect("the number of rows");
    Outcome { peak_kib: 0, ..Outcome::now(rows, begin) }
}

/// The table is there before the program begins. Its rows are those that it says it has written.
fn peer(program: &Path, data: &Path, database: &Path, batch: usize) -> Outcome {
    let connection = rusqlite::Connection::open(database).expect("a database");
    connection.execute_batch(rows::SCHEMA).expect("the table");
    drop(connection);
    let begin = Instant::now();
    let output = Command::new(program).arg(data).arg(database).arg(batch.to_string()).output().expect("the peer runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let rows = String::from_utf8_lossy(&output.stdout).trim().parse().expect("the number of rows");
    Outcome { peak_kib: 0, ..Outcome::now(rows, begin) }
}
