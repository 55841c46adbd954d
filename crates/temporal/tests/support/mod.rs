//! A real server for the tests: the Temporal CLI's, started on a free loopback port with a temporary database.
#![allow(dead_code, reason = "each test file uses its part")]

use std::{
    env,
    fmt::Write,
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use actix_batch_pipeline::prelude::*;
use actix_batch_temporal::{Progress, RunHandle, TemporalRunner, TemporalWorker};
use actix_rt::task::JoinHandle;
use rusqlite::Connection as Database;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use temporalio_client::{Client, ClientOptions, Connection, ConnectionOptions};
use tokio::time::{sleep, timeout};

/// A namespace that the server has besides `default`.
pub(crate) const NAMESPACE: &str = "flights";

/// A server that ends with the test.
pub(crate) struct Server {
    program: PathBuf,
    folder: TempDir,
    port: u16,
    process: Child,
}

impl Server {
    /// `None`, with a line that says so, where there is no Temporal CLI.
    pub(crate) async fn start() -> Option<Self> {
        let Some(program) = env::var_os("TEMPORAL_CLI").map(PathBuf::from).filter(|path| path.exists()) else {
            println!("skipped: TEMPORAL_CLI does not name the Temporal CLI");
            return None;
        };
        let folder = TempDir::new().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let process = process(&program, port, folder.path());
        let server = Self { program, folder, port, process };
        server.runner().await;
        Some(server)
    }

    /// Ends it as a crash would.
    pub(crate) fn crash(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    pub(crate) fn restart(&mut self) {
        self.process = process(&self.program, self.port, self.folder.path());
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// How many bytes of history the server counts for a run.
    pub(crate) fn history_bytes(&self, run: &str) -> u64 {
        let arguments = ["workflow", "describe", "--address", &self.address(), "-w", run, "-o", "json"];
        let output = Command::new(&self.program).args(arguments).output().unwrap();
        let described: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        described["workflowExecutionInfo"]["historySizeBytes"].as_str().unwrap().parse().unwrap()
    }

    /// A runner, once the server answers.
    pub(crate) async fn runner(&self) -> TemporalRunner {
        for _ in 0..200 {
            if let Ok(runner) = TemporalRunner::connect(&self.url()).await {
                return runner;
            }
            sleep(Duration::from_millis(100)).await;
        }
        panic!("the server does not answer within 20 s")
    }

    /// A client of the SDK.
    pub(crate) async fn client(&self) -> Client {
        let options = ConnectionOptions::new(self.url().parse::<url::Url>().unwrap()).build();
        let connection = Connection::connect(options).await.unwrap();
        Client::new(connection, ClientOptions::new("default").build()).unwrap()
    }

    /// A worker in this process.
    pub(crate) fn worker(&self, slots: usize) -> Worker {
        Worker::run(TemporalWorker::new(&self.url()).slots(slots))
    }
}

impl Worker {
    pub(crate) fn run(worker: TemporalWorker) -> Self {
        let worker = worker.register::<Copy>();
        Self(actix_rt::spawn(async move { worker.run().await.unwrap() }))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.crash();
    }
}

/// Waits until a run is so far.
pub(crate) async fn until(run: &RunHandle, is_so: impl Fn(&Progress) -> bool) -> Progress {
    let reached = async {
        loop {
            if let Ok(progress) = run.progress().await
                && is_so(&progress)
            {
                return progress;
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(Duration::from_mins(1), reached).await.expect("the run gets so far within a minute")
}

/// A worker that ends with the test.
pub(crate) struct Worker(JoinHandle<()>);

impl Drop for Worker {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn process(program: &Path, port: u16, folder: &Path) -> Child {
    Command::new(program)
        .args(["server", "start-dev", "--headless", "--ip", "127.0.0.1", "--log-level", "never"])
        .args(["--namespace", NAMESPACE, "--port"])
        .arg(port.to_string())
        .arg("--db-filename")
        .arg(folder.join("temporal.sqlite"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Row {
    id: u64,
    text: String,
}

/// Copies rows into a table without a key.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Copy {
    pub(crate) rows: PathBuf,
    pub(crate) database: PathBuf,
    /// How long each record takes, to make a run long enough to be told something.
    pub(crate) microseconds: u64,
}

impl Definition for Copy {
    const NAME: &'static str = "copy";

    fn build(&self) -> Result<Pipeline, RunError> {
        let sink = Sqlite::append(&self.database, "rows")
            .create_table("CREATE TABLE IF NOT EXISTS rows (id INTEGER, text TEXT)")
            .dead_letters_table("rejected");
        let time = Duration::from_micros(self.microseconds);
        let pipeline = Pipeline::named("copy")
            .read(Csv::<Row>::file(&self.rows))
            .map_async(1, move |row: Row| async move {
                if !time.is_zero() {
                    sleep(time).await;
                }
                if row.id % 100 == 7 { Err("seven") } else { Ok(row) }
            })
            .write(sink);
        Ok(pipeline.chunk(50).collector(|sink| sink.max_size(100)).build())
    }
}

/// Rows and a database in a folder of its own.
pub(crate) struct Place {
    folder: TempDir,
}

impl Place {
    pub(crate) fn new(count: u64) -> Self {
        let place = Self { folder: TempDir::new().unwrap() };
        let mut rows = "id,text\n".to_owned();
        (0..count).for_each(|id| writeln!(rows, "{id},\"line\n{id}\"").unwrap());
        fs::write(place.folder.path().join("rows.csv"), rows).unwrap();
        place
    }

    pub(crate) fn copy(&self, microseconds: u64) -> Copy {
        let path = |name: &str| self.folder.path().join(name);
        Copy { rows: path("rows.csv"), database: path("rows.sqlite"), microseconds }
    }

    fn one(&self, sql: &str) -> i64 {
        let database = Database::open(self.folder.path().join("rows.sqlite")).unwrap();
        database.query_row(sql, [], |row| row.get(0)).unwrap()
    }

    /// What was written, in the order of the rows.
    pub(crate) fn rows(&self) -> Vec<(i64, String)> {
        let database = Database::open(self.folder.path().join("rows.sqlite")).unwrap();
        let mut select = database.prepare("SELECT id, text FROM rows ORDER BY id").unwrap();
        let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        rows.map(Result::unwrap).collect()
    }

    /// Rows, different rows, and rejected records.
    pub(crate) fn counts(&self) -> (i64, i64, i64) {
        let distinct = self.one("SELECT count(DISTINCT id) FROM rows");
        (self.one("SELECT count(*) FROM rows"), distinct, self.one("SELECT count(*) FROM rejected"))
    }
}
