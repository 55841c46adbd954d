//! A real server for the tests: Debian's `nats-server`, started on a free loopback port with a temporary store.
#![allow(dead_code, reason = "each test file uses its part")]

use std::{
    env,
    ffi::OsString,
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread::sleep,
    time::{Duration, Instant},
};

use actix_batch::Batch;
use actix_batch_pipeline::{
    Record,
    checkpoint::{RunId, Settled},
    sink::{IntoSink, Promises, Sink, SinkError, Written},
};
use async_nats::jetstream::{self, Context, consumer, stream};
use tempfile::TempDir;

/// A server that ends with the test.
pub(crate) struct NatsServer {
    process: Child,
    /// The first one that is there.
    programs: Vec<OsString>,
    port: u16,
    store: TempDir,
    arguments: Vec<String>,
}

impl NatsServer {
    /// `None`, with a line that says so, where there is no `nats-server`.
    pub(crate) fn start() -> Option<Self> {
        Self::start_with(&[])
    }

    /// The same, with further arguments.
    pub(crate) fn start_with(arguments: &[&str]) -> Option<Self> {
        let server = Self::start_one_of(vec!["nats-server".into(), "/usr/sbin/nats-server".into()], arguments);
        if server.is_none() {
            println!("skipped: `nats-server` is not installed");
        }
        server
    }

    /// A newer one, which `NATS_SERVER` names, with this configuration file.
    pub(crate) fn start_newer(configuration: &str) -> Option<Self> {
        let Some(program) = env::var_os("NATS_SERVER") else {
            println!("skipped: `NATS_SERVER` names no nats-server 2.10.4 or later");
            return None;
        };
        Self::start_one_of(vec![program], &["-c", configuration])
    }

    fn start_one_of(programs: Vec<OsString>, arguments: &[&str]) -> Option<Self> {
        let arguments: Vec<_> = arguments.iter().map(|one| (*one).to_owned()).collect();
        let store = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let process = spawn(&programs, port, &store, &arguments)?;
        let server = Self { process, programs, port, store, arguments };
        server.wait_until_ready();
        Some(server)
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    pub(crate) fn tls_url(&self) -> String {
        format!("tls://127.0.0.1:{}", self.port)
    }

    /// Ends it as a crash would.
    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Starts it again, on the same port and with the same store.
    pub(crate) fn restart(&mut self) {
        self.process = spawn(&self.programs, self.port, &self.store, &self.arguments).unwrap();
        self.wait_until_ready();
    }

    pub(crate) async fn context(&self) -> Context {
        jetstream::new(async_nats::connect(self.url()).await.unwrap())
    }

    fn wait_until_ready(&self) {
        let end = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(Instant::now() < end, "the server is not ready after 10 s");
            sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn spawn(programs: &[OsString], port: u16, store: &TempDir, arguments: &[String]) -> Option<Child> {
    programs.iter().find_map(|program| {
        let mut command = Command::new(program);
        command.args(["-js", "-a", "127.0.0.1", "-p", &port.to_string(), "-sd"]).arg(store.path()).args(arguments);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()
    })
}

/// A stream `NUMBERS` of the subjects `numbers.>`.
pub(crate) async fn numbers(context: &Context) -> stream::Stream {
    let config =
        stream::Config { name: "NUMBERS".to_owned(), subjects: vec!["numbers.>".to_owned()], ..Default::default() };
    context.create_stream(config).await.unwrap()
}

/// Stores the numbers of a range, as JSON.
pub(crate) async fn publish(context: &Context, range: std::ops::Range<u64>) {
    let mut acks = Vec::new();
    for number in range {
        acks.push(context.publish("numbers.all", number.to_string().into()).await.unwrap());
    }
    for ack in acks {
        ack.await.unwrap();
    }
}

/// The state of the consumer, once it is there.
pub(crate) async fn state(stream: &stream::Stream) -> consumer::Info {
    let _ = env_logger::try_init();
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        match stream.consumer_info("reader").await {
            Ok(info) => return info,
            Err(error) => assert!(Instant::now() < end, "{error}"),
        }
        actix_rt::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Waits until something is so: what a server does takes real time.
pub(crate) async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !is_so().await {
        assert!(Instant::now() < end, "after 30 s: {what}");
        actix_rt::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A sink with keys that counts how often each came, and holds its batches while it is closed.
#[derive(Clone, Default)]
pub(crate) struct Shelf(Arc<Mutex<Held>>);

#[derive(Default)]
struct Held {
    records: Vec<u64>,
    is_closed: bool,
    /// It closes itself once it holds so many.
    close_at: Option<usize>,
}

impl Shelf {
    /// Holds its batches once it has so many records.
    pub(crate) fn closing_at(records: usize) -> Self {
        Self(Arc::new(Mutex::new(Held { is_closed: records == 0, close_at: Some(records), ..Held::default() })))
    }

    pub(crate) fn set_open(&self) {
        let mut held = self.0.lock().unwrap();
        (held.is_closed, held.close_at) = (false, None);
    }

    /// In the order in which they came.
    pub(crate) fn records(&self) -> Vec<u64> {
        self.0.lock().unwrap().records.clone()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.lock().unwrap().records.len()
    }

    pub(crate) fn distinct(&self) -> Vec<u64> {
        let mut records = self.records();
        records.sort_unstable();
        records.dedup();
        records
    }
}

impl IntoSink<u64> for Shelf {
    type Sink = Self;

    fn describe(&self) -> String {
        "shelf".to_owned()
    }

    fn promises(&self) -> Promises {
        Promises::Keyed
    }

    fn sink(&self, _worker: usize, _run: &RunId, _settled: &Arc<Settled>) -> Self {
        self.clone()
    }
}

impl Sink<u64> for Shelf {
    async fn write(&mut self, batch: &Batch<Record<u64>>) -> Result<Written, SinkError> {
        while self.0.lock().unwrap().is_closed {
            actix_rt::time::sleep(Duration::from_millis(5)).await;
        }
        let mut held = self.0.lock().unwrap();
        held.records.extend(batch.iter().map(|record| **record));
        held.is_closed = held.close_at.is_some_and(|at| held.records.len() >= at);
        Ok(Written::all())
    }
}
