//! A real S3 server, by its own protocol: `moto_server` of moto (`pip install 'moto[server]'`), started on a free loopback port.
#![cfg(feature = "s3")]

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use actix_batch_object_store::{ObjectParts, Objects};
use actix_batch_pipeline::{
    prelude::*,
    source::{Source, SourceErrorKind},
    test_util::check_source,
};

use support::{Row, csv, ids};

mod support;

/// A server that ends with the test.
struct Server {
    process: Child,
    port: u16,
}

impl Server {
    /// A server with the bucket `bucket`; `None`, with a line that says so, where there is no `moto_server`.
    fn start() -> Option<Self> {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = Command::new("moto_server");
        command.args(["-H", "127.0.0.1", "-p", &port.to_string()]).stdout(Stdio::null()).stderr(Stdio::null());
        let Ok(process) = command.spawn() else {
            println!("skipped: `moto_server` is not installed");
            return None;
        };
        let mut server = Self { process, port };
        let end = Instant::now() + Duration::from_secs(60);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if server.process.try_wait().unwrap().is_some() {
                println!("skipped: `moto_server` does not start");
                return None;
            }
            assert!(Instant::now() < end, "the server is not ready after 60 s");
            sleep(Duration::from_millis(20));
        }
        server.put("bucket", "");
        Some(server)
    }

    /// Puts an object, or makes a bucket. The server looks at no signature, but there has to be one.
    fn put(&self, path: &str, body: &str) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let length = body.len();
        write!(
            stream,
            "PUT /{path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Length: {length}\r\n\
             Authorization: AWS4-HMAC-SHA256 Credential=key/20260101/us-east-1/s3/aws4_request\r\n\r\n{body}"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }

    fn options(&self) -> [(&'static str, String); 4] {
        [
            ("aws_endpoint", format!("http://127.0.0.1:{}", self.port)),
            ("aws_access_key_id", "an-access-key".to_owned()),
            ("aws_secret_access_key", "a-very-secret-key".to_owned()),
            ("aws_region", "us-east-1".to_owned()),
        ]
    }

    fn objects(&self, url: &str) -> Objects {
        self.options().into_iter().fold(Objects::at(url), |objects, (name, value)| objects.option(name, value))
    }

    fn published(&self, url: &str) -> Objects {
        self.options().into_iter().fold(Objects::published(url), |objects, (name, value)| objects.option(name, value))
    }

    fn parts(&self, url: &str) -> ObjectParts {
        let parts = ObjectParts::json_lines(url).part_bytes(2_000);
        self.options().into_iter().fold(parts, |parts, (name, value)| parts.option(name, value))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[actix_rt::test]
async fn objects_of_s3_are_listed_read_by_ranges_and_refused_when_they_change() {
    let Some(server) = Server::start() else { return };
    server.put("bucket/in/b.csv", &csv(20..30));
    server.put("bucket/in/a.csv", &csv(0..20));
    let expected: Vec<_> = (0..30).map(|id| Ok(Row { id })).collect();
    assert_eq!(check_source(&server.objects("s3://bucket/in/*.csv").csv::<Row>()).await, expected);
    let source = server.objects("s3://bucket/in/").block_bytes(40).csv::<Row>();
    assert_eq!(ids(&source).await.unwrap(), (0..30).collect::<Vec<_>>());

    let identity = source.identity().await.unwrap();
    source.verify(&identity).await.unwrap();
    server.put("bucket/in/b.csv", &csv(20..31));
    let error = source.verify(&identity).await.unwrap_err();
    assert_eq!(error.kind(), SourceErrorKind::Changed);
    assert!(error.to_string().contains("s3://bucket/in/b.csv has changed: it had the ETag"), "{error}");
    let error = ids(&server.objects("s3://bucket/in/c.csv").csv::<Row>()).await.unwrap_err();
    assert_eq!(error.to_string(), "s3://bucket/in/c.csv does not exist");
}

async fn run(server: &Server, limit: Option<u64>) -> Result<Report, RunError> {
    let flow = Pipeline::named("rows").read(server.objects("s3://bucket/in/rows.csv").csv::<Row>());
    let pipeline = flow.write(server.parts("s3://bucket/out")).chunk(100).checkpoint_every(Duration::from_millis(20));
    match limit {
        Some(limit) => pipeline.max_records(limit).run().await,
        None => pipeline.run().await,
    }
}

#[actix_rt::test]
async fn a_run_that_stops_and_goes_on_publishes_each_record_once() {
    let Some(server) = Server::start() else { return };
    server.put("bucket/in/rows.csv", &csv(0..2_000));
    for limit in [Some(700), Some(600), None] {
        assert_eq!(run(&server, limit).await.unwrap().guarantee, Guarantee::Once);
    }
    let published = server.published("s3://bucket/out").json_lines::<Row>();
    assert_eq!(ids(&published).await.unwrap(), (0..2_000).collect::<Vec<_>>());
    let all = server.objects("s3://bucket/out/").json_lines::<Row>();
    assert_eq!(ids(&all).await.unwrap().len(), 2_000, "and there is nothing else under the prefix");
}

#[actix_rt::test]
async fn a_run_that_was_overtaken_fails_by_name() {
    let Some(server) = Server::start() else { return };
    server.put("bucket/in/rows.csv", &csv(0..2_000));
    let flow = Pipeline::named("rows").read(server.objects("s3://bucket/in/rows.csv").csv::<Row>());
    let old = flow.write(server.parts("s3://bucket/out")).chunk(10).checkpoint_every(Duration::from_millis(20));
    let old = old.start().unwrap();
    let end = Instant::now() + Duration::from_secs(30);
    while old.progress().read == 0 {
        assert!(Instant::now() < end, "the run reads nothing");
        actix_rt::time::sleep(Duration::from_millis(1)).await;
    }
    old.pause().await.unwrap();
    run(&server, None).await.unwrap();
    let _ = old.resume().await;
    let error = old.report().await.unwrap_err().to_string();
    assert!(error.contains("another run of this pipeline has taken over s3://bucket/out/_staging/rows"), "{error}");
    let published = server.published("s3://bucket/out").json_lines::<Row>();
    assert_eq!(ids(&published).await.unwrap(), (0..2_000).collect::<Vec<_>>());
}

#[actix_rt::test]
async fn errors_of_the_server_show_no_secrets() {
    let Some(server) = Server::start() else { return };
    let error = ids(&server.objects("s3://nobody-s-bucket/in/").csv::<Row>()).await.unwrap_err();
    assert!(error.to_string().contains("s3://nobody-s-bucket/"), "{error}");
    let error = run(&server, None).await.unwrap_err();
    for text in [error.to_string(), format!("{error:?}"), format!("{:?}", server.parts("s3://bucket/out"))] {
        assert!(!text.contains("a-very-secret-key") && !text.contains("an-access-key"), "{text}");
    }
}
