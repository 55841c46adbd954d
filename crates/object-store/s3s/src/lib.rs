//! A server of S3 for tests: `s3s-fs`, in the test's own process and over a folder of its own. Unlike `moto` it checks every signature.

use std::{fs, net::TcpListener, path::PathBuf, thread};

use actix_batch_object_store::{ObjectParts, Objects};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
};
use s3s::{
    auth::SimpleAuth,
    service::{S3Service, S3ServiceBuilder},
};
use s3s_fs::FileSystem;
use tempfile::TempDir;
use tokio::{runtime, sync::oneshot};

const KEY: &str = "an-access-key";
const SECRET: &str = "a-very-secret-key";

/// A server with one bucket, on a free loopback port. It ends when it is dropped.
#[derive(Debug)]
pub struct Server {
    folder: TempDir,
    port: u16,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Server {
    /// Starts it, with the bucket `bucket`.
    ///
    /// # Panics
    ///
    /// If there is no folder or no port to be had.
    pub fn start() -> Self {
        let folder = TempDir::new().expect("a folder");
        fs::create_dir(folder.path().join("bucket")).expect("the bucket");
        let mut service = S3ServiceBuilder::new(FileSystem::new(folder.path()).expect("the file system"));
        service.set_auth(SimpleAuth::from_single(KEY, SECRET));
        let service = service.build();

        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("its address").port();
        let (stop, stopped) = oneshot::channel();
        let thread = thread::spawn(move || serve(listener, &service, stopped));
        Self { folder, port, stop: Some(stop), thread: Some(thread) }
    }

    /// Where the bucket's objects lie as files.
    pub fn bucket(&self) -> PathBuf {
        self.folder.path().join("bucket")
    }

    /// The objects at a URL, to be read with the server's own key.
    pub fn objects(&self, url: &str) -> Objects {
        self.options(SECRET).into_iter().fold(Objects::at(url), |objects, (name, value)| objects.option(name, value))
    }

    /// The same, with a key that the server does not accept.
    pub fn objects_with_a_wrong_key(&self, url: &str) -> Objects {
        let options = self.options("not-the-secret-key");
        options.into_iter().fold(Objects::at(url), |objects, (name, value)| objects.option(name, value))
    }

    /// The data set that a run has published under a prefix.
    pub fn published(&self, url: &str) -> Objects {
        let published = Objects::published(url);
        self.options(SECRET).into_iter().fold(published, |objects, (name, value)| objects.option(name, value))
    }

    /// A sink of JSON lines, in parts of 2,000 bytes.
    pub fn parts(&self, url: &str) -> ObjectParts {
        let parts = ObjectParts::json_lines(url).part_bytes(2_000);
        self.options(SECRET).into_iter().fold(parts, |parts, (name, value)| parts.option(name, value))
    }

    fn options(&self, secret: &str) -> [(&'static str, String); 4] {
        [
            ("aws_endpoint", format!("http://127.0.0.1:{}", self.port)),
            ("aws_access_key_id", KEY.to_owned()),
            ("aws_secret_access_key", secret.to_owned()),
            ("aws_region", "us-east-1".to_owned()),
        ]
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Answers until `stopped`. A thread of its own, so that a test's runtime may be busy or gone.
fn serve(listener: TcpListener, service: &S3Service, mut stopped: oneshot::Receiver<()>) {
    let runtime = runtime::Builder::new_current_thread().enable_io().build().expect("a runtime");
    runtime.block_on(async {
        listener.set_nonblocking(true).expect("a listener of the runtime");
        let listener = tokio::net::TcpListener::from_std(listener).expect("a listener of the runtime");
        loop {
            let stream = tokio::select! {
                Ok((stream, _)) = listener.accept() => stream,
                _ = &mut stopped => return,
            };
            let service = service.clone();
            tokio::spawn(async move {
                let connection = Builder::new(TokioExecutor::new());
                // Otherwise an answer's body waits until its head has been acknowledged.
                let _ = stream.set_nodelay(true);
                // A client that goes away is none of the server's business.
                let _ = connection.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
}
