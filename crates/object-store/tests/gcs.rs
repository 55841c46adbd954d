//! A server that speaks Google Cloud Storage's own protocol: `fake-gcs-server`, built once with Go.
#![cfg(feature = "gcs")]

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
};

use actix_batch_object_store::Objects;
use actix_batch_pipeline::{
    prelude::*,
    source::{Source, SourceErrorKind},
    test_util::check_source,
};

use support::{
    Row, csv, ids,
    process::{free_port, is_up, request},
};

mod support;

const VERSION: &str = "1.56.1";

/// A server that ends with the test.
struct Server {
    process: Child,
    port: u16,
}

impl Server {
    /// A server with the bucket `bucket`; `None`, with a line that says so, where there is no Go.
    fn start() -> Option<Self> {
        let Some(program) = program() else {
            println!("skipped: Go is not installed, which builds the server of the tests");
            return None;
        };
        let port = free_port();
        let mut command = Command::new(program);
        command.args(["-scheme", "http", "-backend", "memory", "-host", "127.0.0.1", "-port", &port.to_string()]);
        command.args(["-public-host", &format!("127.0.0.1:{port}"), "-data", "/nonexistent"]);
        let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let mut server = Self { process, port };
        assert!(is_up(&mut server.process, port), "the server does not start");
        server.post("storage/v1/b?project=test", r#"{"name":"bucket"}"#);
        Some(server)
    }

    fn put(&self, key: &str, body: &str) {
        self.post(&format!("upload/storage/v1/b/bucket/o?uploadType=media&name={key}"), body);
    }

    fn post(&self, path: &str, body: &str) {
        let answer = request(self.port, &format!("POST /{path}"), "Content-Type: application/json", body);
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }

    fn objects(&self, url: &str) -> Objects {
        let place = format!("http://127.0.0.1:{}", self.port);
        Objects::at(url).option("google_base_url", place).option("google_skip_signature", "true")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The server's program, which is built on first use: below the folder that `ACTIX_BATCH_CACHE` names, or else cargo's own. `None` without Go.
///
/// The tests of this file run at once: the first one builds, the others wait for it.
fn program() -> Option<&'static Path> {
    static PROGRAM: OnceLock<Option<PathBuf>> = OnceLock::new();
    PROGRAM.get_or_init(build).as_deref()
}

fn build() -> Option<PathBuf> {
    let cache = env::var_os("ACTIX_BATCH_CACHE").map_or_else(|| env!("CARGO_TARGET_TMPDIR").into(), PathBuf::from);
    let folder = cache.join(format!("fake-gcs-server-{VERSION}"));
    let program = folder.join("fake-gcs-server");
    if program.exists() {
        return Some(program);
    }
    let go = ["go", "/usr/local/go/bin/go"].into_iter().find(|go| Command::new(go).arg("version").output().is_ok())?;
    let unfinished = cache.join(format!("fake-gcs-server-{}", std::process::id()));
    install(go, &unfinished);
    fs::create_dir_all(&folder).unwrap();
    fs::rename(unfinished.join("fake-gcs-server"), &program).unwrap();
    fs::remove_dir(unfinished).unwrap();
    Some(program)
}

fn install(go: &str, folder: &Path) {
    let mut command = Command::new(go);
    command.args(["install", "-trimpath", "-ldflags=-s -w", &format!("github.com/fsouza/fake-gcs-server@v{VERSION}")]);
    let built = command.envs([("GOBIN", folder.as_os_str()), ("CGO_ENABLED", "0".as_ref())]).output().unwrap();
    assert!(built.status.success(), "the test server cannot be built: {}", String::from_utf8_lossy(&built.stderr));
}

#[actix_rt::test]
async fn objects_of_google_cloud_storage_are_listed_read_by_ranges_and_refused_when_they_change() {
    let Some(server) = Server::start() else { return };
    server.put("in/b.csv", &csv(20..30));
    server.put("in/a.csv", &csv(0..20));
    server.put("in/c.txt", "no rows");
    let expected: Vec<_> = (0..30).map(|id| Ok(Row { id })).collect();
    assert_eq!(check_source(&server.objects("gs://bucket/in/*.csv").csv::<Row>()).await, expected);
    let source = server.objects("gs://bucket/in/[ab].csv").block_bytes(40).csv::<Row>();
    assert_eq!(ids(&source).await.unwrap(), (0..30).collect::<Vec<_>>());

    let identity = source.identity().await.unwrap();
    source.verify(&identity).await.unwrap();
    server.put("in/b.csv", &csv(20..31));
    let error = source.verify(&identity).await.unwrap_err();
    assert_eq!(error.kind(), SourceErrorKind::Changed);
    assert!(error.to_string().contains("gs://bucket/in/b.csv has changed"), "{error}");
    let error = ids(&server.objects("gs://bucket/in/d.csv").csv::<Row>()).await.unwrap_err();
    assert_eq!(error.to_string(), "gs://bucket/in/d.csv does not exist");
}

#[actix_rt::test]
async fn a_run_that_stops_goes_on_at_its_byte() {
    let Some(server) = Server::start() else { return };
    server.put("in/rows.csv", &csv(0..2_000));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.sqlite");
    let pipeline = || {
        let table = Sqlite::append(&path, "rows").create_table("CREATE TABLE IF NOT EXISTS rows (id INTEGER NOT NULL)");
        Pipeline::named("rows").read(server.objects("gs://bucket/in/rows.csv").csv::<Row>()).write(table).chunk(100)
    };
    for limit in [700, 600, 700] {
        assert_eq!(pipeline().max_records(limit).run().await.unwrap().written, limit);
    }
    let database = rusqlite::Connection::open(&path).unwrap();
    let all = database
        .prepare("SELECT id FROM rows ORDER BY rowid")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .collect::<Result<Vec<i64>, _>>()
        .unwrap();
    assert_eq!(all, (0..2_000).collect::<Vec<_>>());
}
