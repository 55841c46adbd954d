//! A real server for the tests: FerretDB over SQLite, which speaks MongoDB's protocol. It is a small Go program, built once.
#![allow(dead_code, reason = "each test file uses its part")]

use std::{
    collections::hash_map::DefaultHasher,
    env, fs,
    hash::{Hash, Hasher},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    thread::sleep,
    time::{Duration, Instant},
};

use futures_util::TryStreamExt;
use mongodb::{
    Client, Database,
    bson::{Document, doc},
};
use tempfile::TempDir;

pub(crate) mod proxy;
pub(crate) mod replica_set;
pub(crate) mod victim;

/// A server that ends with the test.
pub(crate) struct Server {
    folder: TempDir,
    pub(crate) port: u16,
    process: Option<Child>,
    databases: AtomicU32,
}

impl Server {
    /// `None`, with a line that says so, where Go is not installed.
    pub(crate) fn start() -> Option<Self> {
        if program().is_none() {
            println!("skipped: Go is not installed, which builds the server of the tests");
            return None;
        }
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let folder = tempfile::tempdir().unwrap();
        let mut server = Self { folder, port, process: None, databases: AtomicU32::new(0) };
        server.up();
        Some(server)
    }

    pub(crate) fn up(&mut self) {
        let address = format!("127.0.0.1:{}", self.port);
        let process = Command::new(program().unwrap())
            .arg(&address)
            .arg(self.folder.path())
            // It ends when this end of the pipe does, also when the test is killed.
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.process = Some(process);
        let begin = Instant::now();
        while TcpStream::connect(&address).is_err() {
            assert!(begin.elapsed() < Duration::from_secs(30), "the server does not start");
            sleep(Duration::from_millis(5));
        }
    }

    /// Ends it as a crash would.
    pub(crate) fn crash(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// The URI of a new database.
    pub(crate) fn database(&self) -> String {
        let number = self.databases.fetch_add(1, Ordering::Relaxed);
        format!("mongodb://127.0.0.1:{}/test_{number}", self.port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.crash();
    }
}

/// The server's program, which is built on first use: into the folder that `ACTIX_BATCH_CACHE` names, or else cargo's own. `None` without Go.
fn program() -> Option<&'static Path> {
    static PROGRAM: OnceLock<Option<PathBuf>> = OnceLock::new();
    PROGRAM.get_or_init(build).as_deref()
}

fn build() -> Option<PathBuf> {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/server");
    let mut hasher = DefaultHasher::new();
    for file in ["main.go", "go.mod", "go.sum"] {
        fs::read(sources.join(file)).unwrap().hash(&mut hasher);
    }
    let cache = env::var_os("ACTIX_BATCH_CACHE").map_or_else(|| env!("CARGO_TARGET_TMPDIR").into(), PathBuf::from);
    let program = cache.join(format!("mongodb-test-server-{:016x}", hasher.finish()));
    if program.exists() {
        return Some(program);
    }
    let go = ["go", "/usr/local/go/bin/go"].into_iter().find(|go| Command::new(go).arg("version").output().is_ok())?;
    fs::create_dir_all(&cache).unwrap();
    let unfinished = program.with_extension(std::process::id().to_string());
    let arguments = ["build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o"];
    let built = Command::new(go).args(arguments).arg(&unfinished).arg(".").current_dir(&sources).output().unwrap();
    assert!(built.status.success(), "the test server cannot be built: {}", String::from_utf8_lossy(&built.stderr));
    fs::rename(unfinished, &program).unwrap();
    Some(program)
}

pub(crate) async fn connect(uri: &str) -> Database {
    Client::with_uri_str(uri).await.unwrap().default_database().unwrap()
}

/// All documents of a collection, in the order of `_id`.
pub(crate) async fn documents(uri: &str, collection: &str) -> Vec<Document> {
    let found = connect(uri).await.collection::<Document>(collection).find(doc! {}).sort(doc! { "_id": 1 }).await;
    found.unwrap().try_collect().await.unwrap()
}

/// A field of all documents of a collection, as numbers.
pub(crate) async fn numbers(uri: &str, collection: &str, field: &str) -> Vec<i64> {
    let documents = documents(uri, collection).await;
    documents.iter().map(|document| document.get_i64(field).unwrap()).collect()
}
