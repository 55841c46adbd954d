//! A real server for the tests: Debian's PostgreSQL, started on a free loopback port with a temporary folder.
#![allow(dead_code, reason = "each test file uses its part")]

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use tempfile::TempDir;
use tokio_postgres::{Client, NoTls};

/// A server that ends with the test.
pub(crate) struct Server {
    folder: TempDir,
    binaries: PathBuf,
    port: u16,
    databases: AtomicU32,
    options: String,
}

impl Server {
    /// `None`, with a line that says so, where PostgreSQL is not installed.
    pub(crate) fn start() -> Option<Self> {
        Self::start_with("", &[])
    }

    /// With these options, and these files in its folder.
    pub(crate) fn start_with(options: &str, files: &[(&str, &str)]) -> Option<Self> {
        let Some(binaries) = binaries() else {
            println!("skipped: PostgreSQL is not installed");
            return None;
        };
        let folder = tempfile::Builder::new().prefix("pg").tempdir_in("/tmp").unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let server = Self { folder, binaries, port, databases: AtomicU32::new(0), options: options.to_owned() };
        // The server refuses to run as root.
        fs::set_permissions(server.folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let data = server.data();
        fs::create_dir(&data).unwrap();
        fs::set_permissions(&data, fs::Permissions::from_mode(0o700)).unwrap();
        if is_root() {
            let (user, group) = postgres();
            chown(&data, Some(user), Some(group)).unwrap();
        }
        let path = data.to_str().unwrap();
        server.run("initdb", &["--no-sync", "-A", "trust", "-U", "postgres", "-E", "UTF8", "--no-locale", "-D", path]);
        for (name, text) in files {
            let file = data.join(name);
            fs::write(&file, text).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
            if is_root() {
                let (user, group) = postgres();
                chown(&file, Some(user), Some(group)).unwrap();
            }
        }
        server.up();
        Some(server)
    }

    pub(crate) fn up(&self) {
        let data = self.data();
        let options = format!(
            "-p {} -c listen_addresses=127.0.0.1 -c unix_socket_directories={} {}",
            self.port,
            data.display(),
            self.options
        );
        let log = data.join("log");
        self.run("pg_ctl", &["-D", data.to_str().unwrap(), "-w", "-l", log.to_str().unwrap(), "-o", &options, "start"]);
    }

    /// Ends it as a crash would.
    pub(crate) fn crash(&self) {
        self.run("pg_ctl", &["-D", self.data().to_str().unwrap(), "-m", "immediate", "-w", "stop"]);
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let program = self.binaries.join(program);
        let mut command = if is_root() {
            let mut command = Command::new("runuser");
            command.args(["-u", "postgres", "--"]).arg(&program);
            command
        } else {
            Command::new(&program)
        };
        let done =
            command.args(arguments).current_dir("/tmp").stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
        assert!(done.success(), "{} {arguments:?}", program.display());
    }

    /// The URL of a new database, in which this SQL has been run.
    pub(crate) async fn database(&self, sql: &str) -> String {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let url = |name: &str| format!("postgres://postgres@127.0.0.1:{}/{name}", self.port);
        client(&url("postgres")).await.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
        client(&url(&name)).await.batch_execute(sql).await.unwrap();
        url(&name)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.crash();
    }
}

fn binaries() -> Option<PathBuf> {
    let mut versions: Vec<_> =
        fs::read_dir("/usr/lib/postgresql").ok()?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    versions.sort();
    versions.into_iter().rev().map(|version| version.join("bin")).find(|bin| bin.join("initdb").exists())
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    Path::new("/proc/self").metadata().is_ok_and(|own| own.uid() == 0)
}

/// The numbers of the user that Debian's package makes.
fn postgres() -> (u32, u32) {
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let line = users.lines().find(|line| line.starts_with("postgres:")).expect("the user `postgres`");
    let mut parts = line.split(':').skip(2).map(|part| part.parse().unwrap());
    (parts.next().unwrap(), parts.next().unwrap())
}

pub(crate) async fn client(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    actix_rt::spawn(connection);
    client
}

/// The first column of a query, as numbers.
pub(crate) async fn numbers(url: &str, sql: &str) -> Vec<i64> {
    client(url).await.query(sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
}
