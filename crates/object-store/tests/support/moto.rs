//! A server of S3: `moto_server` of moto (`pip install 'moto[server]'`), started on a free loopback port.

use std::process::{Child, Command, Stdio};

use actix_batch_object_store::{ObjectParts, Objects};

use super::process::{free_port, is_up, request};

/// A server that ends with the test.
pub(crate) struct Server {
    process: Child,
    port: u16,
}

impl Server {
    /// A server with the bucket `bucket`; `None`, with a line that says so, where there is no `moto_server`.
    pub(crate) fn start() -> Option<Self> {
        let port = free_port();
        let mut command = Command::new("moto_server");
        command.args(["-H", "127.0.0.1", "-p", &port.to_string()]).stdout(Stdio::null()).stderr(Stdio::null());
        let Ok(process) = command.spawn() else {
            println!("skipped: `moto_server` is not installed");
            return None;
        };
        let mut server = Self { process, port };
        if !is_up(&mut server.process, port) {
            println!("skipped: `moto_server` does not start");
            return None;
        }
        server.put("bucket", "");
        Some(server)
    }

    /// Puts an object, or makes a bucket. The server looks at no signature, but there has to be one.
    pub(crate) fn put(&self, path: &str, body: &str) {
        let signature = "Authorization: AWS4-HMAC-SHA256 Credential=key/20260101/us-east-1/s3/aws4_request";
        let answer = request(self.port, &format!("PUT /{path}"), signature, body);
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }

    pub(crate) fn options(&self) -> [(&'static str, String); 4] {
        [
            ("aws_endpoint", format!("http://127.0.0.1:{}", self.port)),
            ("aws_access_key_id", "an-access-key".to_owned()),
            ("aws_secret_access_key", "a-very-secret-key".to_owned()),
            ("aws_region", "us-east-1".to_owned()),
        ]
    }

    pub(crate) fn objects(&self, url: &str) -> Objects {
        self.options().into_iter().fold(Objects::at(url), |objects, (name, value)| objects.option(name, value))
    }

    pub(crate) fn published(&self, url: &str) -> Objects {
        self.options().into_iter().fold(Objects::published(url), |objects, (name, value)| objects.option(name, value))
    }

    pub(crate) fn parts(&self, url: &str) -> ObjectParts {
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
