//! The example's binary as a process of its own, on a free port.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::http::Connection;

/// A running service. Dropped, it is killed.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) address: SocketAddr,
    process: Child,
    stdout: BufReader<ChildStdout>,
}

impl Service {
    /// Starts it, and returns once it listens.
    pub(crate) fn start(directory: &Directory) -> Self {
        Self::start_with(directory, &[])
    }

    /// Starts it with these options.
    pub(crate) fn start_with(directory: &Directory, options: &[&str]) -> Self {
        let mut command = command(directory);
        let mut process = command.args(options).stdout(Stdio::piped()).spawn().expect("the example starts");
        let mut stdout = BufReader::new(process.stdout.take().expect("it is piped"));
        let mut line = String::new();
        let address = loop {
            line.clear();
            assert_ne!(stdout.read_line(&mut line).unwrap(), 0, "the service ended before it listened");
            if let Some((_, address)) = line.trim_end().split_once("http://") {
                break address.parse().unwrap();
            }
        };
        Self { address, process, stdout }
    }

    pub(crate) fn connect(&self) -> Connection {
        Connection::open(self.address).expect("the service listens")
    }

    /// Sends a signal by its name: `INT` is Ctrl-C, `KILL` cannot be caught.
    pub(crate) fn signal(&self, name: &str) {
        let kill = Command::new("kill").args([&format!("-{name}"), &self.process.id().to_string()]).status();
        assert!(kill.expect("there is a `kill` command").success());
    }

    /// Waits for its end, and returns what it printed last.
    pub(crate) fn wait(mut self) -> (ExitStatus, String) {
        let ended = Instant::now() + Duration::from_secs(30);
        let status = loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < ended, "the service does not end");
            thread::sleep(Duration::from_millis(20));
        };
        let mut printed = String::new();
        self.stdout.read_to_string(&mut printed).unwrap();
        (status, printed)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A command that starts the example on a free port, with a database in this directory. Options win over these.
pub(crate) fn command(directory: &Directory) -> Command {
    let mut command = Command::new(binary());
    for set_outside in ["WORKERS", "MAX_SIZE", "INTERVAL", "TIMEOUT", "LOAD", "CLIENTS"] {
        command.env_remove(set_outside);
    }
    command.env("PORT", "0").env("DATABASE", directory.0.join("flights.sqlite"));
    command
}

/// Cargo puts examples beside the directory of the tests, and `cargo test` builds both.
fn binary() -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let binary = tests.parent().and_then(Path::parent).unwrap().join("examples/web");
    assert!(binary.exists(), "{} is missing: `cargo build --example web` builds it", binary.display());
    binary
}

/// A new, empty directory that goes when it is dropped.
#[derive(Debug)]
pub(crate) struct Directory(pub(crate) PathBuf);

impl Directory {
    pub(crate) fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("web-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // What cannot be removed stays in the target directory.
        let _ = fs::remove_dir_all(&self.0);
    }
}
