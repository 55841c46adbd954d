//! Servers that are programs, and requests to them.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    process::Child,
    thread::sleep,
    time::{Duration, Instant},
};

pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Waits until a server listens on this port; `false` if it has ended instead.
pub(crate) fn is_up(server: &mut Child, port: u16) -> bool {
    let end = Instant::now() + Duration::from_secs(60);
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        if server.try_wait().unwrap().is_some() {
            return false;
        }
        assert!(Instant::now() < end, "the server is not ready after 60 s");
        sleep(Duration::from_millis(20));
    }
    true
}

/// Sends a request like `PUT /path`, and returns the answer with its head.
pub(crate) fn request(port: u16, line: &str, header: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let length = body.len();
    write!(
        stream,
        "{line} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\nContent-Length: {length}\r\n{header}\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}
